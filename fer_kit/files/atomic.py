"""Files and folders that are either complete or absent: written under a temporary name, flushed to disk, renamed."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import math
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from fer_kit.errors import FerKitError

TEMPORARY_SUFFIX = ".part"
MOST_JSON_BYTES, MOST_JSON_DEPTH = 8 << 20, 100

_FULL = "free space or choose another folder, then start the same command again"
_GONE = "a folder was moved or removed while the command ran; put it back, then start the same command again"
_REFUSED = "change the permissions, or choose another folder"
_IN_THE_WAY = "a file has the name of a folder that is needed; move the file away, or choose another folder"
_WAYS_OUT = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: "the file would exceed the limit on file sizes; raise it (ulimit -f), then start again",
    errno.EROFS: _REFUSED,
    errno.EACCES: _REFUSED,
    errno.EPERM: _REFUSED,
    errno.ENOENT: _GONE,
    errno.ESTALE: _GONE,
    errno.ENOTDIR: _IN_THE_WAY,
    errno.EEXIST: _IN_THE_WAY,
    errno.EISDIR: "a folder has the name of the file; move the folder away, or choose another name",
    errno.ELOOP: "a symbolic link has this name and is not followed; remove the link",
    errno.EIO: "the disk is failing; choose another folder, then start the same command again",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n), then start the same command again",
}


@contextlib.contextmanager
def replacing(path: Path | str, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path`; on a clean exit it is flushed to disk and becomes `path`.

    After an exception, and after a kill at any moment, `path` holds what it held before. A kill can
    leave `.<name>.<random>.part` behind, which no reader of this package opens; see `sweep`.

    Raises:
        FerKitError: the folder cannot be written (permissions, full disk).
    """
    path = Path(path)
    encoding, newline = (None, None) if "b" in mode else ("utf-8", "")
    temporary = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)  # the umask applies
        with os.fdopen(handle, mode, encoding=encoding, newline=newline) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


@contextlib.contextmanager
def replacing_folder(path: Path | str) -> Iterator[Path]:
    """A new folder beside `path`; on a clean exit it becomes `path`, replacing a folder of that name as a whole.

    After an exception `path` is as it was, and the new folder is gone. A kill can leave the new folder behind under a
    temporary name; see `sweep`.

    Raises:
        FerKitError: the folder cannot be written (permissions, full disk).
    """
    path = Path(path)
    temporary = _temporary(path)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        move_folder(temporary, path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def move_folder(source: Path, target: Path) -> None:
    """Rename the folder `source` to `target`, on the same file system; an older `target` is removed afterwards.

    A kill between the two renames leaves `target` absent and its old content under a temporary name, never a mixture.

    Raises:
        OSError: a rename failed; `target` is as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        os.replace(source, target)
        return
    old = _temporary(target)
    os.replace(target, old)
    try:
        os.replace(source, target)
    except OSError:
        os.replace(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _temporary(path: Path) -> Path:
    """A name beside `path` that no other process uses, and that `sweep` finds."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")


@contextlib.contextmanager
def together(folder: Path | str, mark: str) -> Iterator[Path]:
    """A temporary folder inside `folder`; on a clean exit its files take the places of those in `folder`.

    All files are on disk before the first is replaced, so a full disk loses nothing. The file `mark` exists only while
    the others belong together: the old `mark` is removed first, the new one is put in place last.

    Raises:
        FerKitError: the folder cannot be written; its old files are still there.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(TEMPORARY_SUFFIX, f".{mark}.", folder) as aside:
            yield Path(aside)
            (folder / mark).unlink(missing_ok=True)
            for name in sorted(os.listdir(aside), key=lambda name: name == mark):
                os.replace(os.path.join(aside, name), folder / name)
    except OSError as error:
        raise unwritable(folder, error) from error


def sweep(folder: Path | str, name: str | None = None) -> None:
    """Remove the temporary files that killed processes left in `folder`: those of the file `name`, or all (None).

    Only for a caller that holds the lock of what is written there: no other process may be writing it.
    """
    begin = "" if name is None else f"{glob.escape(name)}."
    for path in Path(folder).glob(f".{begin}*{TEMPORARY_SUFFIX}"):
        with contextlib.suppress(OSError):  # left-over files cost only disk space
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def unwritable(path: Path | str, error: OSError) -> FerKitError:
    """The error to raise when writing `path` failed with `error`."""
    return FerKitError(f"{path}: cannot be written ({reason_of(error)}); {way_out(error)}")


def reason_of(error: OSError) -> str:
    """The operating system's description of `error`."""
    return error.strerror or str(error) or type(error).__name__


def way_out(error: OSError) -> str:
    """What the user can do about a fault of the disk or of a folder."""
    return _WAYS_OUT.get(error.errno or 0, "free space or choose another folder")


def write_text(path: Path | str, text: str) -> None:
    """Replace `path` by `text` (UTF-8, newlines unchanged)."""
    with replacing(path, "w") as file:
        file.write(text)


def write_json(path: Path | str, value: Any) -> None:
    """Replace `path` by `value` as indented JSON; NaN and infinities are refused with ValueError."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def append_line(path: Path | str, line: str) -> None:
    """Append `line` to `path`; a symbolic link is not followed, since it could lead to any file of the user.

    Raises:
        FerKitError: the file cannot be written, or is a symbolic link.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        with os.fdopen(handle, "a", encoding="utf-8") as file:
            file.write(f"{line}\n")
    except OSError as error:
        raise unwritable(path, error) from error


def expanded(path: Path | str) -> Path:
    """`path` with ~ replaced by the home folder; unchanged if there is no such user, so that it counts as missing."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def read_bytes(path: Path | str, most: int) -> bytes:
    """The content of `path`, at most `most` bytes.

    Raises:
        OSError: the file cannot be read.
        FerKitError: the file is larger.
    """
    with open(path, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise FerKitError(f"{path}: larger than {most:,} bytes, the most that such a file may have")
    return content


def read_json(path: Path | str) -> Any:
    """The JSON value in `path`, parsed by `parse_json`; a byte order mark, as some editors write, is ignored.

    Raises:
        FerKitError: the file is missing, larger than 8 MiB, not UTF-8 or not JSON.
    """
    try:
        return parse_json(read_bytes(path, MOST_JSON_BYTES).decode("utf-8-sig"))
    except FileNotFoundError:
        raise FerKitError(f"{path}: no such file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise FerKitError(f"{path}: not a readable JSON file ({error})") from None


def parse_json(text: str) -> Any:
    """The value of JSON text from an untrusted source; what the JSON standard leaves open is refused.

    Raises:
        ValueError, RecursionError: not JSON, a number that is not finite, a duplicate key in an object, a lone
            surrogate, or nesting deeper than 100.
    """
    value = json.loads(text, object_pairs_hook=_object, parse_float=_finite, parse_constant=_finite)
    level = [value]
    for _ in range(MOST_JSON_DEPTH):
        containers = [one for one in level if isinstance(one, dict | list)]
        if not containers:
            break
        level = [child for one in containers for child in (one.values() if isinstance(one, dict) else one)]
    else:
        raise ValueError(f"nested deeper than {MOST_JSON_DEPTH}")
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()  # UnicodeEncodeError, a ValueError, for a lone surrogate
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"duplicate key {twice!r} in one object")
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a finite number")
    return value


def sha256_of(path: Path | str) -> str:
    """sha256 of a file's bytes, as 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(value: Any) -> str:
    """sha256 of a JSON value in canonical form (sorted keys, no spaces), as 64 hex digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
