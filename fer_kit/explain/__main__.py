"""Show where a network looks: class activation maps on held-out faces, and attention maps of networks with attention.

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
        "Show where a network looks: sheets of held-out faces with class activation maps, separately for correct and "
        "wrong predictions, the average map of each class, and attention maps of networks with attention.",
    )
    parser.add_argument("run", metavar="RUN", help="a run by name")
    parser.add_argument(
        "--fold", type=fold_spec.parse, default=0, metavar="K", help="fold of the network and the held-out rows"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs")
    parser.add_argument("--data", help="folder with the competition's files; searched for if not given")
    parser.add_argument("--out", type=Path, help="folder to write into; by default RUNS/explain/<run>-fold<k>")
    parser.add_argument(
        "--rows", type=int, nargs="+", metavar="ID", help="also show these rows of train.csv, which the fold holds out"
    )
    parser.add_argument("--faces", type=int, default=4, metavar="N", help="number of faces of each class on a sheet")
    parser.add_argument(
        "--average", type=int, default=100, metavar="N", help="maximal number of faces of each class in average maps"
    )
    parser.add_argument(
        "--method",
        choices=METHODS,
        default=METHODS[0],
        help="hirescam: each place is weighted by its own gradient, exact if the head weights places differently; "
        "gradcam: each channel is weighted by its mean gradient, as in most papers",
    )
    parser.add_argument(
        "--layer", help="the layer whose output is explained; by default the last one that is still a map"
    )
    return parser


def body(args: argparse.Namespace) -> None:
    """Load, draw, write, print."""
    for name in ("faces", "average"):
        if getattr(args, name) < 1:
            raise FerKitError(f"--{name} {getattr(args, name)}: give a number of 1 or more")
    from fer_kit.explain import sheets

    subject = sheets.load(args.runs, args.run, args.fold, args.data)
    out = args.out or args.runs / "explain" / f"{args.run}-{fold_spec.folder_name(args.fold)}"
    for line in sheets.write(subject, out, sheets.ExplainOptions(
        rows=args.rows or [], faces=args.faces, average=args.average, method=args.method, layer=args.layer
    )):  # fmt: skip
        print(line)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0, 2 for a user error, 130 when interrupted."""
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
