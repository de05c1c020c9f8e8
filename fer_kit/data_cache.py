"""A cache of parsed arrays, keyed by the bytes of the files they came from and checked whenever it is opened."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_kit import files
from fer_kit.errors import FerKitError

SCHEMA = 1  # raise it when the reader's result for the same bytes changes
CHUNK_BYTES = 16 << 20

Arrays = dict[str, NDArray[Any]]


def key_of(paths: Sequence[Path]) -> str:
    """sha256 over the bytes of the files, hashed in chunks on all cores (hashlib lets go of the interpreter).

    Always the bytes, never size and time of change: those stay the same when a file is swapped with care.
    """
    chunks = [(path, start) for path in paths for start in range(0, path.stat().st_size, CHUNK_BYTES)]
    return _joined([f"schema {SCHEMA}", *(f"{path.stat().st_size}" for path in paths)], _chunk_digest, chunks)


def digest_of(arrays: Arrays) -> str:
    """sha256 over names, shapes, types and contents."""
    heads = [f"{name} {array.dtype.str} {array.shape}" for name, array in arrays.items()]
    chunks = []
    for array in arrays.values():
        flat = array.reshape(-1).view(np.uint8)
        chunks += [(flat, start) for start in range(0, flat.size, CHUNK_BYTES)]
    return _joined(heads, lambda part: hashlib.sha256(part[0][part[1] : part[1] + CHUNK_BYTES]).digest(), chunks)


def _joined(heads: Sequence[str], digest: Callable[[Any], bytes], chunks: Sequence[Any]) -> str:
    joined = hashlib.sha256("\n".join(heads).encode())
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for part in threads.map(digest, chunks):
            joined.update(part)
    return joined.hexdigest()


def _chunk_digest(chunk: tuple[Path, int]) -> bytes:
    path, start = chunk
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        return hashlib.sha256(file.read(CHUNK_BYTES)).digest()


def read(folder: Path, names: Sequence[str]) -> tuple[Arrays, str] | None:
    """The arrays, mapped into memory read-only, and their digest; None where there is no whole cache.

    A cache that is there but damaged is told on stderr and counts as none.
    """
    if not folder.exists():
        return None
    try:
        recorded = files.read_json(folder / "cache.json")["digest"]
        arrays: Arrays = {  # asarray: a plain array on the mapped file, as after a first read
            name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)) for name in names
        }
        digest = digest_of(arrays)
        if digest != recorded:
            raise ValueError(f"digest {digest[:12]}, recorded {recorded[:12]}")
    except (FerKitError, OSError, ValueError, EOFError, KeyError, TypeError) as error:
        print(f"{folder}: the cache is incomplete or damaged ({error}); reading the csv files again", file=sys.stderr)
        return None
    return arrays, digest


def write(folder: Path, arrays: Arrays, digest: str) -> None:
    """Keep the arrays; where the folder cannot be written, say so on stderr and go on without."""
    try:
        for name, array in arrays.items():
            with files.replacing(folder / f"{name}.npy") as file:
                np.save(file, array, allow_pickle=False)
        files.write_json(folder / "cache.json", {"digest": digest})
    except FerKitError as error:
        print(f"warning: no cache, every start will read the csv files again: {error}", file=sys.stderr)
