"""What every format of the data gives: where its rows lie, and the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fer_kit.data.archives import Source
from fer_kit.data.csv_reader import MOST_ROWS, USAGES, Faces

__all__ = ["MOST_ROWS", "Format", "Found", "Rows", "in_content_order", "part"]

UNKNOWN_HALF = len(USAGES)  # code of a test row that may belong to either half


@dataclass(frozen=True)
class Rows:
    """Train and test rows, each in its order.

    test.labels and test.usage are of shape (0,) if the format has no labels of test rows.
    """

    train: Faces
    test: Faces


@dataclass(frozen=True)
class Found:
    """Data of one format.

    sources: the files that are read. keys: a name of each source, which identifies the content of the cache together
    with the content of the files. read: reads the rows. labelled_test: whether the test rows have labels. unordered:
    why the order of the rows may differ from the competition's; "" if the format keeps the order. in_file_order:
    whether the rows are in the order of the files, which is then compared with the genuine order.
    """

    sources: Sequence[Source]
    keys: Sequence[str]
    read: Callable[[], Rows]
    labelled_test: bool
    unordered: str = ""
    in_file_order: bool = True


class Format(Protocol):
    """A module of this folder. TEXT describes the format in a few words, for messages."""

    TEXT: str

    def find(self, place: Path) -> Found | None:
        """The data of this format at `place`, a folder or a file; None if there are none.

        Raises:
            FerKitError: a part of the data is missing, or a file is damaged.
        """


def in_content_order(faces: Faces) -> Faces:
    """The rows sorted by pixels, then label.

    The order then depends on the content alone, not on names, folders or archives, and tells nothing about the class.
    """
    flat = np.ascontiguousarray(faces.images.reshape(len(faces.images), -1))
    _, rank = np.unique(flat.view(f"V{flat.shape[1]}").ravel(), return_inverse=True)  # identical images are tied
    order = np.lexsort((faces.usage, faces.labels, rank))
    return Faces(faces.images[order], faces.labels[order], faces.usage[order])


def part(rows: Faces, which: slice | NDArray[np.bool_]) -> Faces:
    """Some of the rows, as copies, so that no train array is a view of memory that also holds test labels."""
    return Faces(rows.images[which].copy(), rows.labels[which].copy(), rows.usage[which].copy())
