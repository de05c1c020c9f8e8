"""Files that are either whole or absent: write aside, flush to disk, replace."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from fer_kit.errors import FerKitError

TEMPORARY_SUFFIX = ".part"


@contextlib.contextmanager
def replacing(path: Path | str, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path`; on a clean exit it is flushed to disk and becomes `path`.

    After an exception, and after a kill at any moment, `path` holds what it held before. A kill can
    leave `.<name>.<random>.part` behind, which no reader of this package looks at.

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
        reason = error.strerror or str(error)
        raise FerKitError(f"{path}: cannot be written ({reason}); free space or choose another folder") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def write_text(path: Path | str, text: str) -> None:
    """Replace `path` by `text` (UTF-8, newlines as they are)."""
    with replacing(path, "w") as file:
        file.write(text)


def write_json(path: Path | str, value: Any) -> None:
    """Replace `path` by `value` as indented JSON; NaN and infinities are refused with ValueError."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    """The JSON value in `path`.

    Raises:
        FerKitError: the file is missing, not UTF-8 or not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FerKitError(f"{path}: no such file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise FerKitError(f"{path}: not a readable JSON file ({error})") from None


def sha256_of(path: Path | str) -> str:
    """sha256 of a file's bytes, as 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(value: Any) -> str:
    """sha256 of a JSON value in canonical form (sorted keys, no spaces), as 64 hex digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
