"""Locks between processes: the second process fails at once with a message, and a killed process holds no lock.

A lock is a small file `.NAME.lock` beside the guarded file or folder, held with flock(2). The system releases it when
the process ends, however it ends, so no lock can be stale. The text in the file names the holder, for messages only.
The holder removes the file on release; a file that a killed process left is reused. Symbolic links are not followed: a
lock file is emptied when it is taken, and a link could lead to any file of the user.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import itertools
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from fer_kit.errors import FerKitError
from fer_kit.files import atomic

_POLL_SECONDS = 0.1
_MOST_CHARACTERS = 200  # read of the holder's description
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW  # NFS locks only files that are open for writing
_TRIES = 10
_NO_LOCKS = -1  # in place of a handle on a file system without locks

_handles: set[int] = set()


def _close_in_child() -> None:
    """A forked child shares its parent's locks and would keep holding them after the parent was killed."""
    while _handles:
        os.close(_handles.pop())


os.register_at_fork(after_in_child=_close_in_child)


class Lock:
    """A lock that this process holds, or held until its file was deleted."""

    def __init__(self, file: Path, handle: int, made: Sequence[Path] = ()) -> None:
        self._file, self._handle, self._made = file, handle, made

    def still_held(self) -> bool:
        """True if this process still holds the lock.

        If the lock file was deleted, try to take the lock again; False if another process has it.

        Raises:
            FerKitError: the lock file cannot be created again.
        """
        if self._handle == _NO_LOCKS or _is_at(self._handle, self._file):
            return True
        try:
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
        if self._handle in _handles:  # not in a forked child
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
    """True while a process holds the lock of `guarded`. Nothing is created, and nothing stays locked.

    A process that takes the lock at this very moment can find it taken; give `held` some patience.
    """
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


def _take(file: Path) -> int | None:
    """The handle of the locked `file`; None while another process holds the lock."""
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
        except OSError as error:  # ENOLCK, ENOTSUP, …
            os.close(handle)
            print(
                f"warning: {file}: this file system has no locks ({error.strerror}); never run a command twice at once",
                file=sys.stderr,
            )
            return _NO_LOCKS
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
    try:
        with file.open("rb") as opened:
            text = opened.read(_MOST_CHARACTERS).decode("utf-8", "replace").strip()
    except OSError:
        text = ""
    return f" ({text})" if text else ""
