"""`fer-kit folds`: find twins and split the train rows into folds."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fer_kit import cli
from fer_kit.files import atomic, lock
from fer_kit.folds import twins
from fer_kit.folds.deal import make, report, write
from fer_kit.folds.table import UNNOTICED


def build_parser() -> argparse.ArgumentParser:
    """The command line of `python -m fer_kit.folds`."""
    parser = cli.parser(
        "python -m fer_kit.folds",
        "Find twins (rows that share a source photo) among train and test images and split the train rows into"
        " stratified folds with all twins in one fold: folds.csv, folds-test.csv and folds.json in the folder of runs.",
    )
    parser.add_argument("--data", help="folder with the competition's files; default: searched for")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs, where the files are written")
    parser.add_argument("--folds", type=int, default=5, help="number of folds")
    parser.add_argument("--seed", type=int, default=0, help="seed of the shuffle before the split")
    parser.add_argument("--method", choices=twins.METHODS, default="auto", help="how twins are searched for")
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace other folds; runs trained on them cannot be used with the new ones",
    )
    cli.add_output_options(parser, "print nothing; the exit code and folds.json tell the result")
    return parser


def _body(args: argparse.Namespace) -> dict[str, Any]:
    from fer_kit.data import loading

    if args.method == "auto" and twins.chosen("auto") != "aligned":
        print(
            "warning: OpenCV is not installed, so twins are compared as they lie and a third of the rows with twins"
            " goes unnoticed; pip install opencv-python-headless, then make the folds again",
            file=sys.stderr,
        )
    if args.method == "none":
        print(
            "warning: --method none lets twins cross the folds, so out-of-fold scores flatter every network that"
            " memorises; good only to measure that, in a run folder of its own",
            file=sys.stderr,
        )
    with lock.held(args.runs / "folds.csv", "another process makes folds or fetches here"):
        competition = loading.load(loading.find(args.data), args.runs / "cache")
        made = make(competition, args.folds, args.seed, args.method, progress=True)
        print(report(made))
        new = write(args.runs, made, args.force)
    if args.method in ("exact", "unaligned"):
        print(
            f"warning: --method {args.method} leaves {UNNOTICED[args.method]} of the rows with twins unnoticed; they"
            " cross the folds, so out-of-fold scores flatter every network that memorises",
            file=sys.stderr,
        )
    verb = "wrote" if new else "the same folds already lie in"
    print(f"{verb} {args.runs / 'folds.csv'} (digest {made.folds.digest[:12]}), with folds-test.csv and folds.json")
    data = "" if args.data is None else f" --data {shlex.quote(args.data)}"
    runs = "" if args.runs == Path("runs") else f" --runs {shlex.quote(str(args.runs))}"
    print(f"next: python -m fer_kit.train --folds 0-{args.folds - 1}{data}{runs}")
    return {"file": str(args.runs / "folds.csv"), "unchanged": not new, **atomic.read_json(args.runs / "folds.json")}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0, 2 for a user error, 130 when interrupted."""
    return cli.run(build_parser, cli.data_command(_body), argv)


if __name__ == "__main__":
    raise SystemExit(main())
