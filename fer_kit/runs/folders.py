"""Run folders: their names, which folds are finished, and reading and checking a whole run or blend.

    runs/<run>/fold<k>/{config.json, env.json, metrics.jsonl, log.txt, last.pt, model.safetensors,
                        oof.npz, test.npz, result.json}        foldall has no oof.npz; see `fold_spec`
    runs/blends/<name>/{oof.npz, test.npz, blend.json}

result.json (blend.json) is written last and holds the sha256 of the two prediction files. It marks the folder as
finished.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field as attribute
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_kit import metrics
from fer_kit.errors import FerKitError, did_you_mean
from fer_kit.files import atomic
from fer_kit.folds import fold_spec, table
from fer_kit.runs import blend_record, predictions
from fer_kit.runs.blend_record import BlendRecord
from fer_kit.runs.finished_folder import BLEND, HASHED, OOF, RESULT, TEST, check_accuracy, field, read
from fer_kit.runs.predictions import Predictions
from fer_kit.runs.training_record import ENVIRONMENT

BLENDS, CACHE, SWEEPS = "blends", "cache", "sweeps"  # folders in the folder of runs that are no runs
FOLDS_CSV = "folds.csv"
RESERVED = (BLENDS, CACHE, SWEEPS)
TRIAL = re.compile(r".*-(smoke|trial[0-9]+)")  # names of runs by `train --smoke` and of the trials of a search
MOST_FOLDS = 10_000

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_FOLD_OPTION = r" --fold[= ]\S+"
_FOLD_FOLDER = re.compile(r"fold(0|[1-9][0-9]*)")


@dataclass(frozen=True)
class Status:
    """The progress of a run. count: number of folds, None until a fold has finished. begun: folds with a folder."""

    name: str
    count: int | None
    finished: tuple[int, ...]
    missing: tuple[int, ...]
    begun: tuple[int, ...] = attribute(default=(), compare=False)

    @property
    def complete(self) -> bool:
        """Whether all folds are finished."""
        return self.count is not None and not self.missing

    @property
    def is_one_fold_try(self) -> bool:
        """Whether a single fold of several is finished and no other fold was begun."""
        return len(self.finished) == 1 < (self.count or 0) and self.begun == self.finished


@dataclass(frozen=True, eq=False)
class Run:
    """The predictions of a run: N out-of-fold rows, M test rows.

    folds, count: the finished folds, and the number of all folds. oof: the rows of all finished folds, sorted by id,
    with labels. fold_of_row: fold that held out each row, int64 (N,). accuracies: out-of-fold accuracy of each of
    `folds`. test: mean probabilities over `folds`, as logits. sha256: of each prediction file, by path below `folder`.
    """

    name: str
    folder: Path
    folds: tuple[int, ...]
    count: int
    oof: Predictions
    fold_of_row: NDArray[np.int64]
    accuracies: tuple[float, ...]
    test: Predictions
    sha256: dict[str, str]


@dataclass(frozen=True, eq=False)
class Blend:
    """The predictions of a blend, out of fold and on test rows, and its blend.json."""

    name: str
    folder: Path
    oof: Predictions
    test: Predictions
    record: BlendRecord


def safe_name(name: str, what: str) -> str:
    """`name`, if `is_safe_name`. what: "tag", "blend" and so on, for the error text.

    Raises:
        FerKitError: the name is not allowed.
    """
    if not is_safe_name(name):
        raise FerKitError(
            f"{what} '{name}' cannot name a folder; allowed are letters, digits, '.', '_' and '-', "
            f"a letter or digit first, at most 100, and not '{BLENDS}', '{CACHE}' or '{SWEEPS}'"
        )
    return name


def is_safe_name(name: str) -> bool:
    """Whether `name` can name a folder on every operating system and is not reserved."""
    return bool(_SAFE_NAME.fullmatch(name)) and not name.endswith(".") and name not in RESERVED


def run_name(recipe: str, tag: str | None = None) -> str:
    """The name of a run: 'timm_resnet50-big' for the recipe 'timm/resnet50' and the tag 'big'.

    Raises:
        FerKitError: recipe or tag have characters that are not allowed in folder names.
    """
    name = safe_name(recipe.replace("/", "_"), "recipe")
    return name if tag is None else safe_name(f"{name}-{safe_name(tag, 'tag')}", "run")


def fold_folder(runs_dir: Path | str, run: str, fold: fold_spec.Fold) -> Path:
    """The folder of fold `fold` of `run`."""
    return Path(runs_dir) / run / fold_spec.folder_name(fold)


def list_runs(runs_dir: Path | str) -> list[str]:
    """Names of all runs, finished or not, without blends, in alphabetical order."""
    folder = Path(runs_dir)
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if path.name not in RESERVED and _fold_folders(path))


def list_full_fits(runs_dir: Path | str) -> list[str]:
    """Names of the runs that have no folds but a full fit, in alphabetical order; `list_runs` leaves them out."""
    found = Path(runs_dir).glob(f"*/{fold_spec.folder_name(fold_spec.ALL)}")
    return sorted(path.parent.name for path in found if path.parent.name not in RESERVED and _is_only_fit(path))


def list_blends(runs_dir: Path | str) -> list[str]:
    """Names of all finished blends, in alphabetical order."""
    return sorted(path.parent.name for path in Path(runs_dir).glob(f"{BLENDS}/*/{BLEND}"))


def is_trial(name: str) -> bool:
    """Whether run `name` is a trial, by `train --smoke` or of a search.

    Trials count neither as unfinished nor as default members of a blend.
    """
    return TRIAL.fullmatch(name) is not None


def is_trial_of_search(name: str) -> bool:
    """Whether run `name` is a trial of a search."""
    match = TRIAL.fullmatch(name)
    return match is not None and match[1] != "smoke"


def status(runs_dir: Path | str, name: str) -> Status:
    """The progress of run `name`.

    Raises:
        FerKitError: the run does not exist, a fold is damaged, or the folds have different numbers of folds.
    """
    folder, results = _results(Path(runs_dir), name)
    counts = sorted({field(folder / f"fold{k}" / RESULT, results[k], "folds", int) for k in results})
    if len(counts) > 1:
        raise FerKitError(
            f"{folder}: some folds are of {counts[0]} folds, some of {counts[1]}; keep the folds of one folds.csv"
        )
    if not counts:
        return Status(name, None, (), ())
    if not 1 <= counts[0] <= MOST_FOLDS:
        raise FerKitError(
            f"{folder}: {RESULT} says {counts[0]} folds, allowed are 1 to {MOST_FOLDS:,}; train this run again"
        )
    beyond = [fold for fold in results if fold >= counts[0]]
    if beyond:
        raise FerKitError(
            f"{folder}: fold {beyond[0]} is outside its {counts[0]} folds, 0 to {counts[0] - 1}; remove this fold"
        )
    missing = tuple(fold for fold in range(counts[0]) if fold not in results)
    return Status(name, counts[0], tuple(results), missing, tuple(_fold_folders(folder)))


def load(runs_dir: Path | str, name: str, allow_partial: bool = False) -> Run:
    """Read the folds of run `name`, join them by id and check every stored score.

    allow_partial: read the finished folds even if others are missing.

    Raises:
        FerKitError: the run does not exist; a fold is missing, unfinished or damaged, or differs from the others in
            config, folds or data; a stored accuracy is not that of the rows.
    """
    state = status(runs_dir, name)
    if not state.finished or (state.missing and not allow_partial):
        raise FerKitError(unfinished_message(runs_dir, state))
    folder, results = _results(Path(runs_dir), name)
    oofs = [_read_part(folder / f"fold{fold}", OOF, results[fold], fold) for fold in results]
    tests = [_read_part(folder / f"fold{fold}", TEST, results[fold], fold) for fold in results]
    oof = predictions.join(oofs, f"{folder}", partial=allow_partial or is_trial(name))  # trials predict some rows
    predictions.same_meta([oof, *tests], ("run", "config_digest", "folds_digest", "data_digest"), f"{folder}")
    if oof.labels is None:
        raise FerKitError(f"{folder}: the oof.npz files have no labels; predict these folds again")
    fold_of_row = np.empty(len(oof), dtype=np.int64)  # `join` has checked that every row is in exactly one part
    for fold, part in zip(results, oofs, strict=True):
        fold_of_row[np.searchsorted(oof.ids, part.ids)] = fold
    accuracies = []
    for fold, result in results.items():
        rows = fold_of_row == fold
        accuracies.append(metrics.accuracy(oof.logits[rows], oof.labels[rows]))
        path = folder / f"fold{fold}" / RESULT
        check_accuracy(path, field(path, result, "oof_accuracy", float), accuracies[-1])
    check_rows(runs_dir, oof, f"{folder}", fold_of_row)
    sha256 = {f"fold{fold}/{name}": results[fold][key] for fold in results for name, key in HASHED.items()}
    test = _average(tests, oof.meta, f"{folder}")
    return Run(name, folder, state.finished, state.count or 0, oof, fold_of_row, tuple(accuracies), test, sha256)


def load_blend(runs_dir: Path | str, name: str) -> Blend:
    """Read blend `name` and check its stored score.

    Raises:
        FerKitError: the blend does not exist, or its files are not those that blend.json was written for.
    """
    folder = Path(runs_dir) / BLENDS / name
    value = read(folder, BLEND)
    if value is None:
        raise unknown(f"{folder.parent}", "blend", name, list_blends(runs_dir))
    record = blend_record.from_json(folder / BLEND, value)
    oof, test = predictions.read(folder / OOF), predictions.read(folder / TEST)
    if oof.labels is None:
        raise FerKitError(f"{folder / OOF}: no labels; blend again with --force")
    check_accuracy(folder / BLEND, record.oof_accuracy, metrics.accuracy(oof.logits, oof.labels))
    check_rows(runs_dir, oof, f"{folder}")
    return Blend(name, folder, oof, test, record)


def read_oof(runs_dir: Path | str, folder: Path) -> Predictions:
    """The out-of-fold predictions of one fold folder.

    Raises:
        FerKitError: the file is damaged or has no labels, or its rows or labels are not those of folds.csv.
    """
    oof = predictions.read(folder / OOF)
    if oof.labels is None:
        raise FerKitError(f"{folder / OOF}: no labels; predict this fold again")
    check_rows(runs_dir, oof, f"{folder}")
    return oof


def check_rows(
    runs_dir: Path | str, oof: Predictions, where: str, fold_of_row: NDArray[np.int64] | None = None
) -> None:
    """Check ids, labels and folds of `oof` against folds.csv in `runs_dir`, see `folds.table.check_rows`."""
    if oof.labels is not None:
        meta, path = oof.meta, Path(runs_dir) / FOLDS_CSV
        table.check_rows(path, meta["folds_digest"], meta["fold"], oof.ids, oof.labels, where, fold_of_row)


def unfinished_message(runs_dir: Path | str, state: Status) -> str:
    """A sentence with the missing folds of a run and the command that trains the first of them."""
    folder = Path(runs_dir) / state.name
    folds = state.missing if state.finished else tuple(_fold_folders(folder)) or (0,)
    what = ("fold " if len(folds) == 1 else "folds ") + ", ".join(map(str, folds))
    of = f" of {state.count}" if state.count is not None else ""
    again = ", and so on" if len(folds) > 1 else ""
    return f"{folder}: {what}{of} not finished; finish with: {_train_command(folder, state, folds[0])}{again}"


def _train_command(folder: Path, state: Status, fold: int) -> str:
    """The command that trains `fold`, made from the command in env.json of another fold."""
    resume = " --resume" if (folder / f"fold{fold}").exists() else ""
    for sister in (fold, *state.finished):
        env = folder / f"fold{sister}" / ENVIRONMENT
        record = atomic.read_json(env) if env.is_file() else None
        command = record.get("command") if isinstance(record, dict) else None
        if isinstance(command, str) and re.search(_FOLD_OPTION, command):
            command = re.sub(r" --(resume|restart)\b| --limit-minutes[= ]\S+", "", command)
            return re.sub(_FOLD_OPTION, f" --fold {fold}", command) + resume
    return f"python -m fer_kit.train --fold {fold} (with the options of the other folds){resume}"


def _fold_folders(folder: Path) -> dict[int, Path]:
    """The folder of each fold, by fold number, in order."""
    if not folder.is_dir():
        return {}
    found = ((_FOLD_FOLDER.fullmatch(path.name), path) for path in folder.iterdir() if path.is_dir())
    return dict(sorted((int(match[1]), path) for match, path in found if match))


def _results(runs_dir: Path, name: str) -> tuple[Path, dict[int, dict[str, Any]]]:
    """The folder of a run, and result.json of each finished fold in fold order."""
    folder = runs_dir / name
    if not runs_dir.is_dir():
        raise FerKitError(f"{runs_dir}: no such folder; train a run first, or name the folder of runs with --runs")
    folds = {} if name in RESERVED else _fold_folders(folder)
    if not folds and (error := only_full_fit(folder)) is not None:
        raise error
    if not folds:
        raise unknown(f"{runs_dir}", "run", name, list_runs(runs_dir))
    records = {fold: read(path, RESULT) for fold, path in folds.items()}
    return folder, {fold: record for fold, record in records.items() if record is not None}


def _read_part(folder: Path, file: str, result: dict[str, Any], fold: int) -> Predictions:
    """Read a prediction file of a fold and check that its meta matches the folder and result.json."""
    part = predictions.read(folder / file)
    if part.meta["fold"] != fold:
        raise FerKitError(f"{folder / file}: holds fold {part.meta['fold']}; move this file to the folder of its fold")
    for key in ("config_digest", "folds_digest", "data_digest"):
        if result.get(key) != part.meta[key]:
            raise FerKitError(f"{folder / file}: {key} differs from that in {RESULT}; train this fold again")
    return part


def _average(tests: list[Predictions], meta: dict[str, Any], where: str) -> Predictions:
    """The mean probabilities of the folds of a run on the test rows, as logits (M, 7)."""
    for part in tests:
        if part.labels is not None or not np.array_equal(part.ids, tests[0].ids):
            raise FerKitError(
                f"{where}: {TEST} of fold {part.meta['fold']} has other rows than that of fold "
                f"{tests[0].meta['fold']}; predict this fold again"
            )
    logits = metrics.mean_of_probabilities([part.logits for part in tests])
    return Predictions(tests[0].ids, logits.astype(np.float32), meta)


def only_full_fit(folder: Path) -> FerKitError | None:
    """The error for a run that has no folds but a full fit, and so is no run for blends and scores; else None."""
    full = folder / fold_spec.folder_name(fold_spec.ALL)
    if not _is_only_fit(full):
        return None
    return FerKitError(
        f"{folder} has only a full fit, which holds out no rows and so has no score; name {folder.name}/{full.name} to "
        f"classify with it or to export it, submit it with python -m submissions build {full}, or train the folds of "
        "the run, which a blend can then replace by the full fit (--full-fit instead)"
    )


def _is_only_fit(full: Path) -> bool:
    """Whether `full` is the folder of a full fit without folds beside it."""
    return full.is_dir() and not _fold_folders(full.parent)


def unknown(where: str, what: str, name: str, known: Sequence[str], aliases: Sequence[str] = ()) -> FerKitError:
    """The error that `where` has no `what` called `name`. aliases: further allowed names, not in the printed list."""
    return FerKitError(f"{where}: no {what} '{name}'{did_you_mean(name, [*known, *aliases])}; {list_of(known, what)}")


def list_of(known: Sequence[str], what: str) -> str:
    """`there are: a, b`, or `there are no runs yet`."""
    return f"there are: {', '.join(known)}" if known else f"there are no {what.partition(',')[0].split()[0]}s yet"
