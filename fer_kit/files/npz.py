"""Read .npz files from untrusted sources: only plain arrays, of the size that the file really contains.

`numpy.load` trusts a file: it allocates memory for any shape in a header, unpacks a few kilobytes to as many
gigabytes, takes the last of two members with one name, and raises whatever zip and Python's parser raise.
"""

from __future__ import annotations

import math
import warnings
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_kit.errors import FerKitError

MOST_BYTES, MOST_TIMES = 64 << 20, 4  # unpacked, of all arrays together: the larger of the two, times the file's size
_PIECE_BYTES = 1 << 20
_SUFFIX = ".npy"
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read(path: Path, allowed: Collection[str], again: str) -> dict[str, NDArray[Any]]:
    """The arrays in `path` by name. No code in the file is run, and no more memory is used than the arrays need.

    allowed: names of arrays that may be in the file. again: how to make such a file again, for error messages.

    Raises:
        FerKitError: missing, not a whole .npz file, Python objects or an unknown name in it, more bytes than
            `MOST_BYTES` or `MOST_TIMES` the file's size once unpacked; the message does not name the file.
    """
    if not path.is_file():
        raise FerKitError("no such file" if not path.exists() else "not a file")
    try:
        if not zipfile.is_zipfile(path):
            raise FerKitError(f"not a whole .npz file (cut short, or something else); {again}")
        with zipfile.ZipFile(path) as archive, warnings.catch_warnings():
            warnings.simplefilter("error")  # numpy's, about headers that no numpy writes
            members = _members(archive, allowed, max(MOST_BYTES, MOST_TIMES * path.stat().st_size))
            return {name: _array(archive, name, member, again) for name, member in members.items()}
    except FerKitError:
        raise
    except zipfile.BadZipFile as error:
        raise FerKitError(f"damaged ({error}); {again}") from None
    except Exception as error:  # zipfile, zlib and numpy raise many kinds for damaged bytes, all mean the same here
        raise FerKitError(f"cannot be read as plain arrays ({str(error) or type(error).__name__}); {again}") from None


def _members(archive: zipfile.ZipFile, allowed: Collection[str], most_bytes: int) -> dict[str, zipfile.ZipInfo]:
    """The members of the archive by array name, after a check of names and sizes."""
    found: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(_SUFFIX)
        if name not in allowed or name == member.filename:
            raise FerKitError(f"holds '{name}', allowed are {', '.join(allowed)}")
        if name in found:
            raise FerKitError(f"holds '{name}' twice; write it once")
        if member.compress_type not in _METHODS:
            raise FerKitError(f"'{name}' is packed in a way that numpy does not pack; write it with numpy.savez")
        found[name] = member
    total = sum(member.file_size for member in found.values())
    if total > most_bytes:
        raise FerKitError(f"unpacks to {total:,} bytes, allowed are {most_bytes:,}")
    return found


def _array(archive: zipfile.ZipFile, name: str, member: zipfile.ZipInfo, again: str) -> NDArray[Any]:
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            raise FerKitError(f"'{name}' has version {version} of numpy's format, allowed are 1.0 and 2.0; {again}")
        shape, in_columns, dtype = _HEADERS[version](file)
        if dtype.hasobject:
            raise FerKitError("cannot be read as plain arrays (Object arrays can run any code when they are loaded)")
        due, there = math.prod(shape) * dtype.itemsize, member.file_size - file.tell()
        if min(shape, default=0) < 0 or due != there:
            raise FerKitError(f"'{name}' holds {there:,} bytes, its header says {due:,}; {again}")
        content = bytearray()
        while piece := file.read(_PIECE_BYTES):  # up to the end, where zipfile compares the checksum
            content += piece
    array: NDArray[Any] = np.frombuffer(content, dtype).reshape(shape, order="F" if in_columns else "C")
    return array
