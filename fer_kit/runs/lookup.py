"""Find runs, blends and folds by name.

| name | found |
| --- | --- |
| `attention` | the run; a blend of that name only if no run has it |
| `blends/first`, `first` | the blend |
| `attention/fold0`, `attention/foldall` | one fold of a run |
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from fer_kit.errors import FerKitError
from fer_kit.folds import fold_spec
from fer_kit.folds.fold_spec import Fold
from fer_kit.runs import finished_folder, folders
from fer_kit.runs.folders import BLENDS, Blend, Run, Status


@dataclass(frozen=True)
class FoldFolder:
    """A fold of a run. fold: its number, () for the full fit, or the held-out folds of a teacher (nested targets)."""

    run: RunFolder
    fold: Fold

    @property
    def name(self) -> str:
        """`attention/fold0`."""
        return f"{self.run.name}/{self.folder.name}"

    @property
    def folder(self) -> Path:
        """Its folder."""
        return folders.fold_folder(self.run.runs_dir, self.run.name, self.fold)

    @property
    def finished(self) -> bool:
        """Whether result.json exists, with the prediction files that it was written for."""
        return finished_folder.is_finished(self.folder)


@dataclass(frozen=True)
class RunFolder:
    """A run, finished or not."""

    runs_dir: Path
    name: str

    @property
    def folder(self) -> Path:
        """Its folder."""
        return self.runs_dir / self.name

    def load(self, allow_partial: bool = False) -> Run:
        """Read and check the predictions of the folds, see `folders.load`."""
        return folders.load(self.runs_dir, self.name, allow_partial)

    def status(self) -> Status:
        """Which of its folds are finished, see `folders.status`."""
        return folders.status(self.runs_dir, self.name)

    def folds(self) -> list[FoldFolder]:
        """All fold folders: folds by number, then those with several held-out folds, then the full fit."""
        found = [FoldFolder(self, fold) for path in self.folder.glob("fold*") if (fold := _fold(path.name)) is not None]
        return sorted(found, key=lambda one: (isinstance(one.fold, tuple), one.fold == fold_spec.ALL, one.fold))


@dataclass(frozen=True)
class BlendFolder:
    """A finished blend; `name` without `blends/`."""

    runs_dir: Path
    name: str

    @property
    def folder(self) -> Path:
        """Its folder."""
        return self.runs_dir / BLENDS / self.name

    def load(self) -> Blend:
        """Read and check its predictions and blend.json, see `folders.load_blend`."""
        return folders.load_blend(self.runs_dir, self.name)


def known(runs_dir: Path) -> list[str]:
    """All names in `runs_dir`: runs, then blends as `blends/NAME`."""
    return [*folders.list_runs(runs_dir), *(f"{BLENDS}/{name}" for name in folders.list_blends(runs_dir))]


def look(runs_dir: Path, name: str) -> RunFolder | BlendFolder | FoldFolder | None:
    """The run, blend or fold called `name`; None if there is none."""
    there = known(runs_dir)
    blend = name.removeprefix(f"{BLENDS}/")
    if name in there and name != f"{BLENDS}/{blend}":
        return RunFolder(runs_dir, name)
    if f"{BLENDS}/{blend}" in there:
        return BlendFolder(runs_dir, blend)
    run, _, folder = name.partition("/")
    fold = _fold(folder)
    if fold is not None and folders.is_safe_name(run) and (runs_dir / run / folder).is_dir():
        return FoldFolder(RunFolder(runs_dir, run), fold)
    return None


def find(runs_dir: Path, name: str, option: str | None = None) -> RunFolder | BlendFolder | FoldFolder:
    """The run, blend or fold called `name`. option: the command line option of the name, for the error text.

    Raises:
        FerKitError: no run, blend or fold has this name.
    """
    found = look(runs_dir, name)
    if found is None:
        raise unknown(runs_dir, name, "run or blend", option)
    return found


def find_whole(runs_dir: Path, name: str, option: str | None = None) -> RunFolder | BlendFolder:
    """The run or blend called `name`.

    Raises:
        FerKitError: no run or blend has this name, or `name` is a fold.
    """
    found = find(runs_dir, name, option)
    if isinstance(found, FoldFolder):
        raise FerKitError(f"{option or runs_dir}: '{name}' is one fold; name the whole run, {found.run.name}")
    return found


def find_run(runs_dir: Path, name: str) -> RunFolder:
    """The run called `name`, for commands that need networks.

    Raises:
        FerKitError: no run has this name, or `name` is a blend or a fold.
    """
    found = look(runs_dir, name)
    if isinstance(found, RunFolder):
        return found
    if isinstance(found, FoldFolder):
        number = found.folder.name.removeprefix("fold")
        raise FerKitError(f"{runs_dir}: '{name}' is one fold; name the run, {found.run.name}, and add --fold {number}")
    if isinstance(found, BlendFolder):
        there = folders.list_of(folders.list_runs(runs_dir), "run")
        raise FerKitError(f"{runs_dir}: '{name}' is a blend and has no network of its own; name a run; {there}")
    raise folders.only_full_fit(runs_dir / name) or folders.unknown(
        f"{runs_dir}", "run", name, folders.list_runs(runs_dir)
    )


def unknown(runs_dir: Path, name: str, what: str, option: str | None = None) -> FerKitError:
    """The error for an unknown `name`, with a suggestion and a list of all names. what: such as "run or blend"."""
    if (error := folders.only_full_fit(runs_dir / name)) is not None:
        return error
    where = f"{runs_dir}" if option is None else f"{option}: {runs_dir}"
    there = known(runs_dir)
    head, slash, rest = name.partition("/")
    if slash and head in there:
        folds = [one.folder.name for one in RunFolder(runs_dir, head).folds()]
        return folders.unknown(f"{where}/{head}", "fold", rest, folds)
    return folders.unknown(where, what, name, there, folders.list_blends(runs_dir))


def _fold(folder: str) -> Fold | None:
    """The fold of a folder name such as `fold0`, `foldall` or `fold0+1`; None for other names."""
    try:
        fold = fold_spec.parse(folder.removeprefix("fold"))
    except argparse.ArgumentTypeError:
        return None
    return fold if fold_spec.folder_name(fold) == folder else None
