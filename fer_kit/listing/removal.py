"""Deletes a run that nothing is made of."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fer_kit import cli
from fer_kit.errors import FerKitError
from fer_kit.files import atomic, lock
from fer_kit.runs import blend_record, folders, lookup


def delete(runs_dir: Path, name: str, yes: bool) -> None:
    """Delete run `name` after asking.

    Raises:
        FerKitError: no such run, a training is at it, or a blend is made of it.
    """
    folder = existing(runs_dir, name)
    with idle(folder):
        if blends := blends_of(runs_dir, name):
            raise FerKitError(
                f"{folder} is part of {', '.join(f'blends/{blend}' for blend in blends)}; delete these first"
            )
        files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock")]
        size = sum(path.stat().st_size for path in files) / 1e6
        folds = ", ".join(sorted(path.name for path in folder.glob("fold*")))
        if not cli.confirmed(f"Delete {folder} with {folds}: {len(files)} files, {size:.1f} MB?", yes):
            print("nothing was deleted")
            return
        with aside(runs_dir) as trash:
            folder.rename(trash / name)
        print(f"deleted {folder}: {len(files)} files, {size:.1f} MB")


def existing(runs_dir: Path, name: str) -> Path:
    """The folder of run `name`.

    Raises:
        FerKitError: no such run.
    """
    return lookup.find_run(runs_dir, name).folder


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
    """A temporary folder in `runs_dir` that no listing takes for a run; removed at the end with what is in it."""
    folder = Path(tempfile.mkdtemp(prefix=".", suffix=atomic.TEMPORARY_SUFFIX, dir=runs_dir))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def blends_of(runs_dir: Path, name: str) -> list[str]:
    """Names of the blends in `runs_dir` that run `name` is a part of, alone or inside another member."""
    return [blend for blend in folders.list_blends(runs_dir) if is_part(runs_dir, name, blend)]


def is_part(runs_dir: Path, name: str, blend: str) -> bool:
    """Whether blend.json names the run as a member or as a source of a member."""
    members = blend_record.read(runs_dir / folders.BLENDS / blend / folders.BLEND).members
    run = (runs_dir / name).resolve()
    places = [(runs_dir / source.path).resolve() for member in members for source in member.sources]
    return any(member.run == name for member in members) or any(run in (at, *at.parents) for at in places)
