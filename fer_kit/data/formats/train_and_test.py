"""train.csv with test.csv: the competition's own files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from fer_kit.data import csv_files, csv_reader
from fer_kit.data.archives import Source
from fer_kit.data.csv_files import TEST, TRAIN
from fer_kit.data.csv_reader import LABEL, PIXEL, USAGE, Faces
from fer_kit.data.formats.rows import Found, Rows
from fer_kit.errors import FerKitError

TEXT = f"{TRAIN} and {TEST}"


def find(place: Path) -> Found | None:
    """Both files, plain or in archives; one without the other is found, and reading it says what to add."""
    found = csv_files.sources(place)
    if TRAIN in found and TEST in found:
        chosen = [found[TRAIN], found[TEST]]
        return Found(chosen, csv_files.keys(chosen), partial(_read, *chosen), labelled_test=False)
    for there, missing in ((TRAIN, TEST), (TEST, TRAIN)):
        if there in found:
            fault = f"{found[there].name} is there but not {missing}; add {missing} to {place}"
            if (link := place / missing).is_symlink():
                fault = f"{link} is a link to {os.readlink(link)}, which does not exist; repair the link"
            return Found([found[there]], [there], partial(_refuse, fault), labelled_test=False)
    return None


def _refuse(fault: str) -> Rows:
    raise FerKitError(fault)


def _read(train: Source, test: Source) -> Rows:
    # Rows of a train.csv with a Usage column could be test rows, whose labels must not be trained on.
    return Rows(_faces(train, (LABEL, PIXEL), refused=(USAGE,)), _faces(test, (PIXEL,)))


def _faces(source: Source, columns: Sequence[str], refused: Sequence[str] = ()) -> Faces:
    with source.open() as file:
        return csv_reader.read(file, source.name, columns, refused)
