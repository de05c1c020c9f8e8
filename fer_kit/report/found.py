"""Reads the run folder for the report: the runs and blends that compare fairly, and by name whatever does not."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fer_kit.errors import FerKitError
from fer_kit.evaluate.sources import FOLDS, Groups, ScoredSource, load, twin_groups
from fer_kit.folds import table
from fer_kit.runs import finished_folder, folders
from fer_kit.runs.training_record import METRICS, read_epochs, read_object, read_result

FOLD_FOLDER = re.compile(r"fold(all|[0-9]+(\+[0-9]+)?)")


@dataclass(frozen=True, eq=False)
class Fold:
    """One fold folder, finished or not.

    epochs: the records of metrics.jsonl. config, env, result: the JSON files, {} if missing. written: when the last
    epoch was recorded, in seconds since 1970. trouble: what could not be read, or "".
    """

    run: str
    name: str
    folder: Path
    finished: bool
    epochs: list[dict[str, Any]]
    config: dict[str, Any]
    env: dict[str, Any]
    result: dict[str, Any]
    trouble: str = ""
    written: float | None = None

    @property
    def is_held_out(self) -> bool:
        """False for full fits and teachers, which do not leave out exactly one fold."""
        return self.name[4:].isdigit()


@dataclass(frozen=True, eq=False)
class Found:
    """sources: runs and blends with the same folds and data.

    folds: every fold folder of every run, by run. left_out: (name, reason) of all that is not among the sources.
    notes: what holds for all numbers. trials: runs by `train --smoke` that are hidden.
    """

    sources: list[ScoredSource]
    groups: Groups
    folds: dict[str, list[Fold]]
    left_out: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    trials: list[str] = field(default_factory=list)


def find(runs_dir: Path, trials: bool = False) -> Found:
    """Read everything below `runs_dir`; damage is reported in `left_out`, never raised.

    trials: also take the runs by `train --smoke`.

    Raises:
        FerKitError: there is no such folder, or neither a run nor a blend in it.
    """
    if not runs_dir.is_dir():
        raise FerKitError(f"{runs_dir}: no such folder; train a run first, or give the folder of runs with --runs")
    names, blends = folders.list_runs(runs_dir), _blend_folders(runs_dir)
    if not names and not blends:
        raise FerKitError(f"{runs_dir}: no run and no blend yet; train one with python -m fer_kit.train --fold 0")
    hidden = [] if trials else [name for name in names if folders.is_trial(name)]
    names = [name for name in names if name not in hidden]
    loaded, left_out = [], []
    for name in [*names, *blends]:
        try:
            loaded += load(runs_dir, [name])
        except FerKitError as error:
            left_out.append((name, _why(runs_dir, name, str(error))))
    sources, others = _of_one_kind(runs_dir, loaded)
    groups, notes = _groups(runs_dir, sources)
    folds_of = {name: list(_folds(runs_dir, name)) for name in names}
    return Found(sources, groups, folds_of, left_out + others, notes, hidden)


def _blend_folders(runs_dir: Path) -> list[str]:
    """`blends/<name>` of every blend folder, finished or not."""
    return sorted(f"{folders.BLENDS}/{path.name}" for path in (runs_dir / folders.BLENDS).glob("*") if path.is_dir())


def _why(runs_dir: Path, name: str, error: str) -> str:
    if name.startswith(folders.BLENDS) and not (runs_dir / name / finished_folder.BLEND).is_file():
        return f"not finished: {finished_folder.BLEND} is missing; blend it again"
    return error


def _of_one_kind(runs_dir: Path, loaded: list[ScoredSource]) -> tuple[list[ScoredSource], list[tuple[str, str]]]:
    """The sources with the folds of folds.csv (else with the most common ones) and one data set, and the others."""
    if not loaded:
        return [], []
    try:
        own = table.read(runs_dir / FOLDS).digest
    except FerKitError:  # `_groups` reports the error
        own = ""
    counted = Counter(_kind(source) for source in loaded)
    kind = max(counted, key=lambda kind: (kind[0] == own, counted[kind]))
    why = "made with other folds or other data than the rest of this page, so its scores do not compare"
    return (
        [source for source in loaded if _kind(source) == kind],
        [(source.name, why) for source in loaded if _kind(source) != kind],
    )


def _kind(source: ScoredSource) -> tuple[str, str]:
    return source.oof.meta["folds_digest"], source.oof.meta["data_digest"]


def _groups(runs_dir: Path, sources: list[ScoredSource]) -> tuple[Groups, list[str]]:
    """The twin groups, or none and why."""
    nothing, without = Groups(None, None), "the intervals treat twins as independent rows and are a little too narrow"
    if not sources:
        return nothing, []
    try:
        found = twin_groups(runs_dir, sources)
    except FerKitError as error:
        return nothing, [f"{error}. Until then {without}"]
    return found, [] if found.folds else [f"{runs_dir / FOLDS} is not there, so {without}"]


def _folds(runs_dir: Path, run: str) -> Iterator[Fold]:
    """Every fold folder of a run: the folds by number, then full fits and teachers."""
    found = [path for path in (runs_dir / run).iterdir() if path.is_dir() and FOLD_FOLDER.fullmatch(path.name)]
    for folder in sorted(found, key=lambda path: (not path.name[4:].isdigit(), len(path.name), path.name)):
        troubles: list[str] = []
        readers = {"config": read_object, "env": read_object, "result": read_result}
        records = {name: _object(folder / f"{name}.json", read, troubles) for name, read in readers.items()}
        epochs, damage = read_epochs(folder / METRICS)
        written = (folder / METRICS).stat().st_mtime if (folder / METRICS).is_file() else None
        if damage:
            troubles.append(f"{METRICS} is damaged ({damage}); shown as far as it goes")
        elif written is None:
            troubles.append(f"{METRICS} is missing")
        finished = finished_folder.is_finished(folder)
        yield Fold(run, folder.name, folder, finished, epochs, **records, trouble="; ".join(troubles), written=written)


def _object(path: Path, read: Callable[[Path], dict[str, Any]], troubles: list[str]) -> dict[str, Any]:
    """The JSON object in `path`; {} where it is not there, and a word of trouble where it is damaged."""
    if not path.is_file():
        return {}
    try:
        return read(path)
    except FerKitError as error:
        troubles.append(str(error).removeprefix(f"{path.parent}/"))
        return {}
