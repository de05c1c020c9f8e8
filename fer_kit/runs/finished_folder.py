"""The files of a finished fold or blend: their names, and checks that they are those that its record was written for.

result.json (blend.json) is written last and holds the sha256 of the other files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.folds import fold_spec
from fer_kit.runs.training_record import read_object, read_result

RESULT, BLEND, OOF, TEST = "result.json", "blend.json", "oof.npz", "test.npz"
STORED_SCORE_TOLERANCE = 1e-6  # rounding changes an accuracy by less, mixed-up rows by more

WEIGHTS, WEIGHTS_SHA256 = "model.safetensors", "model_sha256"
HASHED = {OOF: "oof_sha256", TEST: "test_sha256"}


def read(folder: Path, name: str) -> dict[str, Any] | None:
    """result.json or blend.json in `folder`, after a check of the prediction files' hashes; None if missing.

    Raises:
        FerKitError: the record is not a JSON object, a number of it is none, or a prediction file is missing or has
            changed.
    """
    path = folder / name
    if not path.is_file():
        return None
    record = read_result(path) if name == RESULT else read_object(path)
    # a full fit has no oof.npz
    for file, key in HASHED.items():
        full = file == OOF and record.get("fold") == fold_spec.FULL
        if not full and not (folder / file).is_file():
            raise FerKitError(f"{folder / file}: missing, but {name} has its hash; make this folder again")
        if not full and atomic.sha256_of(folder / file) != field(path, record, key, str):
            raise FerKitError(f"{folder / file}: changed since {name} was written; make this folder again")
    return record


def is_finished(folder: Path | str) -> bool:
    """Whether a fold folder holds result.json and the prediction files that it was written for."""
    try:
        return read(Path(folder), RESULT) is not None
    except FerKitError:
        return False


def field(path: Path, record: dict[str, Any], key: str, kind: type[Any]) -> Any:
    """`record[key]`, or a FerKitError if the value is not of type `kind`. path: of the record, for the error text."""
    value = record.get(key)
    if type(value) is not kind:
        raise FerKitError(f"{path}: '{key}' is {value!r}, allowed is {kind.__name__}; make this folder again")
    return value


def check_weights(folder: Path) -> None:
    """Compare the weights of a finished fold with their hash in result.json, which older versions did not write.

    Raises:
        FerKitError: the weights are missing or have changed.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        raise FerKitError(f"{path}: no such file; restore it, or train this fold again")
    record = atomic.read_json(folder / RESULT)
    stored = record.get(WEIGHTS_SHA256) if isinstance(record, dict) else None
    if stored is not None and atomic.sha256_of(path) != stored:
        raise FerKitError(f"{path}: changed since {RESULT} was written; restore it, or train this fold again")


def check_accuracy(path: Path, stored: float, accuracy: float) -> None:
    """Raise FerKitError unless `stored`, from the record at `path`, equals the accuracy computed from the rows."""
    if not abs(stored - accuracy) <= STORED_SCORE_TOLERANCE:  # `not <=`, so that NaN is refused too
        raise FerKitError(
            f"{path}: oof_accuracy is {stored:.6f}, but the rows of {OOF} give {accuracy:.6f}; "
            "rows, labels or files were mixed up: make this folder again"
        )
