"""A lock for file systems without flock(2): a file that one process can create, with its host, pid and a heartbeat.

`.NAME.lock.held` exists while the lock is held. Its holder renews the file's time of change every
`HEARTBEAT_SECONDS`. The lock is taken over when the heartbeat is older than `STALE_SECONDS`, and at once when the
holder was a process of this host that has ended. The file system's clock is compared with itself, never with a host's.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import secrets
import threading
import time
from pathlib import Path

HEARTBEAT_SECONDS, STALE_SECONDS = 5.0, 60.0
MOST_BYTES = 4096

_held: list[ExclusiveFile] = []
_guard = threading.Lock()
_thread: threading.Thread | None = None


class ExclusiveFile:
    """A lock that this process holds."""

    def __init__(self, file: Path, token: str) -> None:
        self.file, self._token = file, token

    def still_held(self) -> bool:
        """True if the file is still this process's own; where it was deleted, try to create it again."""
        found = _read(self.file)
        if found is None:
            return _create(self.file, self._token)
        return found.get("token") == self._token

    def beat(self) -> None:
        """Renew the heartbeat."""
        with contextlib.suppress(OSError):
            os.utime(self.file)

    def release(self) -> None:
        """Delete the file, unless another process has taken the lock over."""
        with _guard:
            if self in _held:  # in a forked child it is not
                _held.remove(self)
                found = _read(self.file)
                if found is not None and found.get("token") == self._token:
                    self.file.unlink(missing_ok=True)


def take(file: Path) -> ExclusiveFile | None:
    """Take the lock `file`; None while another process holds it.

    Raises:
        OSError: the folder cannot be written.
    """
    token = secrets.token_hex(8)
    if not _create(file, token):
        holder = _read(file)
        if holder is not None and not _is_stale(file, holder):
            return None
        if holder is not None and not _set_aside(file, str(holder.get("token"))):
            return None
        if not _create(file, token):
            return None
    mine = ExclusiveFile(file, token)
    with _guard:
        _held.append(mine)
    _start_heartbeat()
    return mine


def holder_in_words(file: Path) -> str:
    """`process 12 on host`; "" where nobody holds the lock."""
    holder = _read(file)
    return f"process {holder.get('pid', '?')} on {holder.get('host', '?')}" if holder is not None else ""


def is_held(file: Path) -> bool:
    """True while a process holds the lock `file`."""
    holder = _read(file)
    return holder is not None and not _is_stale(file, holder)


def _create(file: Path, token: str) -> bool:
    """Create the file with its text in one step: it is written aside and linked, which fails where `file` exists."""
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f"{file.name}.{token}")
    aside.write_text(json.dumps({"host": platform.node(), "place": _place(), "pid": os.getpid(), "token": token}))
    try:
        os.link(aside, file)
    except FileExistsError:
        return False
    except OSError:  # no links on this file system: exclusive creation, the text a moment later
        try:
            with file.open("x") as opened:
                opened.write(aside.read_text())
        except FileExistsError:
            return False
    finally:
        aside.unlink(missing_ok=True)
    return True


def _read(file: Path) -> dict[str, object] | None:
    """What the file says of its holder; {} while it is being written; None where there is none."""
    try:
        with file.open("rb") as opened:
            record = json.loads(opened.read(MOST_BYTES))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _is_stale(file: Path, holder: dict[str, object]) -> bool:
    """Whether the holder has ended without deleting the file."""
    pid = holder.get("pid")
    if holder.get("place") == _place() and isinstance(pid, int) and not _runs(pid):
        return True
    probe = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    try:
        probe.touch()  # its time is "now" by the clock that also wrote the heartbeat
        return probe.stat().st_mtime - file.stat().st_mtime > STALE_SECONDS
    except OSError:  # a folder that cannot be written, or a lock that was let go
        return False
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)


def _set_aside(file: Path, token: str) -> bool:
    """Remove the stale file of `token`; False where another process was faster."""
    aside = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    try:
        file.rename(aside)
    except FileNotFoundError:
        return True
    taken = _read(aside)
    if taken is not None and taken.get("token", "None") != token:  # not the stale one: somebody has just taken over
        with contextlib.suppress(OSError):
            os.link(aside, file)
        aside.unlink(missing_ok=True)
        return False
    aside.unlink(missing_ok=True)
    return True


def _place() -> str:
    """Where process numbers mean the same: this host, and in a container this container."""
    try:
        return f"{platform.node()}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return platform.node()


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:  # a zombie has ended: only its parent has not noticed
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return True


def _start_heartbeat() -> None:
    global _thread
    with _guard:
        if _thread is None or not _thread.is_alive():
            _thread = threading.Thread(target=_beat, name="lock heartbeat", daemon=True)
            _thread.start()


def _beat() -> None:
    while True:
        time.sleep(HEARTBEAT_SECONDS)
        with _guard:
            for one in _held:
                one.beat()


def _forget_in_child() -> None:
    """A forked child holds none of its parent's locks, and has no heartbeat thread."""
    global _thread, _guard
    _guard = threading.Lock()
    _held.clear()
    _thread = None


os.register_at_fork(after_in_child=_forget_in_child)
