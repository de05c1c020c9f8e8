"""Kill commands at every write, in steps and at random times, go on, and compare with a run that nobody interrupted.

python -m tests.faults                       # every moment of every scene; prints a table
python -m tests.faults --share 0.1 blend     # every tenth moment of the scenes whose name begins with "blend"
python -m tests.faults --record FILE         # keep the table as JSON
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy and torch make pools of threads, which do not survive a fork

import argparse
import contextlib
import dataclasses
import io
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks import bench_record
from tests.faults.scenes import Scene
from tests.faults.trials import KINDS, Tally, Trials

MEASURED = ("fer_kit", "ensembles", "submissions", "kernels", "tests/faults")
PACKAGES = ("torch", "numpy")
FORM = "{:<37}{:>8}{:>7}" + "{:>12}" * len(KINDS) + "{:>9}{:>14}{:>7}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the trials; 1 if anything was lost or came out otherwise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="only scenes whose name begins with one of these")
    parser.add_argument("--share", type=float, default=1.0, help="of all moments")
    parser.add_argument("--timed", type=int, default=12, help="kills at random times in each training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=Path, metavar="FILE")
    args = parser.parse_args(argv)
    head = bench_record.head("faults", bench_record.machine(), MEASURED, PACKAGES)
    os.environ["FER_KIT_COMMIT"] = "tests"  # a commit meanwhile must not change what is compared
    tallies: dict[str, Tally] = {}
    print(FORM.format("what is killed", "moments", "kills", *KINDS, "resumes", "identical", "s"), flush=True)
    with tempfile.TemporaryDirectory(prefix="faults-") as place:
        for scene in chosen(Path(place), args.names):
            tallies[scene.name] = tally = Trials(scene, Path(place), args.share, args.timed, args.seed).run()
            print(line(scene.name, tally), *(f"  FAULT {fault}" for fault in tally.faults), sep="\n", flush=True)
    faults = sum(len(tally.faults) for tally in tallies.values())
    print(f"{sum(sum(tally.kills.values()) for tally in tallies.values())} kills, {faults} faults")
    if args.record:
        keep(args.record, head, tallies, args)
    return min(1, faults)


def chosen(place: Path, names: Sequence[str]) -> list[Scene]:
    """The scenes asked for; all that they import is imported here, before the first fork."""
    from tests.faults import commands, outputs, queue, training

    with contextlib.redirect_stdout(io.StringIO()):
        shared = place / "shared"
        found = training.scenes(shared) + commands.scenes(shared) + outputs.scenes(shared) + queue.scenes(shared)
    found = [scene for scene in found if not names or scene.name.startswith(tuple(names))]
    commands.imports()
    if any(scene.timed for scene in found):
        training.imports()
    return found


def line(name: str, tally: Tally) -> str:
    """One scene in one line of the table."""
    kills, identical = tally.kills, f"{tally.identical} of {tally.trials}"
    return FORM.format(
        name, tally.moments, sum(kills.values()), *kills.values(), tally.resumes, identical, f"{tally.seconds:.0f}"
    )


def keep(path: Path, head: dict[str, Any], tallies: dict[str, Tally], args: argparse.Namespace) -> None:
    """Write the table as JSON."""
    record = head | {
        "what": "kills at every write, in steps and at random times; identical: trials that ended with the same bits",
        "share": args.share,
        "seed": args.seed,
        "kills": sum(sum(tally.kills.values()) for tally in tallies.values()),
        "scenes": {name: dataclasses.asdict(tally) for name, tally in tallies.items()},
    }
    bench_record.keep(path, record)


if __name__ == "__main__":
    sys.exit(main())
