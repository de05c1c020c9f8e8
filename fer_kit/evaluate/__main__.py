"""Scores of runs and blends on held-out rows, their mistakes, and tests of the difference between any two.

python -m fer_kit.evaluate attention residual blends/first
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_kit import cli
from fer_kit.errors import FerKitError
from fer_kit.evaluate import records, tables
from fer_kit.evaluate.sources import ScoredSource
from fer_kit.files import atomic
from fer_kit.folds.table import unnoticed_twins, unordered

if TYPE_CHECKING:
    from fer_kit.data.loading import Answers, Competition
    from fer_kit.evaluate.scores import Scores

SCHEMA = 1
JSON = "evaluate.json"
LONGEST_NAME = 80  # characters of a folder name that joins the names of the sources


def data_of(
    args: argparse.Namespace, sources: Sequence[ScoredSource]
) -> tuple[Competition | None, Answers | None, str]:
    """The competition's data, the labels of the test rows if known, and a note that says why the data are missing.

    Raises:
        FerKitError: `--data` has no competition files, or the sources were trained on other data.
    """
    from fer_kit.data import loading
    from fer_kit.evaluate.sources import check_data

    try:
        place = loading.find(args.data)
    except FerKitError as error:
        if args.data is not None:
            raise
        return None, None, f"no sheet of mistakes and no test scores: {error}"
    competition = loading.load(place, args.runs / "cache")
    check_data(competition, sources)
    for source in sources:
        loading.check_labels(competition, source.oof.ids, source.labels, f"'{source.name}'")
    return competition, loading.load_answers(place), ""


def folder_for(runs_dir: Path, sources: Sequence[ScoredSource]) -> Path:
    """The default folder of the pictures and evaluate.json: one for each set of sources."""
    names = "+".join(source.file_name for source in sources)
    if len(names) > LONGEST_NAME:
        digest = atomic.digest_of([source.name for source in sources])
        names = f"{sources[0].file_name[:40]}+{len(sources) - 1}-{digest[:8]}"
    return runs_dir / "evaluate" / names


def build_parser() -> argparse.ArgumentParser:
    """The options of `python -m fer_kit.evaluate`."""
    parser = cli.parser(
        "python -m fer_kit.evaluate",
        "Score runs and blends on their out-of-fold rows: accuracy, precision and recall of each class, confusion, "
        "calibration and the most confident mistakes. With several names, compare each two by paired tests. Prints "
        "the result in short; writes evaluate.json and pictures. If the data folder holds fer2013.csv or "
        "icml_face_data.csv, whose test rows have labels, also scores the test predictions.",
    )
    parser.add_argument("sources", nargs="+", metavar="RUN_OR_BLEND", help="runs or blends by name")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs, with folds.csv")
    parser.add_argument("--data", help="folder with the competition's files; searched for if not given")
    parser.add_argument("--out", type=Path, help="folder to write to; by default RUNS/evaluate/<names>")
    parser.add_argument("--no-pictures", action="store_true", help="write no pictures")
    parser.add_argument(
        "--details", action="store_true", help="also print class scores, confusion, calibration and all comparisons"
    )
    cli.add_output_options(parser, "print nothing; the exit code and evaluate.json tell the result")
    return parser


def _body(args: argparse.Namespace) -> dict[str, Any]:
    from tqdm import tqdm

    from fer_kit.drawing import pictures
    from fer_kit.evaluate import figures, scores
    from fer_kit.evaluate.sources import load, twin_groups

    sources = load(args.runs, args.sources)
    groups = twin_groups(args.runs, sources)
    competition, answers, missing = data_of(args, sources)
    bar = {"disable": None, "leave": False}
    found, described = [], []
    for source in tqdm(sources, desc="scoring", unit="source", **bar):
        found.append(scores.scores(source.oof.logits, source.labels, groups.of(source.oof.ids)))
        described.append(records.record_of(source, found[-1], groups))
    compared = scores.compare_all(sources, groups) if len(sources) > 1 else None
    test: list[dict[str, Any]] = []
    if answers is not None:
        for source in tqdm(sources, desc="scoring test rows", unit="source", **bar):
            test += scores.on_test(source, answers, groups)

    folds = [list(record["fold_accuracies"].values()) for record in described]
    if args.details:
        lines = tables.summary(sources, found, folds)
        for source, one in zip(sources, found, strict=True):
            lines += ["", *tables.details(source, one)]
        if len(sources) > 1:
            lines += ["", *tables.comparisons(compared, sources)]
        if test:
            some_missing = any(source.missing for source in sources)
            lines += ["", *tables.on_test(test, some_missing, groups.has_train_twin is not None)]
        print("\n".join([*lines, ""]))
    else:
        print("\n".join([*tables.short(sources, found, folds, compared), *tables.test_in_short(test)]))
    if groups.folds is None:
        print(f"note: {args.runs / 'folds.csv'} is missing, so the intervals treat twins as independent rows")
    elif note := unnoticed_twins(args.runs):
        print(note)

    out: Path = args.out or folder_for(args.runs, sources)
    made = {} if args.no_pictures else figures.of_sources(sources, found, described, competition)
    for name, draw in tqdm(made.items(), desc="drawing", unit="picture", **bar):
        pictures.save(draw(), out / name)
    whole = {"schema": SCHEMA, "sources": described, "comparisons": compared, "test_rows": test, "pictures": list(made)}
    atomic.write_json(out / JSON, whole)
    beside = f" and {len(made)} pictures in the same folder" if made else ""
    print(f"wrote {out / JSON}{beside}" + (f"; {missing}" if missing else ""))
    why = unordered(args.runs)
    print(f"no submission can be built: {why}" if why else f"next: {next_command(args, sources, found)}")
    return {"file": str(out / JSON), **whole}


def next_command(args: argparse.Namespace, sources: Sequence[ScoredSource], found: Sequence[Scores]) -> str:
    """What to do with the best source: submit its predictions, or finish its folds first."""
    scored = list(zip(sources, found, strict=True))
    fair = [one for one in scored if not one[0].note] or scored
    best = max(fair, key=lambda one: one[1].accuracy)[0]
    options = "" if args.runs == Path("runs") else f" --runs {shlex.quote(str(args.runs))}"
    if best.missing:
        folds = ", ".join(map(str, best.missing))
        return f"train fold {folds} of '{best.name}'; python -m fer_kit.listing.runs{options} lists what is finished"
    options += "" if args.data is None else f" --data {shlex.quote(args.data)}"
    return f"python -m submissions build {shlex.quote(best.name.removeprefix('blends/'))}{options}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0, 2 for a user error, 130 when interrupted."""
    return cli.run(build_parser, cli.data_command(_body), argv)


if __name__ == "__main__":
    raise SystemExit(main())
