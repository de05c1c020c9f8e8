"""manifest.json, the description of a kernel's output: the push, the folds, and the archive beside it."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.runs import folders

NAME = "manifest.json"
SCHEMA = 1
_ARCHIVE = re.compile(r"runs-[0-9]{1,6}\.tar")  # each save has a new number, so a manifest names a complete archive
_TEXTS = ("run_id", "bundle_sha256", "commit", "run", "device", "written", "archive", "sha256")
_MOST_CHARACTERS = 200
_FOLDS = ("asked", "finished", "stopped", "failed")
_MORE = "more"  # the key is written only for kernels of several runs


@dataclass(frozen=True)
class RunFolds:
    """The folds of a run, as in `Manifest`."""

    run: str
    asked: tuple[int, ...]
    finished: tuple[int, ...]
    stopped: tuple[int, ...]
    failed: tuple[int, ...]


@dataclass(frozen=True)
class Manifest:
    """The content of manifest.json.

    run_id: id of the push. run: name of the run folder. asked: folds that the kernel had to train. finished, stopped,
    failed: folds that are finished, stopped at the time limit (can be continued) or failed. final: False if the session
    was still training. archive, bytes, sha256: name, size and hash of the archive. more: the further runs.
    """

    run_id: str
    bundle_sha256: str
    commit: str
    run: str
    device: str
    written: str
    final: bool
    asked: tuple[int, ...]
    finished: tuple[int, ...]
    stopped: tuple[int, ...]
    failed: tuple[int, ...]
    archive: str
    bytes: int
    sha256: str
    more: tuple[RunFolds, ...] = ()

    @property
    def runs(self) -> tuple[RunFolds, ...]:
        """The folds of all runs."""
        return (RunFolds(self.run, self.asked, self.finished, self.stopped, self.failed), *self.more)


def of(path: Path, **values: Any) -> Manifest:
    """Make the manifest of the archive at `path`; `values` are the other fields."""
    return Manifest(archive=path.name, bytes=path.stat().st_size, sha256=atomic.sha256_of(path), **values)


def write(folder: Path, manifest: Manifest) -> None:
    """Replace manifest.json in `folder`."""
    record = {"schema": SCHEMA, **dataclasses.asdict(manifest)}
    if not manifest.more:
        del record[_MORE]
    atomic.write_json(folder / NAME, record)


def read(folder: Path) -> Manifest:
    """Read manifest.json in `folder`; types of all values and the name of the archive are checked.

    Raises:
        FerKitError: the file is missing, unreadable, of another version of fer_kit, or not as `write` writes it.
    """
    path = folder / NAME
    record = atomic.read_json(path)
    if not isinstance(record, dict) or record.pop("schema", None) != SCHEMA:
        raise FerKitError(f"{path}: not a manifest of this version; fetch with the version of fer_kit that pushed")
    fields = {field.name for field in dataclasses.fields(Manifest)}
    if record.keys() | {_MORE} != fields:
        wrong = ", ".join(sorted(map(str, (record.keys() | {_MORE}) ^ fields)))
        raise FerKitError(f"{path}: keys are missing or unknown ({wrong}); the file is truncated or was edited")
    for key, value in record.items():
        if not _valid(key, value):
            raise FerKitError(f"{path}: '{key}' is {str(value)[:80]!r}; the file is truncated or was edited")
    values: dict[str, Any] = {key: tuple(value) if key in _FOLDS else value for key, value in record.items()}
    values[_MORE] = tuple(RunFolds(one["run"], *(tuple(one[key]) for key in _FOLDS)) for one in record.get(_MORE, ()))
    return Manifest(**values)


def check_archive(folder: Path, manifest: Manifest) -> Path:
    """Check size and sha256 of the archive beside the manifest; return its path.

    Raises:
        FerKitError: the archive is missing or different.
    """
    path = folder / manifest.archive
    if not path.is_file() or path.is_symlink():
        raise FerKitError(f"{manifest.archive} is missing, but {NAME} names it")
    size = path.stat().st_size
    if size != manifest.bytes:
        raise FerKitError(f"{manifest.archive} has {size:,} bytes, {NAME} says {manifest.bytes:,}")
    if atomic.sha256_of(path) != manifest.sha256:
        raise FerKitError(f"{manifest.archive}: the sha256 is not that in {NAME}")
    return path


def _valid(key: str, value: Any) -> bool:
    if key == _MORE:
        keys = {"run", *_FOLDS}
        return isinstance(value, list) and all(
            isinstance(one, dict) and one.keys() == keys and all(_valid(name, one[name]) for name in keys)
            for one in value
        )
    if key in _FOLDS:
        return isinstance(value, list) and all(type(fold) is int and 0 <= fold < folders.MOST_FOLDS for fold in value)
    if key == "archive":
        return isinstance(value, str) and _ARCHIVE.fullmatch(value) is not None
    if key == "final":
        return type(value) is bool
    if key == "bytes":
        return type(value) is int and value >= 0
    if not (key in _TEXTS and isinstance(value, str) and value.isprintable() and len(value) <= _MOST_CHARACTERS):
        return False  # these texts are printed on terminals and become parts of paths
    return key != "run" or folders.is_safe_name(value)
