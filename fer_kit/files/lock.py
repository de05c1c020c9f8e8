"""Locks between processes: whoever comes second is told so at once, and a killed process holds nothing.

A lock is a small file beside what it guards, `.NAME.lock`, held by flock(2): the system lets go when the process
ends, however it ends, so no lock can be stale. Its text says who holds it, for messages alone. Whoever lets go removes
the file; a file left by a kill is taken over by the next.
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
_MOST_CHARACTERS = 200  # of who holds it
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC  # NFS locks only what is open for writing
_TRIES = 10
_NO_LOCKS = -1  # in place of a handle where the file system has none

_handles: set[int] = set()


def _let_go_in_child() -> None:
    """A forked child shares its parent's locks and would hold them on after the parent was killed."""
    while _handles:
        os.close(_handles.pop())


os.register_at_fork(after_in_child=_let_go_in_child)


class Lock:
    """A lock that this process holds, or held until somebody removed its file."""

    def __init__(self, file: Path, handle: int, made: Sequence[Path] = ()) -> None:
        self._file, self._handle, self._made = file, handle, made

    def ours(self) -> bool:
        """Whether this process holds it; where somebody removed the file, it is taken again if nobody else took it.

        Raises:
            FerKitError: the file cannot be made again.
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
        """Let go, and remove the file."""
        if self._handle in _handles:  # in a forked child it is not
            if _is_at(self._handle, self._file):
                with contextlib.suppress(OSError):  # in a folder that went read-only: a file without a holder is free
                    self._file.unlink()
            _handles.discard(self._handle)
            os.close(self._handle)
        with contextlib.suppress(OSError):  # folders that were made for the lock and are still empty
            for folder in self._made:
                folder.rmdir()


@contextlib.contextmanager
def held(guarded: Path, refusal: str, patience_seconds: float = 0.0) -> Iterator[Lock]:
    """Hold the lock of the file or folder `guarded`, which need not exist.

    refusal: what another process does that holds it ("another process trains this fold").

    Raises:
        FerKitError: another process holds it longer than `patience_seconds`, or the folder cannot be written.
    """
    end = time.monotonic() + patience_seconds
    while (mine := take(guarded)) is None:
        if time.monotonic() >= end:
            raise FerKitError(f"{guarded}: {refusal}; try again when it has ended{_holder(_file_of(guarded))}")
        time.sleep(_POLL_SECONDS)
    try:
        yield mine
    finally:
        mine.release()


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
        handle = os.open(_file_of(guarded), os.O_RDWR | os.O_CLOEXEC)
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
    """The handle of `file`, locked; None while another process holds it."""
    tries = itertools.count()
    while True:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(file, _FLAGS, 0o644)
        except FileNotFoundError:  # whoever let go removed the empty folder between the two calls above
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
            print(f"warning: {file}: no locks here ({error.strerror}); start nothing twice", file=sys.stderr)
            return _NO_LOCKS
        if _is_at(handle, file):  # else its holder removed it between the two calls above
            _handles.add(handle)
            with contextlib.suppress(OSError):  # on a full disk: the lock holds without words
                os.ftruncate(handle, 0)
                os.pwrite(handle, _myself().encode(), 0)
            return handle
        os.close(handle)


def _is_at(handle: int, file: Path) -> bool:
    """Whether `file` is still the one that was opened as `handle`."""
    try:
        there = os.stat(file)
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
