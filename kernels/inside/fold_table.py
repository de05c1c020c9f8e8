"""The local folds as a short text in the script, so that runs trained on Kaggle can be blended with local runs.

Folds made on Kaggle may differ: scikit-learn 1.6, which Kaggle's image has, gives other folds for the same rows than
newer versions. The text has group and fold of each train row, but no labels and no pixels. The kernel takes the labels
from its own data and checks the digest.
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
from fer_kit.folds.table import COLUMNS, REMAKE, Folds, Ints, table_of

_GROUP, _FOLD = np.dtype("<i4"), np.dtype("u1")


def encode(folds: Folds) -> str:
    """Groups (as differences between rows) and folds, compressed, in base85.

    Raises:
        FerKitError: folds.csv is not as `fer_kit.folds` writes it, so the kernel could not restore the same bytes.
    """
    table = table_of(COLUMNS, folds.ids, folds.labels, folds.groups, folds.folds)
    if hashlib.sha256(table).hexdigest() != folds.digest:
        raise FerKitError(f"folds.csv (digest {folds.digest[:12]}) was edited by hand; {REMAKE}")
    steps = np.diff(folds.groups, prepend=0).astype(_GROUP).tobytes()
    return base64.b85encode(lzma.compress(steps + folds.folds.astype(_FOLD).tobytes(), preset=9)).decode("ascii")


def decode(text: str) -> tuple[Ints, Ints]:
    """Groups and folds, int64 (N,) each, from a text of `encode`.

    Raises:
        FerKitError: the text is damaged.
    """
    try:
        packed = lzma.decompress(base64.b85decode("".join(text.split())))
        rows = len(packed) // (_GROUP.itemsize + _FOLD.itemsize)
        steps = np.frombuffer(packed, _GROUP, rows)
        folds = np.frombuffer(packed, _FOLD, rows, offset=steps.nbytes)
    except (ValueError, lzma.LZMAError, zlib.error) as error:
        raise FerKitError(f"the folds in this script are damaged ({error}); build the script again") from None
    return np.cumsum(steps, dtype=np.int64), folds.astype(np.int64)


def write(path: Path, text: str, labels: Ints, digest: str) -> None:
    """Write folds.csv from a text of `encode` and the labels of the train rows, int64 (N,).

    Raises:
        FerKitError: the text is damaged, or the folds belong to other rows.
    """
    groups, folds = decode(text)
    if len(groups) != len(labels):
        raise FerKitError(
            f"the folds in this script have {len(groups):,} train rows, but the data here has {len(labels):,}; "
            "make the folds from the competition's files and push again"
        )
    table = table_of(COLUMNS, np.arange(len(labels)), labels, groups, folds)
    found = hashlib.sha256(table).hexdigest()
    if found != digest:
        raise FerKitError(
            f"the folds in this script (digest {digest[:12]}) have digest {found[:12]} with the labels here, so they "
            "were made from other rows; make the folds from the competition's files and push again"
        )
    with atomic.replacing(path) as file:
        file.write(table)
