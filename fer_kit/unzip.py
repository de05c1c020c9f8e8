"""Unpacking a zip from elsewhere: whole and undamaged, and no name leads out of the folder."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from fer_kit import files
from fer_kit.errors import FerKitError

_FAULTS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError)


def members(path: Path) -> list[zipfile.ZipInfo]:
    """The files in the zip `path`, after a look at every byte of it.

    Raises:
        FerKitError: damaged (the zip is removed, so that the next download starts anew), encrypted, or a name that
            leads out of the folder, names a link or stands twice (nothing is removed).
    """
    try:
        with zipfile.ZipFile(path) as archive:
            found = [member for member in archive.infolist() if not member.is_dir()]
            _refuse_names(path, found)
            damaged = archive.testzip()
    except _FAULTS as error:
        damaged = str(error)
    if damaged is not None:
        path.unlink(missing_ok=True)
        raise FerKitError(f"{path}: damaged zip ({damaged}), removed; download it again")
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
            with archive.open(member) as source, files.replacing(target) as file:
                shutil.copyfileobj(source, file, 1 << 20)


def _refuse_names(path: Path, found: Sequence[zipfile.ZipInfo]) -> None:
    seen: set[str] = set()
    for member in found:
        name = member.filename
        fault = ""
        if (
            PurePosixPath(name).is_absolute()
            or PureWindowsPath(name).anchor
            or ".." in name.replace("\\", "/").split("/")
        ):
            fault = "leads out of the folder"
        elif stat.S_ISLNK(member.external_attr >> 16):
            fault = "is a link"
        elif member.flag_bits & 1:
            fault = "is encrypted"
        elif name.lower() in seen:
            fault = "stands in it twice"
        if fault:
            raise FerKitError(f"{path}: '{name}' {fault}; nothing was unpacked, see what this zip is")
        seen.add(name.lower())
