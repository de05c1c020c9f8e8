"""Members from other code: a folder with oof.npz and test.npz in the format of `fer_kit.runs.predictions`.

The rows of these files may be in any order; they are sorted by id.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fer_kit import metrics
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.runs import finished_folder, predictions
from fer_kit.runs.finished_folder import BLEND, OOF, RESULT, TEST
from fer_kit.runs.predictions import Predictions

_OUT_OF_ORDER = "ids are not ascending"  # part of the error text of `predictions.validate`


def load(folder: Path) -> tuple[Predictions, Predictions, dict[str, str]]:
    """The out-of-fold predictions, the test predictions, and the sha256 of both files by name.

    Raises:
        FerKitError: a file is missing or invalid, oof.npz has no labels, the files are of different runs, or their
            hashes or score differ from a result.json or blend.json in the folder.
    """
    oof, test = _read(folder / OOF), _read(folder / TEST)
    if oof.labels is None:
        raise FerKitError(f"{folder / OOF}: has no labels, so it cannot be scored; write the labels into the file")
    if test.labels is not None:
        raise FerKitError(
            f"{folder / TEST}: has labels, so its rows are train rows; put predictions of test rows there"
        )
    predictions.same_meta([oof, test], ("run", "config_digest", "folds_digest", "data_digest"), f"{folder}")
    if oof.meta.get("twins") or test.meta.get("twins"):
        raise FerKitError(
            f"{folder}: twins were looked up, so its out-of-fold predictions use the labels of twins; take the files "
            "of the blend without lookup, and add --twins"
        )
    sha256 = {name: atomic.sha256_of(folder / name) for name in (OOF, TEST)}
    for name in (RESULT, BLEND):
        if (folder / name).is_file():
            _check_record(folder / name, oof, sha256)
    return oof, test, sha256


def _read(path: Path) -> Predictions:
    try:
        return predictions.read(path)
    except FerKitError as error:
        if _OUT_OF_ORDER not in str(error):
            raise
    arrays = predictions.read_arrays(path)  # `read` has found no other fault before the order of the ids
    ids, counts = np.unique(arrays["ids"], return_counts=True)
    if (counts > 1).any():
        raise FerKitError(f"{path}: id {ids[np.argmax(counts > 1)]} occurs more than once; predict each row once")
    order = np.argsort(arrays["ids"])
    for name in arrays.keys() - {"meta"}:
        if arrays[name].shape[:1] != order.shape:
            raise FerKitError(f"{path}: {len(order):,} ids but {name} of shape {arrays[name].shape}; write it again")
        arrays[name] = arrays[name][order]
    meta = atomic.parse_json(arrays["meta"].item())
    try:
        return Predictions(arrays["ids"], arrays["logits"], meta, arrays.get("labels"))
    except FerKitError as error:
        raise FerKitError(f"{path}: {error}") from None


def _check_record(path: Path, oof: Predictions, sha256: dict[str, str]) -> None:
    """Raise FerKitError if the hashes or the score in the record at `path` are not those of the files."""
    record = atomic.read_json(path)
    if not isinstance(record, dict):
        raise FerKitError(f"{path}: not a JSON object; remove it or make this folder again")
    for name, digest in sha256.items():
        stored = record.get(f"{Path(name).stem}_sha256", digest)
        if stored != digest:
            raise FerKitError(f"{path.with_name(name)}: changed since {path.name} was written; make this folder again")
    if "oof_accuracy" in record:
        stored = finished_folder.field(path, record, "oof_accuracy", float)
        finished_folder.check_accuracy(path, stored, metrics.accuracy(oof.logits, np.asarray(oof.labels)))
