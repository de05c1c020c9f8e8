"""Where test predictions come from: a run, a blend or a prediction file, found by what a person types."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fer_kit import metrics
from fer_kit.errors import FerKitError, did_you_mean
from fer_kit.files import atomic
from fer_kit.runs import folders, predictions
from fer_kit.runs.folders import BLEND, BLENDS, OOF, RESULT, TEST
from fer_kit.runs.predictions import Predictions

RUN, BLENDED, FOLD, FILE = "run", "blend", "fold", "file"  # kinds of source


@dataclass(frozen=True, eq=False)
class Source:
    """Test predictions and what is known of them.

    kind: "run", "blend", "fold" (one fold of a run), or "file" (a prediction file that nothing marks as finished).
    origin: what reports call it. folder: of the run, blend, fold or file. sha256: of the files read, by their path
    below `folder`. accuracy: out-of-fold, None where no out-of-fold predictions are known; accuracy_text: in words.
    members: run → weight, None where the method has no weights; the run itself where nothing was blended.
    forecast: what the leaderboard will show, by the blend's own forecast; None where it made none.
    note: what a reader must know beside the name, e.g. that twins were looked up; mostly empty.
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


def resolve(runs_dir: Path, source: str) -> Source:
    """Find what `source` names: a run or blend in `runs_dir`, or a path.

    Raises:
        FerKitError: nothing, or two things, of that name; unfinished or damaged predictions.
    """
    is_run, is_blend = source in folders.list_runs(runs_dir), source in folders.list_blends(runs_dir)
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
    known = [*folders.list_runs(runs_dir), *folders.list_blends(runs_dir)]
    there = f"{runs_dir} has {', '.join(known)}" if known else f"{runs_dir} holds none"
    raise FerKitError(f"no run, blend or path '{source}'{did_you_mean(source, known)}; {there}")


def _from_run(runs_dir: Path, name: str) -> Source:
    run = folders.load(runs_dir, name)
    accuracy, text = _accuracy(run.oof, run.accuracies)
    return Source(name, RUN, f"run {run.folder}", run.folder, run.sha256, run.test, accuracy, text, {name: 1.0})


def _from_blend(runs_dir: Path, name: str) -> Source:
    blend = folders.load_blend(runs_dir, name)
    members = {f"{member['run']}": member["weight"] for member in blend.record["members"]}
    origin = f"blend {blend.folder} (of {', '.join(members)})"
    accuracy, text = _accuracy(blend.oof, tuple(blend.record["fold_accuracies"]))
    note, forecast = "", None
    if twins := blend.record.get("twins"):
        note = f"{twins['mode']} twins looked up, {twins['rows_changed']:,} of {twins['rows']:,} rows changed"
        without = twins["without"]["oof_accuracy"]
        text = f"{accuracy:.2%} with the labels of {twins['mode']} twins, {without:.2%} without, out-of-fold"
    if told := blend.record.get("forecast"):
        forecast = float(told["accuracy"])
        text += f"; leaderboard forecast {forecast:.2%}"
    sha256 = {OOF: blend.record["oof_sha256"], TEST: blend.record["test_sha256"]}
    return Source(name, BLENDED, origin, blend.folder, sha256, blend.test, accuracy, text, members, note, forecast)


def _from_folder(path: Path) -> Source:
    if (path / BLEND).is_file() and path.absolute().parent.name == BLENDS:
        return _from_blend(path.absolute().parent.parent, path.absolute().name)
    if path.absolute().name in folders.list_runs(path.absolute().parent):
        return _from_run(path.absolute().parent, path.absolute().name)
    if (path / TEST).is_file():
        return _from_file(path / TEST)
    raise FerKitError(f"{path}: no run, no blend and no {TEST} in it; name a run, a blend or a {TEST}")


def _from_file(path: Path) -> Source:
    """One prediction file; where it lies in a fold folder, a whole one."""
    if path.name == TEST and (path.parent / BLEND).is_file():
        return _from_folder(path.parent)
    marked = (path.parent / RESULT).exists()
    if marked and not folders.is_finished(path.parent):
        raise FerKitError(f"{path}: not the file that {RESULT} beside it was written for; train this fold again")
    test, sha256 = predictions.read(path), {path.name: atomic.sha256_of(path)}
    if test.labels is not None:
        raise FerKitError(f"{path}: has labels, so it predicts train rows; give a {TEST}")
    run, fold = test.meta["run"], test.meta["fold"]
    name = folders.safe_name(run + (f"-fold{fold}" if isinstance(fold, int) else ""), "run")
    accuracy, text = None, f"unknown: no {OOF} beside it"
    if (path.parent / OOF).is_file():
        oof = predictions.read(path.parent / OOF)
        if oof.labels is not None and all(oof.meta[key] == test.meta[key] for key in ("run", "fold", "config_digest")):
            accuracy, text = _accuracy(oof, ())
    kind = FOLD if marked and path.name == TEST else FILE
    return Source(name, kind, f"{path}", path.parent, sha256, test, accuracy, text, {run: 1.0})


def _accuracy(oof: Predictions, folds: tuple[float, ...]) -> tuple[float, str]:
    assert oof.labels is not None
    spread = metrics.spread(folds)
    plus_minus = "" if math.isnan(spread) else f" ± {spread:.2%} over {len(folds)} folds"
    accuracy = metrics.accuracy(oof.logits, oof.labels)
    return accuracy, f"{accuracy:.2%} out-of-fold on {len(oof):,} rows{plus_minus}"
