"""The format of a submission file: the organiser's, or that of example_submission.csv if the data include this file.

The organiser's script writes one integer per line in the order of test.csv, without header and ids. An example file may
have a header and ids; header, ids and row count are then taken from it.
"""

from __future__ import annotations

import csv
import itertools
import os
import re
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_kit.competition import NUM_CLASSES
from fer_kit.data import loading
from fer_kit.errors import FerKitError
from fer_kit.files import atomic, unzip

EXAMPLE = "example_submission.csv"
ORGANISERS = "the organiser's: one integer per line, no header, no id"
MOST_BYTES = 8 << 20  # the competition's 7,178 rows have at most 100 kB
MOVE_IT = "to ignore this file and write one integer per line, add --plain"

_PREDICTION_NAMES = {
    "answer",
    "category",
    "class",
    "emotion",
    "expression",
    "label",
    "prediction",
    "solution",
    "target",
}
_ID_NAMES = {"id", "image", "imageid", "image_id", "index", "file", "filename", "name", "row", "row_id", "usage_id"}
_INTEGER = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, eq=False)
class FileFormat:
    """The format of a submission file.

    header: first line, or None. ids: id of each line, or None if lines have no id. test_rows: row of test.csv that each
    line predicts, int64; None if line k predicts row k. prediction_first: the prediction comes before the id. rows:
    lines below the header; None if unknown. text: the format in words.
    """

    text: str = ORGANISERS
    header: str | None = None
    ids: tuple[str, ...] | None = None
    test_rows: NDArray[np.int64] | None = None
    prediction_first: bool = False
    rows: int | None = None

    def line(self, index: int, prediction: object) -> str:
        """Line `index` (from 0, below the header) with this prediction."""
        if self.ids is None:
            return f"{prediction}"
        cells = (f"{prediction}", self.ids[index])
        return ",".join(cells if self.prediction_first else cells[::-1])


def find_data(explicit: str | None) -> tuple[Path | None, str]:
    """The folder of the competition's files and ""; or None and the reason if they were not found.

    explicit: the value of --data, or None.

    Raises:
        FerKitError: --data or FER_KIT_DATA names a folder without these files.
    """
    try:
        return loading.find(explicit), ""
    except FerKitError as error:
        if explicit is not None or os.environ.get("FER_KIT_DATA"):
            raise
        return None, f"{error}"


def choose(place: Path | None, plain: bool) -> FileFormat:
    """The format for the data at `place` (a folder, or a file in it). plain: ignore an example file.

    Raises:
        FerKitError: the format of the example file is unclear.
    """
    if plain:
        return FileFormat(f"{ORGANISERS} (--plain)")
    if place is None:
        return FileFormat(f"{ORGANISERS} (no data found, so no {EXAMPLE})")
    found = _read_example(place)
    if found is None:
        return FileFormat(f"{ORGANISERS} (no {EXAMPLE} in {place})")
    return parse_example(*found)


def parse_example(where: str, content: bytes) -> FileFormat:
    """The format of an example file with this content.

    Raises:
        FerKitError: the content is empty, not UTF-8 or not CSV, or has more than two columns; the column of predictions
            (integers 0 to 6) is unclear; ids are repeated or out of order.
    """
    try:
        lines = content.decode("utf-8-sig").replace("\r\n", "\n").rstrip("\n").split("\n")
        table = [
            next(csv.reader([line]), []) for line in lines
        ]  # line by line, so that a stray quote affects only its line
    except UnicodeDecodeError as error:
        raise _not_understood(where, f"it is not UTF-8 ({error})") from None
    except csv.Error as error:
        raise _not_understood(where, f"it is not CSV ({error})") from None
    width = len(table[0])
    for number, cells in enumerate(table, start=1):
        if len(cells) != width or width not in (1, 2):
            raise _not_understood(
                where, f"line {number} has {len(cells)} columns, allowed are 1 or 2, the same in every line"
            )
    has_header = not any(_INTEGER.fullmatch(cell) for cell in table[0])
    header, rows = (lines[0], table[1:]) if has_header else (None, table)
    if not rows:
        raise _not_understood(where, "it has no rows")
    column = _prediction_column(where, table[0] if has_header else None, rows)
    for number, cells in enumerate(rows, start=1 + has_header):
        if cells[column] and not (_INTEGER.fullmatch(cells[column]) and int(cells[column]) < NUM_CLASSES):
            raise _not_understood(where, f"line {number} has {cells[column]!r} where an integer 0 to 6 was expected")
    ids = tuple(cells[1 - column] for cells in rows) if width == 2 else None
    shape = f"header '{header}'" if header is not None else "no header"
    text = f"that of {where}: {shape}, {'an id and ' if ids else ''}one integer per line"
    test_rows = None if ids is None else _test_rows(where, ids)
    return FileFormat(text, header, ids, test_rows, width == 2 and column == 0, len(rows))


