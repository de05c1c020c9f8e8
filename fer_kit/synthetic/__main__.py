"""`fer-kit synthetic`: write a synthetic competition."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fer_kit import cli
from fer_kit.competition import CLASSES, NUM_CLASSES
from fer_kit.errors import FerKitError
from fer_kit.synthetic.draw import draw, write, write_sheet


def build_parser() -> argparse.ArgumentParser:
    """The command line of `python -m fer_kit.synthetic`."""
    parser = cli.parser(
        "python -m fer_kit.synthetic",
        "Write a synthetic competition: drawn faces with expressions, with wrong labels, twins and faulty images.",
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="folder for train.csv and test.csv")
    parser.add_argument("--rows", type=int, default=3000, help="number of train rows")
    parser.add_argument("--test-rows", type=int, default=750, help="number of test rows")
    parser.add_argument("--seed", type=int, default=0, help="seed; the same seed gives the same files")
    parser.add_argument(
        "--with-labels", action="store_true", help="also write icml_face_data.csv, which has the test labels"
    )
    parser.add_argument("--sheet", metavar="FILE.png", type=Path, help="also write a picture of the faces")
    parser.add_argument(
        "--force", action="store_true", help="replace train.csv and test.csv that this command did not write"
    )
    return parser


def _body(args: argparse.Namespace) -> None:
    if args.sheet and args.sheet.suffix.lower() != ".png":
        raise FerKitError(f"--sheet {args.sheet}: the sheet is a PNG; give a name that ends in .png")
    competition = draw(args.rows, args.test_rows, args.seed)
    written = write(args.folder, competition, args.with_labels, args.force)
    counts = np.bincount(competition.train_labels, minlength=NUM_CLASSES)
    print(f"drew {args.rows:,} train faces:", ", ".join(f"{n} {name}" for n, name in zip(counts, CLASSES, strict=True)))
    wrong = np.mean(competition.train_labels != competition.train_truth)
    print(f"and {args.test_rows:,} test faces; {wrong:.1%} wrong labels, {len(competition.twins):,} twins")
    if args.sheet:
        write_sheet(args.sheet, competition)
        written.append(args.sheet)
    for path in written:
        print(f"wrote {path}")
    print(f"next: python -m fer_kit.folds --data {shlex.quote(str(args.folder))}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0, 2 for a user error, 130 when interrupted."""
    return cli.run(build_parser, _body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
