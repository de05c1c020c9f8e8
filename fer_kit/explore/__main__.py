"""The competition's data in numbers and pictures, and on one page.

python -m fer_kit.explore --data data
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fer_kit import cli
from fer_kit.files import atomic


def build_parser() -> argparse.ArgumentParser:
    """The command line of `python -m fer_kit.explore`."""
    parser = cli.parser(
        "python -m fer_kit.explore",
        "Look at the competition's data: classes, pixels, copies, twins and folds, as text, as explore.json, as "
        "pictures and as one page, explore.html. Test labels are never read.",
    )
    parser.add_argument("--data", help="folder with the competition's files; searched for if not given")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs, with folds.csv if any")
    parser.add_argument("--out", type=Path, help="folder to write into; by default RUNS/explore")
    return parser


def _body(args: argparse.Namespace) -> None:
    from fer_kit.data import loading
    from fer_kit.explore import facts
    from fer_kit.explore.page import JSON, PAGE, page, summary_lines

    folder = loading.find(args.data)
    if sys.stderr.isatty():  # a first read of the csv files takes seconds
        print(f"reading {folder} …", file=sys.stderr)
    competition = loading.load(folder, args.runs / "cache")
    groups = facts.groups_of(competition, args.runs)
    counted = facts.facts(competition, groups)
    print("\n".join(summary_lines(counted)))
    out: Path = args.out or args.runs / "explore"
    atomic.write_json(out / JSON, counted)

    from tqdm import tqdm

    from fer_kit.drawing.pictures import DARK, LIGHT, png
    from fer_kit.explore.pictures import all_of

    drawn = []
    for picture in tqdm(all_of(competition, groups), desc="drawing", unit="picture", disable=None):
        light, dark = (png(picture.draw(colours)) for colours in (LIGHT, DARK))
        with atomic.replacing(out / picture.file) as file:
            file.write(light)
        drawn.append((picture, light, dark))
    atomic.write_text(out / PAGE, page(counted, drawn))
    print(f"\nwrote {out / PAGE}, {JSON} and {len(drawn)} pictures beside it")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0, 2 for a user error, 130 when interrupted."""
    return cli.run(build_parser, _body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
