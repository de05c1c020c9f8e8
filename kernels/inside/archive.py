"""The archive of run folders: packed in the kernel, unpacked locally and in a kernel that continues the run."""

from __future__ import annotations

import errno
import re
import struct
import tarfile
from pathlib import Path, PurePosixPath

from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.runs import folders

FOLDS = ("folds-test.csv", "folds.json", "folds.csv")  # folds.csv last: if it exists, the others belong to it
# Errors of tarfile for damaged bytes; RecursionError comes from chains of extended headers.
_FAULTS = (tarfile.TarError, EOFError, ValueError, KeyError, IndexError, OverflowError, RecursionError, struct.error)
_FOLD = re.compile(r"fold(0|[1-9][0-9]{0,2})")


def pack(runs_dir: Path, run: str, path: Path) -> None:
    """Write an uncompressed tar (weights hardly compress) of the folds files and of all folds of `run` to `path`."""
    found = [runs_dir / name for name in FOLDS] + sorted((runs_dir / run).glob("fold*/*"))
    with atomic.replacing(path) as file, tarfile.open(fileobj=file, mode="w") as archive:
        for source in found:
            if source.is_file() and not source.name.endswith(atomic.TEMPORARY_SUFFIX):
                add(archive, source, f"{source.relative_to(runs_dir).as_posix()}")


def add(archive: tarfile.TarFile, source: Path, name: str) -> None:
    """Add one file. The file is opened first, so that a training that replaces the file does not change the content."""
    with source.open("rb") as file:
        info = archive.gettarinfo(arcname=name, fileobj=file)
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        info.mode = 0o644
        archive.addfile(info, file)


def unpack(path: Path, folder: Path, run: str) -> None:
    """Unpack an archive of `pack` into `folder`; all names are checked before files are written.

    Raises:
        FerKitError: the file is not a tar, or has a member that `pack` does not write: a path that leaves the folder, a
            link, a device, a run other than `run`, or a name that occurs twice.
        OSError: `folder` cannot be written.
    """
    try:
        with tarfile.open(path, mode="r:", tarinfo=_Member) as archive:
            members = archive.getmembers()
            _check(members, path, run)
            archive.extractall(folder, members, filter="data")
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


def _check(members: list[tarfile.TarInfo], path: Path, run: str) -> None:
    folders.safe_name(run, "run")
    where, seen = path.name, set[str]()
    if sum(member.size for member in members) > path.stat().st_size:
        raise FerKitError(f"{where}: declares more bytes than the file has; it was not made by fer_kit")
    for member in members:
        if not member.isfile() or member.issparse():
            raise FerKitError(
                f"{where}: holds {member.name!r}, which is not a regular file; it was not made by fer_kit"
            )
        if member.name in seen or not _allowed(member.name, run):
            raise FerKitError(
                f"{where}: holds {member.name!r}, which is not a file of a run; it was not made by fer_kit"
            )
        seen.add(member.name)


def _allowed(name: str, run: str) -> bool:
    if name in FOLDS:
        return True
    parts = PurePosixPath(name).parts
    if len(parts) != 3 or "/".join(parts) != name or parts[0] != run or not _FOLD.fullmatch(parts[1]):
        return False
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", parts[2]) is not None
