"""Locks between processes: the second process fails at once with a message, and a killed process holds no lock.

A lock is a small file `.NAME.lock` beside the guarded file or folder, held with flock(2). The system releases it when
the process ends, however it ends, so no lock can be stale. The text in the file names the holder, for messages only.
The holder removes the file on release; a file that a killed process left is reused. Symbolic links are not followed: a
lock file is emptied when it is taken, and a link could lead to any file of the user.

On a file system without flock (some network folders), a file with a heartbeat is the lock, see `exclusive`. With
FER_KIT_LOCKS=files it is the lock everywhere: for shared folders where flock works within one host only.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import itertools
import os
import platform
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from fer_kit.errors import FerKitError
from fer_kit.files import atomic, exclusive
from fer_kit.files.exclusive import ExclusiveFile

_POLL_SECONDS = 0.1
_MOST_CHARACTERS = 200  # read of the holder's description
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW  # NFS locks only files that are open for writing
_TRIES = 10

VARIABLE, FILES = "FER_KIT_LOCKS", "files"

_handles: set[int] = set()


def _close_in_child() -> None:
    """A forked child shares its parent's locks and would keep holding them after the parent was killed."""
    while _handles:
        os.close(_handles.pop())


os.register_at_fork(after_in_child=_close_in_child)


class Lock:
    """A lock that this process holds, or held until its file was deleted."""

    def __init__(self, file: Path, handle: int | ExclusiveFile, made: Sequence[Path] = ()) -> None:
        self._file, self._handle, self._made = file, handle, made

    def still_held(self) -> bool:
        """True if this process still holds the lock.

        If the lock file was deleted, try to take the lock again; False if another process has it.

        Raises:
            FerKitError: the lock file cannot be created again.
        """
        try:
            if isinstance(self._handle, ExclusiveFile):
                return self._handle.still_held()
            if _is_at(self._handle, self._file):
                return True
            handle = _take(self._file)
        except OSError as error:
            raise atomic.unwritable(self._file, error) from error
        if handle is None:
            return False
        self.release()
        self._handle = handle
        return True

    def release(self) -> None:
        """Release the lock and remove its file."""
        if isinstance(self._handle, ExclusiveFile):
            self._handle.release()
        elif self._handle in _handles:  # not in a forked child
            if _is_at(self._handle, self._file):
                with contextlib.suppress(OSError):  # read-only by now; a file without a holder is a free lock
                    self._file.unlink()
            _handles.discard(self._handle)
            os.close(self._handle)
        with contextlib.suppress(OSError):  # folders that were made for the lock and are still empty
            for folder in self._made:
                folder.rmdir()


@contextlib.contextmanager
def held(guarded: Path, refusal: str, patience_seconds: float = 0.0) -> Iterator[Lock]:
    """Hold the lock of the file or folder `guarded`, which need not exist.

    refusal: what the other process does, for the error message ("another process trains this fold").

    Raises:
        FerKitError: another process still holds the lock after `patience_seconds`, or the folder cannot be written.
    """
    end = time.monotonic() + patience_seconds
    while (lock := take(guarded)) is None:
        if time.monotonic() >= end:
            raise FerKitError(f"{guarded}: {refusal}; try again when that process ends{_holder(_file_of(guarded))}")
        time.sleep(_POLL_SECONDS)
    try:
        yield lock
    finally:
        lock.release()


def take(guarded: Path) -> Lock | None:
    """Take the lock of `guarded`, which the caller has to release; None while another process holds it.

    Raises:
        FerKitError: the folder cannot be written.
    """
    file = _file_of(guarded)
    made = [folder for folder in file.parents if not folder.exists()]
    try:
        handle = _take(file)
    except OSError as error:
        raise atomic.unwritable(file, error) from error
    return None if handle is None else Lock(file, handle, made)


def is_held(guarded: Path) -> bool:
    """True while a process holds the lock of `guarded`; nothing stays locked.

    A process that takes the lock at this very moment can find it taken; give `held` some patience.
    """
    if exclusive.is_held(_exclusive(_file_of(guarded))):
        return True
    try:
        handle = os.open(_file_of(guarded), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(handle)
    return False


def _file_of(guarded: Path) -> Path:
    return guarded.with_name(f".{guarded.name}.lock")


def _exclusive(file: Path) -> Path:
    """The file that stands for the lock `file` where there is no flock."""
    return file.with_name(f"{file.name}.held")


def _take(file: Path) -> int | ExclusiveFile | None:
    """The handle of the locked `file`; None while another process holds the lock."""
    if os.environ.get(VARIABLE) == FILES:
        return exclusive.take(_exclusive(file))
    tries = itertools.count()
    while True:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(file, _FLAGS, 0o644)
        except FileNotFoundError:  # the last holder removed the empty folder between the two calls above
            if next(tries) < _TRIES:
                continue
            raise
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        except OSError:  # ENOLCK, ENOTSUP, …
            os.close(handle)
            with contextlib.suppress(OSError):
                file.unlink()
            return exclusive.take(_exclusive(file))
        if _is_at(handle, file):  # else the last holder removed the file between the two calls above
            _handles.add(handle)
            with contextlib.suppress(OSError):  # on a full disk the lock works without a description
                os.ftruncate(handle, 0)
                os.pwrite(handle, _myself().encode(), 0)
            return handle
        os.close(handle)


def _is_at(handle: int, file: Path) -> bool:
    """Whether the path `file` still leads to the file opened as `handle`."""
    try:
        there = os.lstat(file)
    except OSError:
        return False
    return os.path.samestat(os.fstat(handle), there)


def _myself() -> str:
    now = datetime.datetime.now(datetime.UTC)
    return f"process {os.getpid()} on {platform.node()}, since {now:%Y-%m-%d %H:%M:%S} UTC"


def _holder(file: Path) -> str:
    if words := exclusive.holder_in_words(_exclusive(file)):
        return f" ({words})"
    try:
        with file.open("rb") as opened:
            text = opened.read(_MOST_CHARACTERS).decode("utf-8", "replace").strip()
    except OSError:
        text = ""
    return f" ({text})" if text else ""
