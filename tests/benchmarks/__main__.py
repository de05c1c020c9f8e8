"""The whole suite: one table and one record.

    python -m tests.benchmarks --record tests/benchmarks/records/suite.json
    python -m tests.benchmarks --only startup reading
    python -m tests.benchmarks --quick

A record that is there is added to, so that a part can be measured again; the table shows the whole of it. Each line
sets a figure of ours beside another's, measured in turn with it, and beside what the machine allows at most, measured
too. Times by the wall are for a machine that does nothing else; with --clock processor they are the work that is done,
of all processes and threads together. The load stands in the record.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import platform
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fer_kit import cli
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.synthetic import draw
from tests.benchmarks import bench_record, rows, topics
from tests.benchmarks.clocks import CLOCKS
from tests.benchmarks.rows import QUICK, Plan, Row

PACKAGES = ("numpy", "pandas", "scipy", "scikit-learn", "torch", "torchvision", "timm")
MEASURED = ("fer_kit", "ensembles", "submissions", "tests/benchmarks/*.py")


@contextlib.contextmanager
def competition(asked: Path | None, plan: Plan, needed: bool) -> Iterator[Plan]:
    """The plan with its data: the folder asked for, or a competition drawn for as long as it is needed.

    Raises:
        FerKitError: the folder lacks train.csv or test.csv.
    """
    if asked is not None:
        if not all((asked / name).is_file() for name in ("train.csv", "test.csv")):
            raise FerKitError(
                f"--data {asked}: torchvision needs a plain train.csv here, and load a test.csv beside it"
            )
        yield dataclasses.replace(plan, data=str(asked.resolve()), drawn=False)
        return
    with tempfile.TemporaryDirectory() as folder:
        if needed:
            draw.write(folder, draw.draw(plan.rows, plan.test_rows))
        yield dataclasses.replace(plan, data=folder)


def build_parser() -> argparse.ArgumentParser:
    """The command line of the suite."""
    parser = cli.parser(
        "python -m tests.benchmarks", "Speed and memory against others and against the machine's limits."
    )
    parser.add_argument("--only", nargs="+", choices=topics.TOPICS, metavar="TOPIC", help=", ".join(topics.TOPICS))
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that all works, not how fast")
    parser.add_argument("--data", type=Path, help="folder with train.csv and test.csv; without it faces are drawn")
    parser.add_argument("--rounds", type=int, help="how often each is timed")
    parser.add_argument("--steps", type=int, help="of each training arm in a round; default 20")
    parser.add_argument("--recipe", help="whose network and augmentation are trained; default deep_v3")
    parser.add_argument("--device", default="auto", help="of training and prediction: auto, cpu, cuda")
    about = "by the wall, or of the processor, where the machine does more than this; default wall"
    parser.add_argument("--clock", choices=CLOCKS, help=about)
    parser.add_argument("--record", type=Path, help="write a JSON record here, or add to the one that is there")
    parser.add_argument("--note", help="what to say in the record, such as other work on the machine")
    return parser


def body(args: argparse.Namespace) -> None:
    """Measure topic by topic, print the table, write the record."""
    chosen = [topic for topic in topics.TOPICS if topic in (args.only or topics.TOPICS)]
    asked = {
        name: getattr(args, name) for name in ("rounds", "steps", "recipe", "device", "clock") if getattr(args, name)
    }
    plan = Plan("", **{**(QUICK if args.quick else {}), **asked})
    host, record = bench_record.machine(), begun(args.record)
    found: dict[str, Any] = record["topics"]
    with competition(args.data, plan, bool(topics.OF_DATA.intersection(chosen))) as plan:
        for topic in chosen:
            before = bench_record.machine()["load_average"][0]
            print(f"measuring {topic} …", flush=True)
            answer = topics.measured(topic, plan)
            load = {"before": before, "after": bench_record.machine()["load_average"][0]}
            found[topic] = circumstances(plan, args.note) | {"load_average": load} | answer
            if args.record:
                atomic.write_json(args.record, record)  # what is measured stays, whatever comes
    lines: list[Row] = [row for topic in topics.TOPICS if topic in found for row in rows.rows_of(found[topic])]
    print(bench_record.headline(host))
    print("\n".join(rows.table(lines)))
    for text in dict.fromkeys(text for one in found.values() for text in one["left_out"]):
        print(f"left out: {text}")
    if args.record:
        print(f"record: {args.record}")


def begun(path: Path | None) -> dict[str, Any]:
    """The record so far, or a new one without topics.

    Raises:
        FerKitError: the record is of another machine or of other versions.
    """
    head = bench_record.head("suite", bench_record.machine(), MEASURED, PACKAGES)
    fresh = {
        "benchmark": head["benchmark"],
        "machine": {name: head["machine"][name] for name in ("cpu", "cores")},
        "system": platform.platform(),
        "versions": head["versions"],
        "topics": {},
    }
    if path is None or not path.exists():
        return fresh
    record: dict[str, Any] = atomic.read_json(path)
    for name in ("machine", "versions"):
        if record.get(name) != fresh[name]:
            raise FerKitError(f"{path}: holds other {name} ({record.get(name)}) than here; give another --record")
    return record


def circumstances(plan: Plan, note: str | None) -> dict[str, Any]:
    """When and at which commit a topic was measured, and how much of it; no path of this machine."""
    asked = {name: value for name, value in dataclasses.asdict(plan).items() if name != "data"}
    head = bench_record.head("suite", {}, MEASURED, ())
    threads = os.environ.get("OMP_NUM_THREADS", "all cores")
    return {"date": head["date"], "commit": head["commit"], "threads": threads, "note": note, "plan": asked}


if __name__ == "__main__":
    raise SystemExit(cli.run(build_parser, body))
