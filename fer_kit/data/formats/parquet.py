"""Parquet files, as Hugging Face's copies have them: `train-00000-of-00001.parquet`, `test-…`, or one with Usage.

Columns: an image (an encoded image, alone or in a struct with `bytes`, or the text of 2,304 numbers) and a label (a
word, or a number whose meaning the file states). Many copies number the classes alphabetically, so numbers without
names are accepted only in a column `emotion`, as the competition calls its own.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fer_kit.competition import SIDE_PX
from fer_kit.data.archives import PLAIN, Source
from fer_kit.data.class_words import ALLOWED, class_of
from fer_kit.data.csv_files import PARQUET_MAGIC, begins_with
from fer_kit.data.csv_reader import USAGES, Faces, parse_pixels, shown
from fer_kit.data.formats import encoded, splits
from fer_kit.data.formats.rows import MOST_ROWS, Found, Rows, part
from fer_kit.data.formats.splits import TRAINING, split_of
from fer_kit.errors import FerKitError, first_line

TEXT = "parquet files (train-*.parquet and test-*.parquet)"
UNORDERED = "parquet copies do not say whether they keep the order of test.csv"
IMAGE_COLUMNS = ("image", "img_bytes", "img", "pixels")
LABEL_COLUMNS = ("label", "labels", "emotion")
USAGE_COLUMNS = ("usage", "split")
MOST_BYTES = 1 << 30  # unpacked, of one file
_BATCH_ROWS = 1024
_DEPTH, _MOST_FILES = 3, 200


def find(place: Path) -> Found | None:
    """The parquet files at `place`, up to three folders deep."""
    if place.is_file():
        paths = [place] if begins_with(place, PARQUET_MAGIC) else []
        root = place.parent
    else:
        levels = (place.glob("/".join(["*"] * depth + ["*.[pP][aA][rR][qQ][uU][eE][tT]"])) for depth in range(_DEPTH))
        paths, root = sorted(itertools.islice(itertools.chain.from_iterable(levels), _MOST_FILES)), place
    if not paths:
        return None
    sources = [Source(path, None, path.stat().st_size, PLAIN) for path in paths]
    keys = [path.relative_to(root).as_posix() for path in paths]
    return Found(sources, keys, partial(_read, paths, keys), True, UNORDERED)


def _read(paths: Sequence[Path], keys: Sequence[str]) -> Rows:
    pieces = [_faces(path, _split(key)) for path, key in zip(paths, keys, strict=True)]
    every = Faces(
        images=np.concatenate([piece.images for piece in pieces]),
        labels=np.concatenate([piece.labels for piece in pieces]),
        usage=np.concatenate([piece.usage for piece in pieces]),
    )
    if len(every.labels) > MOST_ROWS:
        raise FerKitError(f"{paths[0].parent}: has more than {MOST_ROWS:,} rows; name the folder of FER2013 alone")
    train = every.usage == TRAINING
    for rows, kind, add in ((train, "train", "train-….parquet"), (~train, "test", "test-….parquet")):
        if not rows.any():
            raise FerKitError(f"{', '.join(map(str, paths))}: no {kind} rows; add the file {add} of the same copy")
    test = np.argsort(np.where(train, -1, every.usage.astype(np.int64)), kind="stable")[int(train.sum()) :]
    return Rows(part(every, train), Faces(every.images[test], every.labels[test], every.usage[test]))


def _split(key: str) -> int | None:
    """The split that the name of a file states, or else the name of a folder that it lies in."""
    told = (split_of(part) for part in reversed(key.split("/")))
    return next((split for split in told if split is not None), None)


def _faces(path: Path, split: int | None) -> Faces:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise FerKitError(f"{path}: reading parquet files needs pyarrow; pip install 'fer_kit[parquet]'") from None
    try:
        with pyarrow.parquet.ParquetFile(path, memory_map=False) as file:
            return _faces_of(path, file, split)
    except FerKitError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, KeyError, IndexError, MemoryError) as error:
        raise FerKitError(f"{path}: not a readable parquet file ({first_line(error)}); download it again") from None


def _faces_of(path: Path, file: Any, split: int | None) -> Faces:
    names = {name.lower(): name for name in file.schema_arrow.names}
    image, label = (_column(path, names, allowed) for allowed in (IMAGE_COLUMNS, LABEL_COLUMNS))
    usage = next((names[name] for name in USAGE_COLUMNS if name in names), None)
    if split is None and usage is None:
        raise FerKitError(
            f"{path}: neither its name nor a column Usage tells train rows from test rows; allowed words in the name "
            f"are {splits.ALLOWED}; rename the file"
        )
    unpacked = sum(file.metadata.row_group(group).total_byte_size for group in range(file.metadata.num_row_groups))
    if file.metadata.num_rows > MOST_ROWS or not 0 <= unpacked <= MOST_BYTES:
        raise FerKitError(
            f"{path}: states {file.metadata.num_rows:,} rows of {unpacked:,} bytes, allowed are {MOST_ROWS:,} rows of "
            f"{MOST_BYTES:,} bytes"
        )
    class_names = _class_names(file.schema_arrow.metadata, label)
    images, labels, usages = [], [], []
    columns = [image, label, *([] if usage is None else [usage])]
    for number, row in enumerate(_rows(file, columns), start=1):
        where = f"{path}: row {number}"
        images.append(_image(row[image], where))
        labels.append(_label(row[label], class_names, label, where))
        told = None if usage is None else str(row[usage])
        half = split if told is None else split_of(told)
        if half is None:
            raise FerKitError(f"{where}: {usage} is '{shown(told or '')}', allowed are {', '.join(USAGES)}")
        usages.append(half)
    if not images:
        raise FerKitError(f"{path}: has no rows; download it again")
    return Faces(np.stack(images), np.array(labels, np.int64), np.array(usages, np.uint8))


def _column(path: Path, names: dict[str, str], allowed: Sequence[str]) -> str:
    for name in allowed:
        if name in names:
            return names[name]
    found = shown(", ".join(names.values()))
    raise FerKitError(f"{path}: has no column {' or '.join(allowed)} (found: {found})")


def _rows(file: Any, columns: list[str]) -> Iterator[dict[str, Any]]:
    for batch in file.iter_batches(_BATCH_ROWS, columns=columns):
        yield from batch.to_pylist()


def _class_names(metadata: dict[bytes, bytes] | None, label: str) -> list[str] | None:
    """The names of the numbers 0, 1 … in the column `label`, as Hugging Face's library states them."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        names = features[label]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def _label(value: Any, names: list[str] | None, column: str, where: str) -> int:
    text = str(value)
    if names is not None and isinstance(value, int) and 0 <= value < len(names):
        text = names[value]
    elif not isinstance(value, str) and column.lower() != "emotion":
        raise FerKitError(
            f"{where}: {column} is {shown(text)}, and the file does not state what its numbers mean; copies number the "
            "classes in different orders; store words, or name the column emotion if 0 to 6 are the competition's"
        )
    found = class_of(text)
    if found is None:
        raise FerKitError(f"{where}: {column} is '{shown(text)}', allowed are {ALLOWED}")
    return found


def _image(value: Any, where: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    content = value.get("bytes") if isinstance(value, dict) else value
    if isinstance(content, str):
        return np.array(parse_pixels(content, where, ""), np.uint8).reshape(SIDE_PX, SIDE_PX)
    if isinstance(content, bytes) and len(content) <= encoded.MOST_BYTES:
        return encoded.decode(content, where)
    raise FerKitError(
        f"{where}: holds no image but {type(content).__name__}; allowed are encoded images of up to "
        f"{encoded.MOST_BYTES:,} bytes and the text of 2,304 numbers"
    )
