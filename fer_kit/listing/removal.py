"""Deletes a run or a blend that nothing is made of."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fer_kit import cli
from fer_kit.errors import FerKitError
from fer_kit.files import atomic, lock
from fer_kit.runs import blend_record, finished_folder, folders, lookup

LEFT_BY_KILLS = "runs"  # name of the temporary folders in the folder of runs, see `aside`


def delete(runs_dir: Path, name: str, yes: bool) -> bool:
    """Delete the run or blend `name` after asking; False if the user said no.

    Raises:
        FerKitError: no such run or blend, another process works on it, or a blend is made of it.
    """
    found = _full_fit(runs_dir, name) or lookup.find_whole(runs_dir, name)
    folder, blend = found.folder, isinstance(found, lookup.BlendFolder)
    with lock.held(folder, "another process makes this blend") if blend else idle(folder):
        if blends := blends_of(runs_dir, f"{folders.BLENDS}/{found.name}" if blend else found.name):
            raise FerKitError(
                f"{folder} is part of {', '.join(f'blends/{blend}' for blend in blends)}; delete these first"
            )
        files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock")]
        size = sum(path.stat().st_size for path in files) / 1e6
        folds = ", ".join(sorted(path.name for path in folder.glob("fold*")))
        what = "" if blend else f" with {folds}"
        if not cli.confirmed(f"Delete {folder}{what}: {len(files)} files, {size:.1f} MB?", yes):
            print("nothing was deleted")
            return False
        with aside(runs_dir) as trash:
            folder.rename(trash / folder.name)
        print(f"deleted {folder}: {len(files)} files, {size:.1f} MB")
        return True


def existing(runs_dir: Path, name: str) -> Path:
    """The folder of run `name`.

    Raises:
        FerKitError: no such run.
    """
    return (_full_fit(runs_dir, name) or lookup.find_run(runs_dir, name)).folder


def _full_fit(runs_dir: Path, name: str) -> lookup.RunFolder | None:
    """The run `name` if it has only a full fit, which `lookup` refuses because it has no score."""
    return lookup.RunFolder(runs_dir, name) if name in folders.list_full_fits(runs_dir) else None


@contextlib.contextmanager
def idle(folder: Path) -> Iterator[None]:
    """Hold the locks of all folds of a run.

    Raises:
        FerKitError: another process trains or predicts one of them.
    """
    locked = {path.name.removeprefix(".").removesuffix(".lock") for path in folder.glob(".fold*.lock")}
    names = sorted({path.name for path in folder.glob("fold*")} | locked)
    with contextlib.ExitStack() as locks:
        for name in names:
            locks.enter_context(lock.held(folder / name, "another process trains or predicts this fold"))
        yield


@contextlib.contextmanager
def aside(runs_dir: Path) -> Iterator[Path]:
    """A temporary folder in `runs_dir` that no listing takes for a run; removed at the end with what is in it.

    The next call removes what a killed one left.
    """
    with lock.held(runs_dir / LEFT_BY_KILLS, "another process deletes or renames a run"):
        atomic.sweep(runs_dir, LEFT_BY_KILLS)
        folder = Path(tempfile.mkdtemp(prefix=f".{LEFT_BY_KILLS}.", suffix=atomic.TEMPORARY_SUFFIX, dir=runs_dir))
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


def left_over(runs_dir: Path) -> list[Path]:
    """Folders that a killed deletion or renaming left in `runs_dir`."""
    return sorted(runs_dir.glob(f".{LEFT_BY_KILLS}.*{atomic.TEMPORARY_SUFFIX}"))


def blends_of(runs_dir: Path, name: str) -> list[str]:
    """Names of the blends in `runs_dir` that the run `name` or blend `blends/NAME` is a part of."""
    return [blend for blend in folders.list_blends(runs_dir) if is_part(runs_dir, name, blend)]


def is_part(runs_dir: Path, name: str, blend: str) -> bool:
    """Whether blend.json names the run or blend as a member or as a source of a member."""
    members = blend_record.read(runs_dir / folders.BLENDS / blend / finished_folder.BLEND).members
    run = (runs_dir / name).resolve()
    places = [(runs_dir / source.path).resolve() for member in members for source in member.sources]
    return any(member.run == name for member in members) or any(run in (at, *at.parents) for at in places)
