"""A cache of parsed arrays: its key is the content of the source files, its content is checked on every read."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_kit.data.archives import Source
from fer_kit.data.cache_mark import mark_of
from fer_kit.errors import FerKitError
from fer_kit.files import atomic, lock

SCHEMA = 1  # to be increased when the reader's result for the same bytes changes
PIECE_BYTES = 16 << 20
PATIENCE_SECONDS = 60.0  # wait for another process that writes the same cache
MANY_FILES = 64  # more of them are small: they are read in groups of so many
MAX_THREADS = 8  # each holds a piece in memory
MOST_MARKS = 16  # users of one folder of runs

Arrays = dict[str, NDArray[Any]]
Piece = Callable[[], bytes]


def key_of(sources: Sequence[Source], names: Sequence[str]) -> str:
    """sha256 over the content of the files and the names under which they are read, a name for each source.

    Hash the content. Size and modification time can stay the same when a file is replaced (cp -p, rsync -t).

    Raises:
        FerKitError: a file cannot be read.
    """
    heads = [f"schema {SCHEMA}", *names]
    pieces: list[Piece] = []
    try:
        paths = list(dict.fromkeys(source.path for source in sources))
        if len(paths) > MANY_FILES:
            groups = (paths[start : start + MANY_FILES] for start in range(0, len(paths), MANY_FILES))
            return _digest(heads, [partial(_digest_of_files, group) for group in groups])
        for path in paths:
            size = path.stat().st_size
            heads.append(str(size))
            pieces += [partial(_digest_in_file, path, start) for start in range(0, size, PIECE_BYTES)]
        return _digest(heads, pieces)
    except OSError as error:
        raise FerKitError(f"{error.filename}: cannot be read ({error.strerror})") from None


def digest_of(arrays: Arrays) -> str:
    """sha256 over the names, types, shapes and contents of C-contiguous arrays."""
    heads: list[str] = []
    pieces: list[Piece] = []
    for name, array in arrays.items():
        heads.append(f"{name} {array.dtype.str} {array.shape}")
        content = array.reshape(-1).view(np.uint8).data
        pieces += [
            partial(_digest_in_memory, content[start : start + PIECE_BYTES])
            for start in range(0, array.nbytes, PIECE_BYTES)
        ]
    return _digest(heads, pieces)


def _digest(heads: Sequence[str], pieces: Sequence[Piece]) -> str:
    """sha256 over the heads and the sha256 of each piece; the pieces run on all cores, as hashlib releases the GIL."""
    from concurrent.futures import ThreadPoolExecutor  # late: it imports logging, which --help does not need

    digest = hashlib.sha256("\n".join(heads).encode())
    with ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1)) as threads:
        for part in threads.map(lambda piece: piece(), pieces):
            digest.update(part)
    return digest.hexdigest()


def _digest_of_files(paths: Sequence[Path]) -> bytes:
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            digest.update(b"%d " % os.fstat(file.fileno()).st_size)
            while content := file.read(PIECE_BYTES):
                digest.update(content)
    return digest.digest()


def _digest_in_file(path: Path, start: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return hashlib.sha256(file.read(PIECE_BYTES)).digest()


def _digest_in_memory(content: memoryview) -> bytes:
    return hashlib.sha256(content).digest()


def read(folder: Path, key: str, names: Sequence[str]) -> tuple[Arrays, str] | None:
    """The arrays, memory-mapped read-only, and their digest; None without a complete cache that this user wrote.

    A damaged cache is reported on stderr and counts as missing.

    Args:
        key: from `key_of` the source files; a cache that was made from other files counts as missing.
    """
    if not folder.exists():
        return None
    try:
        record = atomic.read_json(folder / "cache.json")
        recorded = record["digest"]
        arrays: Arrays = {  # asarray: a plain array on the mapped file, as after a first read
            name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)) for name in names
        }
        digest = digest_of(arrays)
        if digest != recorded:
            raise ValueError(f"digest {digest[:12]}, recorded {recorded[:12]}")
        mark = mark_of(key, digest)
        if mark is None or record.get("marks", {}).get(mark[0]) != mark[1]:
            return None
    except (FerKitError, OSError, ValueError, EOFError, KeyError, TypeError, AttributeError) as error:
        print(f"{folder}: the cache is incomplete or damaged ({error}); reading the data again", file=sys.stderr)
        return None
    return arrays, digest


def write(folder: Path, key: str, arrays: Arrays, digest: str) -> None:
    """Save the arrays with this user's mark; if the folder cannot be written, warn on stderr and go on without a cache.

    Marks of other users of the folder stay if their rows were the same; other rows are reported on stderr.
    """
    try:
        with lock.held(folder, "another process writes this cache", PATIENCE_SECONDS):
            marks = _marks(folder, digest)
            if mark := mark_of(key, digest):
                marks[mark[0]] = mark[1]
            atomic.sweep(folder)
            for name, array in arrays.items():
                with atomic.replacing(folder / f"{name}.npy") as file:
                    np.save(file, array, allow_pickle=False)
            atomic.write_json(folder / "cache.json", {"digest": digest, "marks": marks})
    except FerKitError as error:
        print(f"warning: no cache is kept, so the data are read again at every start: {error}", file=sys.stderr)


def _marks(folder: Path, digest: str) -> dict[str, str]:
    """The marks in a cache whose rows have `digest`, at most MOST_MARKS."""
    try:
        record = atomic.read_json(folder / "cache.json")
        known, marks = record["digest"], record.get("marks", {})
        if known != digest:
            print(f"{folder}: the cache held other rows than the data; it is written anew", file=sys.stderr)
            return {}
        return {str(name): str(mark) for name, mark in list(marks.items())[-MOST_MARKS:]}
    except (FerKitError, KeyError, TypeError, AttributeError):
        return {}
