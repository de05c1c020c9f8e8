"""Votes of FER+: ten people's labels for each row of fer2013.csv (Barsoum et al., arXiv 1608.01041), as soft targets.

The file fer2013new.csv has the rows of fer2013.csv in their order, with the columns Usage, Image name, eight classes,
unknown and NF (not a face). Only the votes for the train rows are used: those for test rows would be labels of test
rows. Votes for contempt, unknown and NF name none of the seven classes and are left out.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_kit.competition import CLASSES, NUM_CLASSES
from fer_kit.data.class_words import class_of
from fer_kit.data.csv_reader import USAGES, shown, split_fields
from fer_kit.errors import FerKitError
from fer_kit.files import atomic

MOST_BYTES = 16 << 20  # the file has 2 MB
MOST_VOTES = 1_000
_WITHOUT_CLASS = ("contempt", "unknown", "nf")
_AGAIN = "get fer2013new.csv of FER+ again"


def read(path: Path) -> NDArray[np.float32]:
    """The share of the votes for each class, float32 (N, 7), a row for each train row; NaN where no vote is left.

    Raises:
        FerKitError: the file cannot be read, has other columns, or a row has a fault (named with its line).
    """
    try:
        content = atomic.read_bytes(path, MOST_BYTES)
    except OSError as error:
        raise FerKitError(f"{path}: cannot be read ({error.strerror or error})") from None
    lines = content.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").split(b"\n")
    delimiter = b";" if b";" in lines[0] else b"\t" if b"\t" in lines[0] else b","
    header = [field.strip().lower() for field in split_fields(lines[0], f"{path}: the header", delimiter=delimiter)]
    columns = {label: place for place, name in enumerate(header) if (label := class_of(name)) is not None}
    left_out = [header.index(name) for name in _WITHOUT_CLASS if name in header]
    if len(columns) != NUM_CLASSES or not {"usage", "image name"} <= set(header) or len(set(header)) != len(header):
        raise FerKitError(
            f"{path}: is no file of FER+ votes: needs the columns Usage, Image name and one for each of "
            f"{', '.join(CLASSES)} (found: {shown(', '.join(header))}); {_AGAIN}"
        )
    votes: list[list[int]] = []
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        fields = [field.strip() for field in split_fields(line, where, delimiter=delimiter)]
        if len(fields) != len(header):
            raise FerKitError(f"{where}: has {len(fields)} fields, the header has {len(header)}; {_AGAIN}")
        usage, name = fields[header.index("usage")], fields[header.index("image name")]
        if usage not in USAGES:
            raise FerKitError(f"{where}: Usage is '{shown(usage)}', allowed are {', '.join(USAGES)}; {_AGAIN}")
        if usage != USAGES[0]:
            break  # the train rows come first, as in fer2013.csv
        due = f"fer{len(votes):07d}.png"
        if name not in ("", due):
            raise FerKitError(
                f"{where}: Image name is '{shown(name)}', must be {due} or empty, since the rows have the order of "
                f"fer2013.csv; {_AGAIN}"
            )
        counts = [_count(fields[place], where) for place in [columns[label] for label in range(NUM_CLASSES)]]
        for place in left_out:
            _count(fields[place], where)
        votes.append(counts)
    if not votes:
        raise FerKitError(f"{path}: has no votes for train rows; {_AGAIN}")
    table = np.array(votes, np.float32)
    total = table.sum(axis=1, keepdims=True)
    shares: NDArray[np.float32] = np.where(total > 0, table / np.maximum(total, 1), np.float32(np.nan))
    return shares


def _count(text: str, where: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", text) or int(text) > MOST_VOTES:
        raise FerKitError(f"{where}: '{shown(text)}' is no number of votes, allowed are 0 to {MOST_VOTES:,}; {_AGAIN}")
    return int(text)