def _prediction_column(where: str, names: Sequence[str] | None, rows: Sequence[Sequence[str]]) -> int:
    width = len(rows[0])
    if names is None:
        if width == 1:
            return 0
        repeated = [column for column in (0, 1) if len({cells[column] for cells in rows}) < len(rows)]
        if len(repeated) == 1:
            return repeated[0]
        raise _not_understood(where, "it has no header, and either of its two columns could be the id")
    plain = [name.strip().lower() for name in names]
    predictions = [column for column in range(width) if plain[column] in _PREDICTION_NAMES]
    if len(predictions) == 1:
        return predictions[0]
    others = [column for column in range(width) if plain[column] not in _ID_NAMES]
    if len(others) == 1 and not predictions:
        return others[0]
    raise _not_understood(where, f"it is unclear which of its columns {', '.join(map(repr, names))} is the prediction")


def _test_rows(where: str, ids: tuple[str, ...]) -> NDArray[np.int64] | None:
    """The test row of each id.

    Consecutive numbers, in any order, count test rows from the lowest number. Other ids are in the order of test.csv:
    None.
    """
    if len(set(ids)) < len(ids):
        [(repeated, _)] = Counter(ids).most_common(1)
        raise _not_understood(where, f"id {repeated!r} occurs more than once")
    if any(not text or not text.isprintable() or re.search(r'[",\s]', text) for text in ids):
        raise _not_understood(where, "an id is empty or holds a quote, comma or space, or an unprintable character")
    if not all(_INTEGER.fullmatch(text) for text in ids):
        return None
    numbers = [int(text) for text in ids]
    lowest = min(numbers)
    if len(set(numbers)) == len(ids) == max(numbers) - lowest + 1:
        return np.array([number - lowest for number in numbers], dtype=np.int64)
    if all(before < after for before, after in itertools.pairwise(numbers)):
        return None
    raise _not_understood(where, "its ids are unordered numbers with gaps, so the test row of each id is unclear")


def _read_example(place: Path) -> tuple[str, bytes] | None:
    """Name and content of the example file for `place`; None if there is none.

    Searched in this order: `place` itself if it is a zip file, the file in the folder, the folder's zip files.
    """
    folder = place if place.is_dir() else place.parent
    if place.is_file():
        found = _example_in_zip(place)
        if found is not None:
            return found
    if (folder / EXAMPLE).is_file():
        return f"{folder / EXAMPLE}", atomic.read_bytes(folder / EXAMPLE, MOST_BYTES)
    for path in sorted(folder.glob("*.zip")):
        found = None if path == place else _example_in_zip(path)
        if found is not None:
            return found
    return None


def _example_in_zip(path: Path) -> tuple[str, bytes] | None:
    if not zipfile.is_zipfile(path):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                name = member.filename
                if name.rpartition("/")[2] == EXAMPLE and not name.startswith("__MACOSX/"):
                    if member.file_size > MOST_BYTES:
                        raise FerKitError(f"{path}:{name}: larger than {MOST_BYTES:,} bytes; {MOVE_IT}")
                    return f"{path}:{name}", archive.read(member)
    except unzip.UNREADABLE as error:
        raise FerKitError(f"{path}: damaged or unreadable zip ({error}); download it again") from None
    return None


def _not_understood(where: str, why: str) -> FerKitError:
    return FerKitError(f"{where}: unclear format: {why}; {MOVE_IT}")
