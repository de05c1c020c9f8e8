"""Faces that are cropped already: a csv with a column of pixels, or an .npz with an array of faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_kit.competition import SIDE_PX
from fer_kit.data import csv_reader
from fer_kit.data.csv_reader import PIXEL
from fer_kit.errors import FerKitError
from fer_kit.files import npz

SUFFIXES = (".csv", ".npz")
ARRAYS = ("faces", "images")
_OTHER_ARRAYS = ("labels", "ids")  # allowed beside the faces
_AGAIN = "write it again with numpy.savez(file, faces=array)"


def read(path: Path) -> NDArray[np.uint8]:
    """The faces in `path`, uint8 (N, 48, 48).

    Raises:
        FerKitError: the file is missing or damaged, or holds something else.
    """
    if not path.is_file():
        raise FerKitError("no such file" if not path.exists() else "not a regular file")
    if path.suffix.lower() == ".csv":
        with path.open("rb", buffering=0) as file:
            return csv_reader.read(file, path.name, (PIXEL,)).images
    arrays = npz.read(path, (*ARRAYS, *_OTHER_ARRAYS), _AGAIN)
    found = [arrays[name] for name in ARRAYS if name in arrays]
    if len(found) != 1:
        raise FerKitError(f"holds {', '.join(arrays) or 'nothing'}; {_AGAIN}, uint8 (N, {SIDE_PX}, {SIDE_PX})")
    [faces] = found
    if faces.dtype != np.uint8 or faces.ndim != 3 or faces.shape[1:] != (SIDE_PX, SIDE_PX) or not len(faces):
        raise FerKitError(
            f"faces are {faces.dtype} {faces.shape}; give uint8 (N, {SIDE_PX}, {SIDE_PX}) with N of 1 or more, grey "
            "values from 0 to 255"
        )
    return faces
