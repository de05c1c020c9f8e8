"""Build a submission file from the test predictions of a run, a blend or a file."""

from __future__ import annotations

import argparse
import datetime
import shlex
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_kit import metrics
from fer_kit.data import loading
from fer_kit.errors import FerKitError
from fer_kit.files import atomic, lock
from fer_kit.folds.table import unordered
from fer_kit.runs import folders
from submissions import check, file_format, source_record, sources
from submissions.file_format import FileFormat
from submissions.source_record import FOLDER
from submissions.sources import TestSource


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m submissions build`."""
    parser.add_argument(
        "source", metavar="SOURCE", help="a run or blend by name, or the path of a test.npz or of its folder"
    )
    check.add_data_arguments(parser)
    parser.add_argument("--out", metavar="FILE", help=f"file to write; by default {FOLDER}/<date>-<name>.csv")
    parser.add_argument("--force", action="store_true", help="replace an existing file that has other content")


def body(args: argparse.Namespace) -> None:
    """Read the predictions, write the file, check it and print a summary."""
    source = sources.resolve(Path(args.runs), args.source)
    place, why = file_format.find_data(args.data)
    rows = len(source.test)
    if not np.array_equal(source.test.ids, np.arange(rows)):
        raise FerKitError(
            f"{source.origin}: predicts {rows:,} test rows with ids up to {source.test.ids[-1]}, allowed are all rows "
            "from 0 without a gap; predict every test row"
        )
    origin = "the number of predictions (not compared with test.csv: no data found)"
    if place is None:
        _refuse_unordered(source, Path(args.runs))
    else:
        origin = f"the test rows of {place}"
        _refuse_other_data(source, place, args.runs)
    form = file_format.choose(place, args.plain)
    check.refuse_other_rows(form, rows, origin)
    out = Path(args.out) if args.out else Path(FOLDER) / f"{_today()}-{source.name}.csv"
    if out.is_dir():
        raise FerKitError(f"{out}: is a folder; give a file name with --out")
    with lock.held(out, "another process builds this file"):
        atomic.sweep(out.parent, out.name)
        changed = write(out, render(form, metrics.predicted(source.test.logits)), args.force)
        checked = check.check_file(out, form, rows, origin)
        source_record.write(out, checked.sha256, source)

    lines = [
        ("source", source.origin),
        *([("note", source.note)] if source.note else []),
        ("accuracy", source.accuracy_text),
        ("format", form.text),
        ("rows", f"{rows:,}, {origin}"),
    ]
    for name, value in (*lines, *check.summary(checked), ("wrote" if changed else "unchanged", f"{out}")):
        print(f"{name:<9}  {value}")
    if place is None:
        print(f"note: {why}")
        if source.oof is not None:
            print("note: the accuracy rests on the labels in the files of the source, which no data here can confirm")
    print(f"next: {_next_command(out, rows, source, args)}")


def render(form: FileFormat, classes: NDArray[np.int64]) -> str:
    """The text of the submission file. classes: predicted classes in the order of test.csv, int64 (M,)."""
    ordered = classes if form.test_rows is None else classes[form.test_rows]
    lines = [form.line(index, prediction) for index, prediction in enumerate(ordered.tolist())]
    return "\n".join([*([] if form.header is None else [form.header]), *lines, ""])


def write(out: Path, text: str, force: bool) -> bool:
    """Write `text` to `out`; returns False if `out` already holds this text.

    Raises:
        FerKitError: `out` holds something else and `force` is False, or `out` cannot be written.
    """
    if out.exists():
        if out.read_bytes() == text.encode():
            return False
        if not force:
            raise FerKitError(
                f"{out}: holds another submission; choose another file with --out, or replace this file with --force"
            )
    atomic.write_text(out, text)
    return True


def _refuse_other_data(source: TestSource, place: Path, runs_dir: str) -> None:
    made_from = source.test.meta["data_digest"]
    competition = loading.load(place, Path(runs_dir) / folders.CACHE, made_from, source.origin)
    loading.refuse_unordered(competition, "a submission")
    if len(competition.test.ids) != len(source.test):
        raise FerKitError(
            f"{source.origin}: predicts {len(source.test):,} test rows, {place} has {len(competition.test.ids):,}; "
            "predict every test row"
        )
    if source.oof is not None:
        loading.check_labels(competition, source.oof.ids, source.oof.labels, source.origin)


def _refuse_unordered(source: TestSource, runs_dir: Path) -> None:
    """Refuse predictions for data that lack the order of test.csv by folds.json; for use where no data are found."""
    if why := unordered(runs_dir, source.test.meta["data_digest"]):
        raise FerKitError(
            f"{source.origin}: {why}, and a submission needs this order, line by line; train on the competition's own "
            "files (python -m fer_kit.download)"
        )


def _today() -> datetime.date:
    return datetime.date.today()


def _next_command(out: Path, rows: int, source: TestSource, args: argparse.Namespace) -> str:
    runs = "" if Path(args.runs) == Path("runs") else f" --runs {shlex.quote(args.runs)}"
    data = "" if args.data is None else f" --data {shlex.quote(args.data)}"
    options = runs + data + (" --plain" if args.plain else "")
    file = shlex.quote(f"{out}")
    if rows != check.COMPETITION_ROWS:
        return (
            f"python -m submissions check {file}{options}   "
            f"(not for Kaggle: its test set has {check.COMPETITION_ROWS:,} rows)"
        )
    return f'python -m submissions upload {file} -m "{source.name}: {source.accuracy_text}"{options}'
