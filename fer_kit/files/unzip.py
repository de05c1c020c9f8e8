"""Unpack a zip from an untrusted source: only if it is undamaged and no name leads out of the folder."""

from __future__ import annotations

import errno
import lzma
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from fer_kit.errors import FerKitError
from fer_kit.files import atomic

# What zipfile raises for damaged files. It trusts their offsets, hence ValueError, OverflowError, struct.error and,
# from seeking, OSError; RuntimeError means an encrypted member or one of an unknown kind.
FAULTS: tuple[type[Exception], ...] = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, ValueError, OverflowError, RuntimeError, KeyError, IndexError),
)
UNREADABLE: tuple[type[Exception], ...] = (OSError, *FAULTS)

_MOST_TIMES, _FREE_BYTES = 200, 1 << 30  # digits shrink to a third; beyond both a zip is a bomb


def members(path: Path) -> list[zipfile.ZipInfo]:
    """The files in the zip `path`, after all bytes were checked.

    Raises:
        FerKitError: the zip is damaged or encrypted, or a name leads out of the folder, is a link or occurs twice. The
            zip is then removed, so that the next download starts again.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            found = [member for member in archive.infolist() if not member.is_dir()]
            fault = bomb(sum(member.file_size for member in found), path) or _fault_of_names(found)
            if not fault and (damaged := archive.testzip()):
                fault = f"'{damaged}' is damaged"
    except FAULTS as error:
        fault = f"damaged ({error})"
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise FerKitError(f"{path}: cannot be read ({error.strerror or error})") from None
        fault = "damaged (it points outside of itself)"
    if fault:
        path.unlink(missing_ok=True)
        raise FerKitError(f"{path.name}: {fault}; the zip was removed and nothing unpacked, download it again")
    return found


def unpack(path: Path, chosen: Sequence[zipfile.ZipInfo], folder: Path) -> None:
    """Write the members `chosen`, from `members`, below `folder`; each file appears complete or not at all.

    Raises:
        FerKitError: `folder` cannot be written, or a link in it would lead a file elsewhere.
    """
    with zipfile.ZipFile(path) as archive:
        for member in chosen:
            target = folder / member.filename
            if not target.parent.resolve().is_relative_to(folder.resolve()):
                raise FerKitError(f"{target.parent}: is a link out of {folder}; remove it")
            with archive.open(member) as source, atomic.replacing(target) as file:
                shutil.copyfileobj(source, file, 1 << 20)


def bomb(unpacked_bytes: int, path: Path) -> str:
    """The fault of a zip at `path` that unpacks to `unpacked_bytes`; "" if that is plausible."""
    if unpacked_bytes <= most_bytes(path):
        return ""
    return f"unpacks to {unpacked_bytes:,} bytes, more than {_MOST_TIMES} times its size"


def most_bytes(path: Path) -> int:
    """The most bytes that an archive at `path` may unpack to."""
    return max(_FREE_BYTES, _MOST_TIMES * path.stat().st_size)


def _fault_of_names(found: Sequence[zipfile.ZipInfo]) -> str:
    """The fault of the first name that must not be unpacked; "" if there is none."""
    seen: set[str] = set()
    for member in found:
        name = member.filename
        steps = name.replace("\\", "/").split("/")
        if PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor or ".." in steps:
            return f"'{name}' leads out of the folder"
        if stat.S_ISLNK(member.external_attr >> 16):
            return f"'{name}' is a link"
        if member.flag_bits & 1:
            return f"'{name}' is encrypted"
        if name.lower() in seen:
            return f"'{name}' stands in it twice"
        seen.add(name.lower())
    return ""
