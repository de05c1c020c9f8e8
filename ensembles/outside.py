"""Members that other people made: a folder with oof.npz and test.npz that keep the contract.

Rows may stand in any order in these files: they are put in order of their ids.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fer_kit import metrics
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.runs import folders, predictions
from fer_kit.runs.folders import BLEND, OOF, RESULT, TEST
from fer_kit.runs.predictions import Predictions

_OUT_OF_ORDER = "ids are not ascending"  # how `predictions.validate` says it


def load(folder: Path) -> tuple[Predictions, Predictions, dict[str, str]]:
    """The out-of-fold predictions, the test predictions, and the sha256 of both files.

    Raises:
        FerKitError: a file missing or against the contract, no labels, files that do not belong together, hashes or
            a score beside them (in result.json or blend.json) that they do not give.
    """
    oof, test = _read(folder / OOF), _read(folder / TEST)
    if oof.labels is None:
        raise FerKitError(f"{folder / OOF}: carries no labels, so it cannot be scored; write it with labels")
    if test.labels is not None:
        raise FerKitError(f"{folder / TEST}: carries labels, so it predicts train rows; put the test rows there")
    predictions.same_meta([oof, test], ("run", "config_digest", "folds_digest", "data_digest"), f"{folder}")
    if oof.meta.get("twins") or test.meta.get("twins"):
        raise FerKitError(
            f"{folder}: had its twins looked up, so its out-of-fold rows know the labels of their twins; take the "
            "files of the blend without, and give --twins"
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
    arrays = predictions.read_arrays(path)  # they were read once already: only their order is off
    ids, counts = np.unique(arrays["ids"], return_counts=True)
    if (counts > 1).any():
        raise FerKitError(f"{path}: id {ids[np.argmax(counts > 1)]} stands there twice; predict each row once")
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
    """What stands beside the files about them must be so."""
    record = atomic.read_json(path)
    if not isinstance(record, dict):
        raise FerKitError(f"{path}: not a JSON object; remove it or make this folder again")
    for name, digest in sha256.items():
        stored = record.get(f"{Path(name).stem}_sha256", digest)
        if stored != digest:
            raise FerKitError(f"{path.with_name(name)}: changed since {path.name} was written; make this folder again")
    accuracy = metrics.accuracy(oof.logits, np.asarray(oof.labels))
    stored = record.get("oof_accuracy", accuracy)
    if type(stored) is not float or not abs(stored - accuracy) <= folders.STORED_SCORE_TOLERANCE:
        raise FerKitError(
            f"{path}: oof_accuracy is {stored}, the rows of {OOF} joined by id give {accuracy:.6f}; "
            "rows, labels or files were mixed up: make this folder again"
        )
