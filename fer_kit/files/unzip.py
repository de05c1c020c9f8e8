"""Unpacking a zip from elsewhere: whole and undamaged, and no name leads out of the folder."""

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

# What zipfile raises on damaged bytes. It trusts the offsets in them: ValueError, OverflowError and struct.error come
# from there, OSError from seeking to them; RuntimeError is an encrypted or unknown kind of member.
FAULTS: tuple[type[Exception], ...] = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, ValueError, OverflowError, RuntimeError, KeyError, IndexError),
)
UNREADABLE: tuple[type[Exception], ...] = (OSError, *FAULTS)

_MOST_TIMES, _FREE_BYTES = 200, 1 << 30  # digits shrink to a third; beyond both a zip is a bomb


def members(path: Path) -> list[zipfile.ZipInfo]:
    """The files in the zip `path`, after a look at every byte of it.

    Raises:
        FerKitError: damaged, encrypted, or a name leads out of the folder, is a link or stands twice. The zip is
            removed then, so that the next download starts anew.
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
    """Write the members `chosen`, from `members`, below `folder`; each file appears whole or not at all.

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
    """What is wrong with a zip at `path` that unpacks to so many bytes; "" where nothing is."""
    if unpacked_bytes <= max(_FREE_BYTES, _MOST_TIMES * path.stat().st_size):
        return ""
    return f"unpacks to {unpacked_bytes:,} bytes, more than {_MOST_TIMES} times its size"


def _fault_of_names(found: Sequence[zipfile.ZipInfo]) -> str:
    """What is wrong with the first name that must not be unpacked, "" where all are fine."""
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
