"""Whether rows are those of the genuine files: by their content, written as the genuine files write it.

Only the md5 sums of the genuine files are known. So images and labels are written as text in their order, in each
spelling that the genuine file may have (line ends, quotes), and compared by md5. Other line ends, separators, archives
or words for the classes do not matter then.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from fer_kit.data.csv_reader import USAGES, Faces

# Source: torchvision.datasets.FER2013, which has the same sums.
MD5 = {
    "train.csv": "3f0dfb3d3fd99c811a1299cb947e3131",
    "test.csv": "b02c2298636a634e8c2faabbf3ea9a23",
    "fer2013.csv": "f8428a1edbd21e88f42c73edd2a14f95",
    "icml_face_data.csv": "b114b9e04e6949e5fe8b6a98b3892b1d",
}
ROWS = {"train.csv": 28_709, "test.csv": 7_178, "fer2013.csv": 35_887, "icml_face_data.csv": 35_887}
_HEADERS = {
    "train.csv": "emotion,pixels",
    "test.csv": "pixels",
    "fer2013.csv": "emotion,pixels,Usage",
    "icml_face_data.csv": "emotion, Usage, pixels",
}
_BLOCK_ROWS = 512


def is_genuine(name: str, rows: Faces) -> bool:
    """Whether `rows` are the content of the genuine file `name`, with the columns that this file has."""
    return len(rows.images) == ROWS[name] and MD5[name] in md5_sums(name, rows)


def is_test_csv(images: NDArray[np.uint8]) -> bool:
    """Whether `images` are those of the genuine test.csv, in its order."""
    return is_genuine("test.csv", Faces(images, np.empty(0, np.int64), np.empty(0, np.uint8)))


def md5_sums(name: str, rows: Faces) -> set[str]:
    """The md5 sums of `rows`, written as the file `name` in each spelling."""
    found = set()
    sums = {spelling: _md5(_HEADERS[name]) for spelling in itertools.product(('"', ""), ("\n", "\r\n"))}
    for start in range(0, len(rows.images), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        texts = _texts(rows.images[block])
        for (quote, end), digest in sums.items():
            lines = _lines(name, texts, quote, rows.labels[block].tolist(), rows.usage[block].tolist())
            digest.update("".join(end + line for line in lines).encode())
    for (_, end), digest in sums.items():
        found.add(digest.hexdigest())  # without an end of the last line
        digest.update(end.encode())
        found.add(digest.hexdigest())
    return found


def _md5(text: str) -> hashlib._Hash:
    return hashlib.md5(text.encode(), usedforsecurity=False)


def _texts(images: NDArray[np.uint8]) -> list[str]:
    words = np.array([f"{value}" for value in range(256)], object)
    return [" ".join(words[image]) for image in images.reshape(len(images), -1)]


def _lines(name: str, texts: Sequence[str], quote: str, labels: Sequence[int], usage: Sequence[int]) -> Iterator[str]:
    for row, text in enumerate(texts):
        pixels = f"{quote}{text}{quote}"
        if name == "test.csv":
            yield pixels
        elif name == "train.csv":
            yield f"{labels[row]},{pixels}"
        elif name == "fer2013.csv":
            yield f"{labels[row]},{pixels},{USAGES[usage[row]]}"
        else:
            yield f"{labels[row]},{USAGES[usage[row]]},{pixels}"
