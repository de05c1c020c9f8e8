"""Show where a network looks: class activation maps on held-out faces, and its attention where it has some.

python -m fer_kit.explain attention --fold 0
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from fer_kit import cli
from fer_kit.errors import FerKitError
from fer_kit.folds import fold_spec

METHODS = ("hirescam", "gradcam")


def build_parser() -> argparse.ArgumentParser:
    """The command line of `python -m fer_kit.explain`."""
    parser = cli.parser(
        "python -m fer_kit.explain",
        "Show where a network looks: sheets of held-out faces with their class activation maps, right and wrong "
        "answers apart, the average map of each class, and attention maps where the network has them.",
    )
    parser.add_argument("run", metavar="RUN", help="a run by name")
    parser.add_argument("--fold", type=fold_spec.parse, default=0, metavar="K", help="whose network and held-out rows")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs")
    parser.add_argument("--data", help="folder with the competition's files; found by itself where not given")
    parser.add_argument("--out", type=Path, help="folder to write into; RUNS/explain/<run>-fold<k> where not given")
    parser.add_argument(
        "--rows", type=int, nargs="+", metavar="ID", help="show these rows of train.csv as well, held out by the fold"
    )
    parser.add_argument("--faces", type=int, default=4, metavar="N", help="faces of each class on a sheet")
    parser.add_argument(
        "--average", type=int, default=100, metavar="N", help="faces of each class in the average maps, at most"
    )
    parser.add_argument(
        "--method",
        choices=METHODS,
        default=METHODS[0],
        help="hirescam: places count by their own gradient, exact where the head weighs places differently; "
        "gradcam: channels count by their mean gradient, as in most papers",
    )
    parser.add_argument("--layer", help="whose output to explain; the last one that is still a map where not given")
    return parser


def body(args: argparse.Namespace) -> None:
    """Load, draw, write, tell."""
    for name in ("faces", "average"):
        if getattr(args, name) < 1:
            raise FerKitError(f"--{name} {getattr(args, name)}: give a number of 1 or more")
    from fer_kit.explain import sheets

    subject = sheets.load(args.runs, args.run, args.fold, args.data)
    out = args.out or args.runs / "explain" / f"{args.run}-{fold_spec.folder_name(args.fold)}"
    for line in sheets.write(subject, out, sheets.Wish(
        rows=args.rows or [], faces=args.faces, average=args.average, method=args.method, layer=args.layer
    )):  # fmt: skip
        print(line)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0, 2 for a user error, 130 when interrupted."""
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
