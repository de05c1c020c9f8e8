"""The local folds as a short text that travels with the script, so that what Kaggle trains blends with local runs.

Made again on Kaggle, folds come out different: with the image's scikit-learn 1.6 the same rows were seen to be dealt
otherwise than with a newer one. The text holds group and fold of each train row, no label and no pixel; the kernel
takes the labels from its own data and checks the digest.
"""

from __future__ import annotations

import base64
import hashlib
import lzma
import zlib
from pathlib import Path

import numpy as np

from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.folds import table as fold_files
from fer_kit.folds.table import Folds, Ints

_GROUP, _FOLD = np.dtype("<i4"), np.dtype("u1")


def encode(folds: Folds) -> str:
    """Groups (as steps from row to row) and folds, compressed, in base85.

    Raises:
        FerKitError: folds.csv is not as `fer_kit.folds` writes it, so that it could not be made again from this.
    """
    table = fold_files.table_of(fold_files.COLUMNS, folds.ids, folds.labels, folds.groups, folds.folds)
    if hashlib.sha256(table).hexdigest() != folds.digest:
        raise FerKitError(f"folds.csv (digest {folds.digest[:12]}) was edited by hand; {fold_files.REMAKE}")
    steps = np.diff(folds.groups, prepend=0).astype(_GROUP).tobytes()
    return base64.b85encode(lzma.compress(steps + folds.folds.astype(_FOLD).tobytes(), preset=9)).decode("ascii")


def decode(text: str) -> tuple[Ints, Ints]:
    """Groups and folds, int64 (N,) each, of a text from `encode`.

    Raises:
        FerKitError: the text was damaged.
    """
    try:
        packed = lzma.decompress(base64.b85decode("".join(text.split())))
        rows = len(packed) // (_GROUP.itemsize + _FOLD.itemsize)
        steps = np.frombuffer(packed, _GROUP, rows)
        folds = np.frombuffer(packed, _FOLD, rows, offset=steps.nbytes)
    except (ValueError, lzma.LZMAError, zlib.error) as error:
        raise FerKitError(f"the folds in this script are damaged ({error}); build it again") from None
    return np.cumsum(steps, dtype=np.int64), folds.astype(np.int64)


def write(path: Path, text: str, labels: Ints, digest: str) -> None:
    """Write folds.csv from a text of `encode` and the labels of the train rows, int64 (N,).

    Raises:
        FerKitError: damaged, or the folds belong to other rows than these.
    """
    groups, folds = decode(text)
    if len(groups) != len(labels):
        raise FerKitError(
            f"the folds sent along are of {len(groups):,} train rows, the data here has {len(labels):,}; "
            "make the folds from the competition's own files and push again"
        )
    table = fold_files.table_of(fold_files.COLUMNS, np.arange(len(labels)), labels, groups, folds)
    found = hashlib.sha256(table).hexdigest()
    if found != digest:
        raise FerKitError(
            f"the folds sent along (digest {digest[:12]}) come out as {found[:12]} with the labels here: they were "
            "made from other rows; make them from the competition's own files and push again"
        )
    with atomic.replacing(path) as file:
        file.write(table)
