"""One page on all runs and blends: who leads, how they learnt, where they err and look, what was sent, and from where.

python -m fer_kit.report --runs runs
"""

from __future__ import annotations

import argparse
import datetime
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_kit import cli, revision
from fer_kit.errors import FerKitError
from fer_kit.files import atomic

if TYPE_CHECKING:
    from fer_kit.report.page import Content

SCHEMA = 1
PAGE, JSON = "report/report.html", "report.json"
LEDGER = Path("submissions/ledger.csv")
BESIDE = "-files"  # beside report.html lies the folder report-files
LARGE_BYTES = 5_000_000


def charts(content: Content) -> Iterator[tuple[str, str]]:
    """Each chart of the page as (file name, SVG file)."""
    from fer_kit.drawing import svg_charts
    from fer_kit.report import entries

    for chart in [*content.overview, *(chart for one in content.curves for chart in one.charts)]:
        yield chart.file.replace("/", "_"), svg_charts.alone(chart.svg)
    scored = entries.chart(content.ledger)
    if scored is not None:
        yield "ledger.svg", svg_charts.alone(scored)


def record(content: Content) -> dict[str, Any]:
    """The numbers of the page, as JSON."""
    folds = [fold for found in content.found.folds.values() for fold in found]
    return {
        "schema": SCHEMA,
        "made": dict(content.made),
        "sources": [{**one.record, "against_the_best": one.against} for one in content.ranked],
        "folds": [
            {"run": fold.run, "fold": fold.name, "finished": fold.finished, "env": fold.env, "result": fold.result}
            for fold in folds
        ],
        "blends": {one.name: about for one, about, _ in content.blends},
        "left_out": dict(content.found.left_out),
        "notes": [*content.found.notes, *content.troubles],
        "ledger": list(content.ledger),
    }


def told(content: Content) -> list[str]:
    """What the command prints of the page: the leaderboard in short, and what is missing on it."""
    from fer_kit.cli import aligned
    from fer_kit.evaluate.tables import interval

    table = [["run or blend", "accuracy", "95% interval", "folds"]]
    for one in content.ranked:
        bounds, star = interval(one.record["interval"]), " *" * bool(one.source.note)
        table.append([one.name + star, f"{one.record['accuracy']:.2%}", bounds, one.of_folds])
    lines = aligned(table) if content.ranked else ["no fold is finished yet, so there is no leaderboard"]
    lines += [f"* {one.name}: {one.source.note}" for one in content.ranked if one.source.note]
    lines += [f"not in the table: {name}: {why}" for name, why in content.found.left_out]
    return [*lines, *(f"note: {note}" for note in [*content.found.notes, *content.troubles, content.no_faces] if note)]


def build_parser() -> argparse.ArgumentParser:
    """The command line of `python -m fer_kit.report`."""
    parser = cli.parser(
        "python -m fer_kit.report",
        "Write one HTML page on all runs and blends, to open in any browser without a network: leaderboard, learning "
        "curves, confusion, mistaken faces, the activation maps that explain has left, blends, the ledger of entries, "
        "and where each number came from. Every chart is also a file of its own beside it, every number in "
        "report.json there.",
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs, with folds.csv")
    parser.add_argument("--out", type=Path, metavar="FILE", help=f"the page to write; RUNS/{PAGE} where not given")
    parser.add_argument(
        "--data", help="folder with the competition's files, for faces; found by itself where not given"
    )
    parser.add_argument("--ledger", type=Path, default=LEDGER, metavar="CSV", help="where entries are listed")
    parser.add_argument("--sheets", type=int, default=3, metavar="N", help="show faces and maps of the N best")
    parser.add_argument("--no-pictures", action="store_true", help="write the page and report.json alone")
    parser.add_argument("--no-faces", action="store_true", help="show no face, for a page that anybody may see")
    return parser


def body(args: argparse.Namespace) -> None:
    """Read, score, draw, write, tell."""
    out: Path = args.out or args.runs / PAGE
    if args.sheets < 0:
        raise FerKitError(f"--sheets {args.sheets}: give a number of 0 or more")
    if out.is_dir():
        raise FerKitError(f"--out {out}: a folder; give the file to write, e.g. {out / 'report.html'}")
    from tqdm import tqdm

    from fer_kit.drawing import pictures
    from fer_kit.report import content as report_content
    from fer_kit.report import found as report_sources
    from fer_kit.report import maps
    from fer_kit.report import page as report_page

    if sys.stderr.isatty():
        print(f"reading {args.runs} …", file=sys.stderr)
    wish = report_content.Wish(
        runs_dir=args.runs,
        data=args.data,
        ledger=args.ledger,
        sheets=args.sheets,
        faces=not args.no_faces,
        places=[args.runs / maps.FOLDER, out.parent / maps.FOLDER],
        made=_made(args),
    )
    content, drawn = report_content.build(report_sources.find(args.runs), wish)
    page, beside = report_page.page(content), out.with_name(out.stem + BESIDE)
    if args.no_pictures:
        drawn = {}
    written = [] if args.no_pictures else list(charts(content))
    for name, chart in written:
        atomic.write_text(beside / name, chart)
    for name, figure in tqdm(drawn.items(), desc="drawing", unit="picture", disable=None, leave=False):
        pictures.save(figure(), beside / name)
    atomic.write_json(beside / JSON, record(content))
    atomic.write_text(out, page)
    print("\n".join(told(content)))
    size = len(page.encode())
    others = "" if args.no_pictures else f"{len(written) + len(drawn)} pictures and "
    print(f"\nwrote {out} ({size / 1e6:.1f} MB), and {others}{JSON} in {beside}")
    if size > LARGE_BYTES:
        print(f"note: the page is large; --sheets {max(0, args.sheets - 1)} leaves out faces and maps of one source")


def _made(args: argparse.Namespace) -> list[tuple[str, str]]:
    """Of the page itself: when, by which code, by which command."""
    given = [(name, getattr(args, name)) for name in ("runs", "out", "data", "ledger", "sheets")]
    options = [f"--{name} {shlex.quote(str(value))}" for name, value in given if value is not None]
    options += ["--no-faces"] * args.no_faces
    when = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    command = " ".join(["python -m fer_kit.report", *options])
    return [("page made", when), ("by commit", revision.commit()), ("by command", command)]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0, 2 for a user error, 130 when interrupted."""
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
