"""How good runs and blends are on rows they never saw, where they err, and which of them is better.

python -m fer_kit.evaluate attention residual blends/first
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fer_kit import cli, metrics
from fer_kit.errors import FerKitError
from fer_kit.evaluate import tables
from fer_kit.evaluate.sources import Groups, Source
from fer_kit.files import atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fer_kit.data.loading import Answers, Competition
    from fer_kit.evaluate.scores import Scores

SCHEMA = 1
JSON, ACCURACIES = "evaluate.json", "accuracies.png"
MISTAKES_A_CLASS = 8
LONGEST_NAME = 80  # of the folder made from the names of the sources


def fold_accuracies(source: Source, groups: Groups) -> dict[int, float]:
    """Accuracy on the rows of each fold, by fold; empty for a blend without folds.csv."""
    folds = groups.folds_of(source.oof.ids)
    right = metrics.predicted(source.oof.logits) == source.labels
    return {} if folds is None else {int(fold): float(right[folds == fold].mean()) for fold in np.unique(folds)}


def mistakes(source: Source, groups: Groups) -> list[dict[str, Any]]:
    """The most confident wrong rows of each class, one of each group of twins: id, label, answer, probability. JSON."""
    from fer_kit.competition import CLASSES
    from fer_kit.evaluate.scores import confident_mistakes

    logits = source.oof.logits
    rows = confident_mistakes(logits, source.labels, groups.of(source.oof.ids), MISTAKES_A_CLASS)
    answers, sure = metrics.predicted(logits[rows]), metrics.softmax(logits[rows]).max(axis=1)
    return [
        {
            "id": int(source.oof.ids[row]),
            "true": CLASSES[source.labels[row]],
            "answer": CLASSES[answer],
            "probability": float(probability),
        }
        for row, answer, probability in zip(rows, answers, sure, strict=True)
    ]


def record_of(source: Source, found: Scores, groups: Groups) -> dict[str, Any]:
    """Everything known about one source, as JSON."""
    about = source.oof.meta
    return {
        "name": source.name,
        "kind": source.kind,
        "recipe": about["recipe"],
        "folds": list(source.folds),
        "missing_folds": list(source.missing),
        "note": source.note,
        **{key: about[key] for key in ("config_digest", "folds_digest", "data_digest")},
        "fold_accuracies": {str(fold): value for fold, value in fold_accuracies(source, groups).items()},
        **found.to_json(),
        "confident_mistakes": mistakes(source, groups),
    }


def drawings(
    sources: Sequence[Source], found: Sequence[Scores], records: Sequence[dict[str, Any]], data: Competition | None
) -> dict[str, Callable[[], Figure]]:
    """Each picture by its file name, undrawn."""
    from fer_kit.drawing import pictures

    made: dict[str, Callable[[], Figure]] = {}
    for source, scores, record in zip(sources, found, records, strict=True):
        folds = ("fold " if len(source.folds) == 1 else "folds ") + ", ".join(map(str, source.folds))
        only = f", {folds} only" if source.missing else ""
        title = f"{source.name}: {scores.accuracy:.2%} of {scores.rows:,} out-of-fold rows{only}"
        made[f"{source.file_name}-confusion.png"] = partial(pictures.confusion, scores.confusion, title)
        title = f"{source.name}: calibration error {scores.calibration.error:.2%}{only}"
        made[f"{source.file_name}-reliability.png"] = partial(pictures.reliability, scores.calibration, title)
        if data is not None and record["confident_mistakes"]:
            made[f"{source.file_name}-mistakes.png"] = partial(
                mistake_sheet, source, record["confident_mistakes"], data
            )
    if len(sources) > 1:
        made[ACCURACIES] = accuracies(sources, found, records)
    return made


def accuracies(
    sources: Sequence[Source], found: Sequence[Scores], records: Sequence[dict[str, Any]]
) -> Callable[[], Figure]:
    """All sources side by side in one picture, undrawn."""
    from fer_kit.drawing import pictures

    return partial(
        pictures.intervals,
        [source.name + (" *" if source.missing else "") for source in sources],
        [scores.accuracy for scores in found],
        [scores.interval for scores in found],
        [list(record["fold_accuracies"].values()) for record in records],
        "out-of-fold accuracy" + (" (* some folds missing)" if any(source.missing for source in sources) else ""),
    )


def mistake_sheet(source: Source, wrong: Sequence[dict[str, Any]], data: Competition) -> Figure:
    """The most confident mistakes as faces, a row for each label: what the network answered, and how sure it was."""
    from fer_kit.drawing import pictures

    names = list(dict.fromkeys(one["true"] for one in wrong))
    rows = []
    for name in names:
        ones = [one for one in wrong if one["true"] == name]
        captions = [f"→ {one['answer']}\n{one['probability']:.1%}  #{one['id']}" for one in ones]
        rows.append((data.train.images[[one["id"] for one in ones]], captions))
    images, captions = pictures.padded(rows, MISTAKES_A_CLASS)
    title = f"{source.name}: most confident mistakes, label at the left, answer below"
    return pictures.face_sheet(images, captions, MISTAKES_A_CLASS, title, names)


def data_of(args: argparse.Namespace, sources: Sequence[Source]) -> tuple[Competition | None, Answers | None, str]:
    """The data that the sources were trained on, labels of test rows where they are there; why not, where not."""
    from fer_kit.data import loading as data
    from fer_kit.evaluate.sources import check_data

    try:
        place = data.find(args.data)
    except FerKitError as error:
        if args.data is not None:
            raise
        return None, None, f"no sheet of mistakes and no test rows: {error}"
    competition = data.load(place, args.runs / "cache")
    check_data(competition, sources)
    return competition, data.load_answers(place), ""


def folder_for(runs_dir: Path, sources: Sequence[Source]) -> Path:
    """Where pictures and JSON go by default: a folder for each choice of sources."""
    names = "+".join(source.file_name for source in sources)
    if len(names) > LONGEST_NAME:
        digest = atomic.digest_of([source.name for source in sources])
        names = f"{sources[0].file_name[:40]}+{len(sources) - 1}-{digest[:8]}"
    return runs_dir / "evaluate" / names


def build_parser() -> argparse.ArgumentParser:
    """The command line of `python -m fer_kit.evaluate`."""
    parser = cli.parser(
        "python -m fer_kit.evaluate",
        "Score runs and blends on their out-of-fold rows: accuracy, classes, confusion, calibration, most confident "
        "mistakes; several side by side with tests of their differences. Prints tables and writes evaluate.json and "
        "pictures. Where fer2013.csv or icml_face_data.csv lies in the data folder, the test rows get a table of "
        "their own.",
    )
    parser.add_argument("sources", nargs="+", metavar="RUN_OR_BLEND", help="names of runs or blends in the run folder")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs, with folds.csv")
    parser.add_argument("--data", help="folder with the competition's files; found by itself where not given")
    parser.add_argument("--out", type=Path, help="folder to write into; RUNS/evaluate/<names> where not given")
    parser.add_argument("--no-pictures", action="store_true", help="draw none")
    return parser


def _body(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    from fer_kit.drawing import pictures
    from fer_kit.evaluate import scores as evaluate_scores
    from fer_kit.evaluate import sources as evaluate_sources

    sources = evaluate_sources.load(args.runs, args.sources)
    groups = evaluate_sources.groups(args.runs, sources)
    competition, answers, missing = data_of(args, sources)
    bar = {"disable": None, "leave": False}
    found, records = [], []
    for source in tqdm(sources, desc="scoring", unit="source", **bar):
        found.append(evaluate_scores.scores(source.oof.logits, source.labels, groups.of(source.oof.ids)))
        records.append(record_of(source, found[-1], groups))
    compared = evaluate_scores.compare_all(sources, groups) if len(sources) > 1 else None
    test: list[dict[str, Any]] = []
    if answers is not None:
        for source in tqdm(sources, desc="scoring test rows", unit="source", **bar):
            test += evaluate_scores.on_test(source, answers, groups)

    folds = [list(record["fold_accuracies"].values()) for record in records]
    lines = tables.summary(sources, found, folds)
    lines += [f"note: {args.runs / 'folds.csv'} is not there: intervals take twins for strangers"] * (not groups.folds)
    for source, scores in zip(sources, found, strict=True):
        lines += ["", *tables.details(source, scores)]
    if len(sources) > 1:
        lines += ["", *tables.comparisons(compared, sources)]
    if test:
        some_missing = any(source.missing for source in sources)
        lines += ["", *tables.on_test(test, some_missing, groups.has_train_twin is not None)]
    print("\n".join(lines))

    out: Path = args.out or folder_for(args.runs, sources)
    made = {} if args.no_pictures else drawings(sources, found, records, competition)
    for name, draw in tqdm(made.items(), desc="drawing", unit="picture", **bar):
        pictures.save(draw(), out / name)
    whole = {"schema": SCHEMA, "sources": records, "comparisons": compared, "test_rows": test, "pictures": list(made)}
    atomic.write_json(out / JSON, whole)
    beside = f" and {len(made)} pictures beside it" if made else ""
    print(f"\nwrote {out / JSON}{beside}" + (f"; {missing}" if missing else ""))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0, 2 for a user error, 130 when interrupted."""
    return cli.run(build_parser, _body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
