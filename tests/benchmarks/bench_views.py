"""What test-time views are worth: finished folds predicted again on the rows that they left out, once for each set.

    python -m tests.benchmarks.bench_views deep_v3 attention --fold 0 --record tests/benchmarks/records/views.json

Each set is compared with one plain look at the same rows: the difference in accuracy, its standard error over twin
groups (rows of one photo are not independent), and the log loss. Nothing is written beside the record.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from fer_kit import cli, metrics
from fer_kit.engine import device as precision
from fer_kit.engine import loop
from fer_kit.engine.views import CROP_PX, SHIFT_PX, TURN_DEG, VIEWS
from fer_kit.explain import sheets
from fer_kit.folds import table as fold_files
from tests.benchmarks import bench_record

PLAIN = "none"
MEASURED = ("fer_kit/engine/*.py", "tests/benchmarks/bench_views.py")


def measure(args: argparse.Namespace, run: str, device: torch.device) -> dict[str, Any]:
    """Of one fold of one run: rows, and each set's figures."""
    subject = sheets.load(args.runs, run, args.fold, args.data)
    groups = fold_files.read(args.runs / "folds.csv").groups[subject.ids]
    net = subject.net.to(device, memory_format=torch.channels_last)
    images, exact = torch.from_numpy(subject.images).to(device), precision.Precision("fp32", device)
    logits, seconds = {}, {}
    for name in VIEWS:
        began = time.perf_counter()
        logits[name] = loop.predict(net, images, name, exact)
        seconds[name] = round(time.perf_counter() - began, 1)
    sets = {}
    for name, found in logits.items():
        against = metrics.compare(found, logits[PLAIN], subject.labels, groups, PLAIN)
        sets[name] = {
            "views": len(VIEWS[name]),
            "accuracy": metrics.accuracy(found, subject.labels),
            "log_loss": metrics.log_loss(found, subject.labels),
            "gain": against.difference,
            "standard_error": against.standard_error,
            "won": against.won,
            "lost": against.lost,
            "seconds": seconds[name],
        }
    return {"fold": args.fold, "rows": len(images), "sets": sets}


def table(run: str, found: dict[str, Any]) -> list[str]:
    lines = [f"{run} fold {found['fold']}, {found['rows']:,} rows"]
    lines.append(f"{'set':12} {'views':>5} {'accuracy':>8} {'gain':>7} {'± SE':>6} {'log loss':>8} {'seconds':>7}")
    for name, one in found["sets"].items():
        lines.append(
            f"{name:12} {one['views']:>5} {one['accuracy']:>8.2%} {100 * one['gain']:>+7.2f}"
            f" {100 * one['standard_error']:>6.2f} {one['log_loss']:>8.4f} {one['seconds']:>7.1f}"
        )
    return lines


def build_parser() -> argparse.ArgumentParser:
    parser = cli.parser("python -m tests.benchmarks.bench_views", "What test-time views gain on out-of-fold rows.")
    parser.add_argument("run", nargs="+", help="runs whose fold is finished")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs")
    parser.add_argument("--data", help="folder with the competition's files; found by itself where not given")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--record", type=Path, help="write a JSON record here")
    parser.add_argument("--note", help="what to say in the record, such as other work on the machine")
    return parser


def body(args: argparse.Namespace) -> None:
    host, device = bench_record.machine(), precision.choose_device(args.device)
    found = {}
    for run in args.run:
        found[run] = measure(args, run, device)
        print("\n".join(table(run, found[run])), flush=True)
    record = {
        **bench_record.head("views", host, MEASURED, ("torch", "numpy")),
        "device": str(device),
        "note": args.note,
        "shift_px": SHIFT_PX,
        "crop_px": CROP_PX,
        "turn_deg": TURN_DEG,
        "runs": found,
    }
    bench_record.keep(args.record, record)


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
