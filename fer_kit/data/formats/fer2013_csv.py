"""fer2013.csv, or icml_face_data.csv: all rows with labels and a column Usage."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from fer_kit.data import csv_files, csv_reader
from fer_kit.data.archives import Source
from fer_kit.data.csv_files import TEST, TRAIN, WHOLE
from fer_kit.data.csv_reader import LABEL, PIXEL, USAGE, USAGES
from fer_kit.data.formats.rows import Found, Rows, part
from fer_kit.errors import FerKitError

TEXT = " or ".join(WHOLE)


def find(place: Path) -> Found | None:
    """The first of the files, plain or in an archive."""
    found = csv_files.sources(place, answers=True)
    source = next((found[name] for name in WHOLE if name in found), None)
    if source is None:
        return None
    return Found([source], csv_files.keys([source]), partial(_read, source), labelled_test=True)


def _read(source: Source) -> Rows:
    with source.open() as file:
        rows = csv_reader.read(file, source.name, (LABEL, PIXEL, USAGE))
    falls = np.flatnonzero(np.diff(rows.usage.astype(np.int8)) < 0)
    if falls.size:
        row = int(falls[0]) + 1
        raise FerKitError(
            f"{source.name}: row {row + 1} is {USAGES[rows.usage[row]]} after {USAGES[rows.usage[row - 1]]}; "
            f"the rows must be in the order {', '.join(USAGES)}, as in {TRAIN} and {TEST}"
        )
    train_count = int(np.count_nonzero(rows.usage == 0))
    for count, kind in ((train_count, "Training"), (len(rows.usage) - train_count, "PublicTest or PrivateTest")):
        if count == 0:
            raise FerKitError(f"{source.name}: has no {kind} rows")
    return Rows(part(rows, slice(None, train_count)), part(rows, slice(train_count, None)))
