"""The forms in which people have the data, a module each. A new format is a new module and a line in FORMATS.

Where a place has several, the first format of the list is read.
"""

from __future__ import annotations

from pathlib import Path

from fer_kit.data.formats import fer2013_csv, image_folders, parquet, train_and_test
from fer_kit.data.formats.rows import Format, Found

FORMATS: tuple[Format, ...] = (
    train_and_test,
    fer2013_csv,
    parquet,
    image_folders,
)


def find(place: Path) -> Found | None:
    """The data at `place`, a folder or a file, in the first format that has some; None without data.

    Raises:
        FerKitError: a part of the data is missing, or a file is damaged.
    """
    return next((found for one in FORMATS if (found := one.find(place)) is not None), None)
