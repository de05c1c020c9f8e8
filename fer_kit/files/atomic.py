"""Files that are either whole or absent: write aside, flush to disk, replace."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from fer_kit.errors import FerKitError

TEMPORARY_SUFFIX = ".part"
MOST_JSON_BYTES, MOST_JSON_DEPTH = 8 << 20, 100

_FULL = "free space or choose another folder, then start the same command again"
_GONE = "a folder was moved or removed meanwhile; put it back, then start the same command again"
_REFUSED = "get the right to write there, or choose another folder"
_IN_THE_WAY = "a file lies where a folder has to be; move it away, or choose another folder"
_WAYS_OUT = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: "the file would be larger than is allowed here (see ulimit -f); raise that, then start again",
    errno.EROFS: _REFUSED,
    errno.EACCES: _REFUSED,
    errno.EPERM: _REFUSED,
    errno.ENOENT: _GONE,
    errno.ESTALE: _GONE,
    errno.ENOTDIR: _IN_THE_WAY,
    errno.EEXIST: _IN_THE_WAY,
    errno.EISDIR: "a folder lies where the file has to be; move it away, or choose another name",
    errno.EIO: "the disk is failing; choose another folder, then start the same command again",
    errno.EMFILE: "too many files are open; raise ulimit -n, then start the same command again",
}


@contextlib.contextmanager
def replacing(path: Path | str, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path`; on a clean exit it is flushed to disk and becomes `path`.

    After an exception, and after a kill at any moment, `path` holds what it held before. A kill can
    leave `.<name>.<random>.part` behind, which no reader of this package looks at; see `sweep`.

    Raises:
        FerKitError: the folder cannot be written (missing rights, full disk).
    """
    path = Path(path)
    encoding, newline = (None, None) if "b" in mode else ("utf-8", "")
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(TEMPORARY_SUFFIX, f".{path.name}.", path.parent)
        os.fchmod(handle, 0o644)
        with os.fdopen(handle, mode, encoding=encoding, newline=newline) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


@contextlib.contextmanager
def together(folder: Path | str, mark: str) -> Iterator[Path]:
    """A temporary folder inside `folder`; on a clean exit its files take the places of those in `folder`.

    All of them are on the disk before the first is replaced, so that a full disk loses nothing. `mark` is the file that
    says that the others fit each other: the old one is removed first, the new one comes last.

    Raises:
        FerKitError: the folder cannot be written; what it held is still there.
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
    """Remove what killed processes left in `folder`: temporary files of the file `name`, of all files where None.

    For those who hold the lock of what is written there: nobody else may be writing it.
    """
    begin = "" if name is None else f"{glob.escape(name)}."
    for path in Path(folder).glob(f".{begin}*{TEMPORARY_SUFFIX}"):
        with contextlib.suppress(OSError):  # it only takes up room
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def unwritable(path: Path | str, error: OSError) -> FerKitError:
    """The error to raise where `error` kept `path` from being written."""
    return FerKitError(f"{path}: cannot be written ({reason_of(error)}); {way_out(error)}")


def reason_of(error: OSError) -> str:
    """What the system says, in words."""
    return error.strerror or str(error) or type(error).__name__


def way_out(error: OSError) -> str:
    """What to do about a fault of the disk or of a folder."""
    return _WAYS_OUT.get(error.errno or 0, "free space or choose another folder")


def write_text(path: Path | str, text: str) -> None:
    """Replace `path` by `text` (UTF-8, newlines as they are)."""
    with replacing(path, "w") as file:
        file.write(text)


def write_json(path: Path | str, value: Any) -> None:
    """Replace `path` by `value` as indented JSON; NaN and infinities are refused with ValueError."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_bytes(path: Path | str, most: int) -> bytes:
    """What `path` holds, as long as that is no more than `most` bytes.

    Raises:
        OSError: it cannot be read.
        FerKitError: there is more in it.
    """
    with open(path, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise FerKitError(f"{path}: larger than {most:,} bytes, so not the kind of file that was looked for")
    return content


def read_json(path: Path | str) -> Any:
    """The JSON value in `path`, as `parse_json` takes it.

    Raises:
        FerKitError: the file is missing, larger than 8 MiB, not UTF-8 or not JSON.
    """
    try:
        return parse_json(read_bytes(path, MOST_JSON_BYTES).decode("utf-8"))
    except FileNotFoundError:
        raise FerKitError(f"{path}: no such file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise FerKitError(f"{path}: not a readable JSON file ({error})") from None


def parse_json(text: str) -> Any:
    """The value of JSON that may come from anywhere; what standards leave open is refused.

    Raises:
        ValueError, RecursionError: not JSON, or a number that is not finite, a key twice in an object, half a character
            (a lone surrogate), nested deeper than 100.
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
        json.dumps(value, ensure_ascii=False).encode()  # UnicodeEncodeError, a ValueError, for half a character
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"key {twice!r} stands twice in one object")
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
