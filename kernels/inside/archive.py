"""The archive of run folders: packed in the kernel, unpacked locally and in a kernel that continues the run."""

from __future__ import annotations

import errno
import re
import struct
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.runs import folders
from fer_kit.runs.finished_folder import WEIGHTS
from fer_kit.runs.training_record import LAST
from fer_kit.track import follow

# What is left out of an archive that the disk has no room for, in this order: predictions come first, then weights.
SMALLER = ((), (LAST,), (LAST, WEIGHTS))
FOLDS = ("folds-test.csv", "folds.json", "folds.csv")  # folds.csv last: if it exists, the others belong to it
# Errors of tarfile for damaged bytes; RecursionError comes from chains of extended headers.
_FAULTS = (tarfile.TarError, EOFError, ValueError, KeyError, IndexError, OverflowError, RecursionError, struct.error)
MOST_PARTS = 9  # of the path of a file of W&B, run/fold/wandb/run/files/media/images/kind/name
_FOLD = re.compile(r"fold(0|[1-9][0-9]{0,2})")


def pack(runs_dir: Path, run: str, path: Path, more: Sequence[str] = (), without: Sequence[str] = ()) -> None:
    """Write an uncompressed tar (weights hardly compress) of the folds files and of all folds of some runs to `path`.

    The files of W&B below each fold belong to it; those that W&B links or that have other names are left out.

    without: names of files to leave out.
    """
    found = [runs_dir / name for name in FOLDS]
    for name in (run, *more):
        found += sorted((runs_dir / name).glob("fold*/*"))
        wandb = (path for path in sorted((runs_dir / name).glob(f"fold*/{follow.PLACE}/**/*")) if not path.is_symlink())
        found += [path for path in wandb if _allowed(path.relative_to(runs_dir).as_posix(), (name,))]
    with atomic.replacing(path) as file, tarfile.open(fileobj=file, mode="w") as archive:
        for source in found:
            if source.is_file() and not source.name.endswith(atomic.TEMPORARY_SUFFIX) and source.name not in without:
                add(archive, source, f"{source.relative_to(runs_dir).as_posix()}")


def add(archive: tarfile.TarFile, source: Path, name: str) -> None:
    """Add one file. The file is opened first, so that a training that replaces the file does not change the content."""
    with source.open("rb") as file:
        info = archive.gettarinfo(arcname=name, fileobj=file)
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        info.mode = 0o644
        archive.addfile(info, file)


def unpack(path: Path, folder: Path, run: str, more: Sequence[str] = ()) -> None:
    """Unpack an archive of `pack` into `folder`; all names are checked before files are written.

    Raises:
        FerKitError: the file is not a tar, or has a member that `pack` does not write: a path that leaves the folder, a
            link, a device, a run other than `run` and `more`, or a name that occurs twice.
        OSError: `folder` cannot be written.
    """
    try:
        with tarfile.open(path, mode="r:", tarinfo=_Member) as archive:
            members = archive.getmembers()
            _check(members, path, (run, *more))
            # Python before 3.11.4 has no filters; `_check` has refused what the filter refuses.
            archive.extraction_filter = getattr(tarfile, "data_filter", None)
            archive.extractall(folder, members)
    except _FAULTS as error:
        raise FerKitError(f"{path.name}: not an archive that can be unpacked ({error})") from None
    except OSError as error:
        if error.errno in (None, errno.EINVAL):  # a truncated file, or an offset outside of the file
            raise FerKitError(f"{path.name}: not an archive that can be unpacked ({error})") from None
        raise  # a fault of the disk, not of the archive


class _Member(tarfile.TarInfo):
    """A member that refuses a negative size, with which Python's tarfile would read forever."""

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self._size

    @size.setter
    def size(self, value: int) -> None:
        if value < 0:
            raise tarfile.ReadError(f"a member has {value} bytes")
        self._size = value


def _check(members: list[tarfile.TarInfo], path: Path, runs: Sequence[str]) -> None:
    for run in runs:
        folders.safe_name(run, "run")
    where, seen = path.name, set[str]()
    if sum(member.size for member in members) > path.stat().st_size:
        raise FerKitError(f"{where}: declares more bytes than the file has; it was not made by fer_kit")
    for member in members:
        if not member.isfile() or member.issparse():
            raise FerKitError(
                f"{where}: holds {member.name!r}, which is not a regular file; it was not made by fer_kit"
            )
        if member.name in seen or not _allowed(member.name, runs):
            raise FerKitError(
                f"{where}: holds {member.name!r}, which is not a file of a run; it was not made by fer_kit"
            )
        seen.add(member.name)


def _allowed(name: str, runs: Sequence[str]) -> bool:
    if name in FOLDS:
        return True
    parts = PurePosixPath(name).parts
    if len(parts) < 3 or "/".join(parts) != name or parts[0] not in runs or not _FOLD.fullmatch(parts[1]):
        return False
    if len(parts) > 3 and (parts[2] != follow.PLACE or len(parts) > MOST_PARTS):
        return False
    return all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", part) for part in parts[2:])
