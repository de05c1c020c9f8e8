"""Build a submission file from the test predictions of a run, a blend or a file."""

from __future__ import annotations

import argparse
import datetime
import math
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_kit import data, files, metrics, predictions, runs
from fer_kit.errors import FerKitError, did_you_mean
from fer_kit.predictions import Predictions
from fer_kit.runs import BLEND, BLENDS, OOF, RESULT, TEST
from submissions import check
from submissions import form as forms
from submissions.form import Form

FOLDER = "submissions"
COMPETITION = "challenges-in-representation-learning-facial-expression-recognition-challenge"


@dataclass(frozen=True, eq=False)
class Source:
    """Test predictions and what is known of them; `accuracy` is a sentence on the out-of-fold accuracy."""

    name: str
    origin: str
    test: Predictions
    accuracy: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m submissions build`."""
    parser.add_argument("source", metavar="SOURCE", help="a run, a blend, or the path of a test.npz or its folder")
    check.add_data_arguments(parser)
    parser.add_argument("--out", metavar="FILE", help=f"default: {FOLDER}/<date>-<name>.csv")
    parser.add_argument("--force", action="store_true", help="replace a file with other content")


def body(args: argparse.Namespace) -> None:
    """Resolve the source, write the file, check it, report."""
    source = resolve(Path(args.runs), args.source)
    place, why = forms.find_data(args.data)
    rows = len(source.test)
    if not np.array_equal(source.test.ids, np.arange(rows)):
        raise FerKitError(
            f"{source.origin}: predicts {rows:,} test rows with ids up to {source.test.ids[-1]}, allowed are all rows "
            "from 0 without a gap; predict every test row"
        )
    origin = "the rows predicted; no data was found to compare with"
    if place is not None:
        origin = f"the test rows of {place}"
        _refuse_other_data(source, place, args.runs)
    form = forms.choose(place, args.plain)
    check.refuse_other_rows(form, rows, origin)
    out = Path(args.out) if args.out else Path(FOLDER) / f"{_today()}-{source.name}.csv"
    changed = write(out, render(form, metrics.predicted(source.test.logits)), args.force)
    checked = check.check_file(out, form, rows, origin)

    lines = [
        ("source", source.origin),
        ("accuracy", source.accuracy),
        ("form", form.text),
        ("rows", f"{rows:,}, {origin}"),
    ]
    for name, value in (*lines, *check.summary(checked), ("wrote" if changed else "unchanged", f"{out}")):
        print(f"{name:<9}  {value}")
    if place is None:
        print(f"note: {why}")
    print(f"next: {_next_command(out, rows, source)}")


def resolve(runs_dir: Path, source: str) -> Source:
    """Find what `source` names: a run or blend in `runs_dir`, or a path.

    Raises:
        FerKitError: nothing, or two things, of that name; unfinished or damaged predictions.
    """
    is_run, is_blend = source in runs.list_runs(runs_dir), source in runs.list_blends(runs_dir)
    if is_run and is_blend:
        raise FerKitError(
            f"'{source}' is a run and a blend in {runs_dir}; say {runs_dir / source} or {runs_dir / BLENDS / source}"
        )
    if is_run:
        return _from_run(runs_dir, source)
    if is_blend:
        return _from_blend(runs_dir, source)
    for path in (Path(source), runs_dir / source):  # the second: 'blends/all', 'attention/fold0'
        if path.is_file():
            return _from_file(path)
        if path.is_dir():
            return _from_folder(path)
    known = [*runs.list_runs(runs_dir), *runs.list_blends(runs_dir)]
    there = f"{runs_dir} has {', '.join(known)}" if known else f"{runs_dir} holds none"
    raise FerKitError(f"no run, blend or path '{source}'{did_you_mean(source, known)}; {there}")


def render(form: Form, classes: NDArray[np.int64]) -> str:
    """The submission file for `classes`, int64 (M,) in test.csv order."""
    ordered = classes if form.test_rows is None else classes[form.test_rows]
    lines = [form.line(index, prediction) for index, prediction in enumerate(ordered.tolist())]
    return "\n".join([*([] if form.header is None else [form.header]), *lines, ""])


def write(out: Path, text: str, force: bool) -> bool:
    """Write `text` to `out`; False where it is there already.

    Raises:
        FerKitError: `out` holds something else and `force` is not given, or cannot be written.
    """
    if out.is_dir():
        raise FerKitError(f"{out}: is a folder; give a file name with --out")
    if out.exists():
        if out.read_bytes() == text.encode():
            return False
        if not force:
            raise FerKitError(
                f"{out}: holds another submission; give another name with --out, or replace it with --force"
            )
    files.write_text(out, text)
    return True


def _from_run(runs_dir: Path, name: str) -> Source:
    run = runs.load(runs_dir, name)
    return Source(name, f"run {run.folder}", run.test, _accuracy(run.oof, run.accuracies))


def _from_blend(runs_dir: Path, name: str) -> Source:
    blend = runs.load_blend(runs_dir, name)
    members = ", ".join(str(member["run"]) for member in blend.record["members"])
    accuracy = _accuracy(blend.oof, tuple(blend.record["fold_accuracies"]))
    return Source(name, f"blend {blend.folder} (of {members})", blend.test, accuracy)


def _from_folder(path: Path) -> Source:
    if (path / BLEND).is_file() and path.absolute().parent.name == BLENDS:
        return _from_blend(path.absolute().parent.parent, path.absolute().name)
    if path.absolute().name in runs.list_runs(path.absolute().parent):
        return _from_run(path.absolute().parent, path.absolute().name)
    if (path / TEST).is_file():
        return _from_file(path / TEST)
    raise FerKitError(f"{path}: no run, no blend and no {TEST} in it; name a run, a blend or a {TEST}")


def _from_file(path: Path) -> Source:
    """One prediction file; where it lies in a fold folder, a whole one."""
    if path.name == TEST and (path.parent / BLEND).is_file():
        return _from_folder(path.parent)
    if (path.parent / RESULT).exists() and not runs.is_finished(path.parent):
        raise FerKitError(f"{path}: not the file that {RESULT} beside it was written for; train this fold again")
    test = predictions.read(path)
    if test.labels is not None:
        raise FerKitError(f"{path}: has labels, so it predicts train rows; give a {TEST}")
    fold = test.meta["fold"]
    name = runs.safe_name(test.meta["run"] + (f"-fold{fold}" if isinstance(fold, int) else ""), "run")
    accuracy = f"unknown: no {OOF} beside it"
    if (path.parent / OOF).is_file():
        oof = predictions.read(path.parent / OOF)
        if oof.labels is not None and all(oof.meta[key] == test.meta[key] for key in ("run", "fold", "config_digest")):
            accuracy = _accuracy(oof, ())
    return Source(name, f"{path}", test, accuracy)


def _accuracy(oof: Predictions, folds: tuple[float, ...]) -> str:
    assert oof.labels is not None
    spread = metrics.spread(folds)
    plus_minus = "" if math.isnan(spread) else f" ± {spread:.2%} over {len(folds)} folds"
    return f"{metrics.accuracy(oof.logits, oof.labels):.2%} out-of-fold on {len(oof):,} rows{plus_minus}"


def _refuse_other_data(source: Source, place: Path, runs_dir: str) -> None:
    competition = data.load(place, Path(runs_dir) / runs.CACHE)
    made_from = source.test.meta["data_digest"]
    if competition.digest != made_from:
        raise FerKitError(
            f"{source.origin}: predicted from data {made_from[:12]}, but {place} holds data {competition.digest[:12]}; "
            "name the folder it was made from with --data"
        )
    if len(competition.test.ids) != len(source.test):
        raise FerKitError(
            f"{source.origin}: predicts {len(source.test):,} test rows, {place} has {len(competition.test.ids):,}; "
            "predict every test row"
        )


def _today() -> datetime.date:
    return datetime.date.today()


def _next_command(out: Path, rows: int, source: Source) -> str:
    file = shlex.quote(f"{out}")
    if rows != check.COMPETITION_ROWS:
        return (
            f"python -m submissions check {file}   (not for Kaggle: its test set has {check.COMPETITION_ROWS:,} rows)"
        )
    return f'kaggle competitions submit {COMPETITION} -f {file} -m "{source.name}: {source.accuracy}"'
