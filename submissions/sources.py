"""The source of test predictions: a run, a blend or a prediction file, found by name or path."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fer_kit import metrics
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.folds import fold_spec
from fer_kit.runs import finished_folder, folders, lookup, predictions
from fer_kit.runs.blend_record import ForecastRecord
from fer_kit.runs.finished_folder import BLEND, OOF, RESULT, TEST
from fer_kit.runs.folders import BLENDS
from fer_kit.runs.lookup import BlendFolder, RunFolder
from fer_kit.runs.predictions import Predictions

RUN, BLENDED, FOLD, FILE = "run", "blend", "fold", "file"  # kinds of source


@dataclass(frozen=True, eq=False)
class TestSource:
    """Test predictions with their origin and accuracy.

    kind: "run", "blend", "fold" (a finished fold of a run) or "file" (a prediction file without a finished mark).
    origin: the name in printed lines. folder: of the run, blend, fold or file. sha256: of the files read, by their
    path below `folder`. accuracy, accuracy_text: out-of-fold accuracy, None if unknown, and in words. members: weight
    of each run, None if the method has no weights; a run alone has weight 1. note: a remark for readers, such as that
    twins were looked up, or "". forecast: the blend's leaderboard forecast, or None. oof: the out-of-fold predictions
    behind `accuracy`, None if unknown. forecast_record: the forecast with its parts and errors.
    """

    name: str
    kind: str
    origin: str
    folder: Path
    sha256: Mapping[str, str]
    test: Predictions
    accuracy: float | None
    accuracy_text: str
    members: Mapping[str, float | None]
    note: str = ""
    forecast: float | None = None
    oof: Predictions | None = None
    forecast_record: ForecastRecord | None = None


def resolve(runs_dir: Path, name: str) -> TestSource:
    """The test predictions of a run, blend or fold in `runs_dir`, or of a path.

    Raises:
        FerKitError: `name` is unknown, or both a run and a blend; the predictions are unfinished or damaged.
    """
    if name in folders.list_runs(runs_dir) and name in folders.list_blends(runs_dir):
        raise FerKitError(
            f"'{name}' is both a run and a blend in {runs_dir}; give {runs_dir / name} or {runs_dir / BLENDS / name}"
        )
    found = lookup.look(runs_dir, name)
    if isinstance(found, RunFolder):
        return _from_run(found)
    if isinstance(found, BlendFolder):
        return _from_blend(found)
    for path in (Path(name), runs_dir / name):
        if path.is_file():
            return _from_file(path, runs_dir)
        if path.is_dir():
            return _from_folder(path, runs_dir)
    raise lookup.unknown(runs_dir, name, "run, blend or path")


def _from_run(found: RunFolder) -> TestSource:
    run, name = found.load(), found.name
    accuracy, text = _accuracy(run.oof, run.accuracies)
    origin = f"run {run.folder}"
    return TestSource(name, RUN, origin, run.folder, run.sha256, run.test, accuracy, text, {name: 1.0}, oof=run.oof)


def _from_blend(found: BlendFolder) -> TestSource:
    blend, name = found.load(), found.name
    members = {member.run: member.weight for member in blend.record.members}
    origin = f"blend {blend.folder} (of {', '.join(members)})"
    accuracy, text = _accuracy(blend.oof, blend.record.fold_accuracies)
    note, forecast = "", None
    if twins := blend.record.twins:
        note = f"{twins.mode} twins looked up, {twins.rows_changed:,} of {twins.rows:,} rows changed"
        without = twins.without.oof_accuracy
        text = f"{accuracy:.2%} with the labels of {twins.mode} twins, {without:.2%} without, out-of-fold"
    if blend.record.forecast is not None:
        forecast = float(blend.record.forecast.accuracy)
        text += f"; leaderboard forecast {forecast:.2%}"
    return TestSource(
        name,
        BLENDED,
        origin,
        blend.folder,
        blend.record.files,
        blend.test,
        accuracy,
        text,
        members,
        note,
        forecast,
        blend.oof,
        blend.record.forecast,
    )


def _from_folder(path: Path, runs_dir: Path) -> TestSource:
    if (path / BLEND).is_file() and path.absolute().parent.name == BLENDS:
        return _from_blend(BlendFolder(path.absolute().parent.parent, path.absolute().name))
    if path.absolute().name in folders.list_runs(path.absolute().parent):
        return _from_run(RunFolder(path.absolute().parent, path.absolute().name))
    if (path / TEST).is_file():
        return _from_file(path / TEST, runs_dir)
    if (error := folders.only_full_fit(path)) is not None:
        raise error
    raise FerKitError(f"{path}: not a run or blend, and it has no {TEST}; give a run, a blend or a {TEST}")


def _from_file(path: Path, runs_dir: Path) -> TestSource:
    """The predictions of one file; a file in a finished fold folder counts as a fold."""
    if path.name == TEST and (path.parent / BLEND).is_file():
        return _from_folder(path.parent, runs_dir)
    marked = (path.parent / RESULT).exists()
    if marked and not finished_folder.is_finished(path.parent):
        raise FerKitError(f"{path}: not the file that {RESULT} in its folder was written for; train this fold again")
    test, sha256 = predictions.read(path), {path.name: atomic.sha256_of(path)}
    if test.labels is not None:
        raise FerKitError(f"{path}: has labels, so its rows are train rows; give a {TEST}")
    run, fold = test.meta["run"], test.meta["fold"]
    full = fold == fold_spec.FULL
    part = "-full" if full else f"-fold{fold}" if isinstance(fold, int) else ""
    name = folders.safe_name(run + part, "run")
    accuracy, text, oof = None, f"unknown: no {OOF} in the same folder", None
    if full:
        text = "unknown: a full fit holds out no rows; the folds of its run tell"
    if (path.parent / OOF).is_file():
        beside = predictions.read(path.parent / OOF)
        same = all(beside.meta[key] == test.meta[key] for key in ("run", "fold", "config_digest"))
        if beside.labels is not None and same:
            folders.check_rows(runs_dir, beside, f"{path.parent / OOF}")
            accuracy, text = _accuracy(beside, ())
            oof = beside
    kind = FOLD if marked and path.name == TEST else FILE
    return TestSource(name, kind, f"{path}", path.parent, sha256, test, accuracy, text, {run: 1.0}, oof=oof)


def _accuracy(oof: Predictions, folds: tuple[float, ...]) -> tuple[float, str]:
    assert oof.labels is not None
    spread = metrics.spread(folds)
    plus_minus = "" if math.isnan(spread) else f" ± {spread:.2%} over {len(folds)} folds"
    accuracy = metrics.accuracy(oof.logits, oof.labels)
    return accuracy, f"{accuracy:.2%} out-of-fold on {len(oof):,} rows{plus_minus}"
