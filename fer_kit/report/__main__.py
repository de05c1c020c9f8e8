"""One page on all runs and blends: what to send next, the leaderboard, learning curves, errors, blends, the ledger.

python -m fer_kit.report --runs runs
"""

from __future__ import annotations

import argparse
import datetime
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_kit import cli, revision
from fer_kit.cli import aligned
from fer_kit.errors import FerKitError
from fer_kit.evaluate.tables import interval
from fer_kit.files import atomic
from fer_kit.runs import ledger

if TYPE_CHECKING:
    from fer_kit.report.section import Content, Part

SCHEMA = 1
PAGE, JSON = "report/report.html", "report.json"
LEDGER = Path("submissions/ledger.csv")
BESIDE = "-files"  # beside report.html lies the folder report-files
LARGE_BYTES = 5_000_000


def record(content: Content, parts: Sequence[Part]) -> dict[str, Any]:
    """The numbers of the page, as JSON."""
    folds = [fold for found in content.folds.values() for fold in found]
    return {
        "schema": SCHEMA,
        "made": dict(content.options.made),
        "sources": [{**one.record, "against_the_best": one.against} for one in content.ranked],
        "lookups": [one.record for one in content.lookups],
        "folds": [
            {"run": fold.run, "fold": fold.name, "finished": fold.finished, "env": fold.env, "result": fold.result}
            for fold in folds
        ],
        "blends": {one.name: one.blend.to_json() for one in content.every if one.blend is not None},
        "left_out": dict(content.found.left_out),
        "trials": list(content.found.trials),
        "notes": [note for part in parts for note in part.notes],
        "ledger": [ledger.cells(entry) for entry in content.ledger],
    }


def summary(content: Content, parts: Sequence[Part]) -> list[str]:
    """What the command prints: the leaderboard in short, and what is missing on it."""
    table = [["run or blend", "accuracy", "95% interval", "folds"]]
    for one in content.ranked:
        star = " *" * bool(one.source.note)
        table.append([one.name + star, f"{one.accuracy:.2%}", interval(one.record["interval"]), one.of_folds])
    lines = aligned(table) if content.ranked else ["no fold is finished yet, so there is no leaderboard"]
    lines += [f"* {one.name}: {one.source.note}" for one in content.ranked if one.source.note]
    lines += [f"twin lookup, not ranked: {one.name}, {one.accuracy:.2%}" for one in content.lookups]
    lines += [f"not in the table: {name}: {why}" for name, why in content.found.left_out]
    lines += [f"hidden trials, shown with --trials: {', '.join(content.found.trials)}"] * bool(content.found.trials)
    notes = [note for part in parts for note in part.notes]
    return [*lines, *(note if note.startswith("next: ") else f"note: {note}" for note in notes)]


def build_parser() -> argparse.ArgumentParser:
    """The command line of `python -m fer_kit.report`."""
    parser = cli.parser(
        "python -m fer_kit.report",
        "Write one HTML page on all runs and blends, to open in any browser without a network: what to send next, the "
        "leaderboard, a comparison of any two, learning curves, confusion, mistaken faces, activation maps made by "
        "explain, blends, twin lookups, the ledger of entries, and where each number came from. Every chart is also "
        "a file beside the page, and every number is in report.json there.",
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs, with folds.csv")
    parser.add_argument("--out", type=Path, metavar="FILE", help=f"the page to write; by default RUNS/{PAGE}")
    parser.add_argument("--data", help="folder with the competition's files, for faces; searched for if not given")
    parser.add_argument("--ledger", type=Path, default=LEDGER, metavar="CSV", help="the ledger of entries")
    parser.add_argument("--sheets", type=int, default=3, metavar="N", help="show faces and maps of the N best")
    parser.add_argument("--trials", action="store_true", help="also show runs made with train --smoke")
    parser.add_argument("--no-pictures", action="store_true", help="write only the page and report.json")
    parser.add_argument("--no-faces", action="store_true", help="no faces and no absolute paths, for anybody to see")
    return parser


def body(args: argparse.Namespace) -> None:
    """Load, build, write, print."""
    out: Path = args.out or args.runs / PAGE
    if args.sheets < 0:
        raise FerKitError(f"--sheets {args.sheets}: give a number of 0 or more")
    if out.is_dir():
        raise FerKitError(f"--out {out}: is a folder; give the file to write, e.g. {out / 'report.html'}")
    from tqdm import tqdm

    from fer_kit.drawing import pictures, svg_charts
    from fer_kit.report.content import load
    from fer_kit.report.page import build, page
    from fer_kit.report.section import ReportOptions
    from fer_kit.report.sections import maps

    if sys.stderr.isatty():
        print(f"reading {args.runs} …", file=sys.stderr)
    options = ReportOptions(
        runs_dir=args.runs,
        data=args.data,
        ledger=args.ledger,
        sheets=args.sheets,
        faces=not args.no_faces,
        map_folders=[args.runs / maps.FOLDER, out.parent / maps.FOLDER],
        trials=args.trials,
        made=_made(args),
    )
    content = load(options)
    parts = build(content)
    text, beside = page(content, parts), out.with_name(out.stem + BESIDE)
    charts = {name: chart for part in parts for name, chart in part.charts.items()}
    drawn = {name: draw for part in parts for name, draw in part.pictures.items()}
    if args.no_pictures:
        charts, drawn = {}, {}
    for name, chart in charts.items():
        atomic.write_text(beside / name.replace("/", "_"), svg_charts.alone(chart))
    for name, draw in tqdm(drawn.items(), desc="drawing", unit="picture", disable=None, leave=False):
        pictures.save(draw(), beside / name)
    atomic.write_json(beside / JSON, record(content, parts))
    atomic.write_text(out, text)
    print("\n".join(summary(content, parts)))
    size = len(text.encode())
    others = "" if args.no_pictures else f"{len(charts) + len(drawn)} pictures and "
    print(f"\nwrote {out} ({size / 1e6:.1f} MB), and {others}{JSON} in {beside}")
    if size > LARGE_BYTES:
        print(f"note: the page is large; --sheets {max(0, args.sheets - 1)} leaves out faces and maps of one source")


def _made(args: argparse.Namespace) -> list[tuple[str, str]]:
    """(name, value) of the page itself: date, commit, command."""
    given = [(name, getattr(args, name)) for name in ("runs", "out", "data", "ledger", "sheets")]
    options = [f"--{name} {shlex.quote(str(value))}" for name, value in given if value is not None]
    options += ["--no-faces"] * args.no_faces + ["--trials"] * args.trials
    when = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    command = " ".join(["python -m fer_kit.report", *options])
    return [("page made", when), ("by commit", revision.commit()), ("by command", command)]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0, 2 for a user error, 130 when interrupted."""
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
