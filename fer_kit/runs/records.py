"""result.json and blend.json: the finished marks of a fold and of a blend, read back and held against their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.folds import fold_spec

RESULT, BLEND, OOF, TEST = "result.json", "blend.json", "oof.npz", "test.npz"
STORED_SCORE_TOLERANCE = 1e-6  # a mix-up of rows moves an accuracy by more than rounding ever does

HASHED = {OOF: "oof_sha256", TEST: "test_sha256"}


def read(folder: Path, name: str) -> dict[str, Any] | None:
    """result.json or blend.json, once the two prediction files beside it are the ones it names; None without it."""
    path = folder / name
    if not path.is_file():
        return None
    record = atomic.read_json(path)
    if not isinstance(record, dict):
        raise FerKitError(f"{path}: not a JSON object; make this folder again")
    for file, key in HASHED.items():
        full = file == OOF and record.get("fold") == fold_spec.FULL
        if not full and not (folder / file).is_file():
            raise FerKitError(f"{folder / file}: missing, though {name} says it was written; make this folder again")
        if not full and atomic.sha256_of(folder / file) != field(path, record, key, str):
            raise FerKitError(f"{folder / file}: changed since {name} was written; make this folder again")
    return record


def field(path: Path, record: dict[str, Any], key: str, kind: type[Any]) -> Any:
    """`record[key]`, or FerKitError where it is not of `kind`."""
    value = record.get(key)
    if type(value) is not kind:
        raise FerKitError(f"{path}: '{key}' is {value!r}, allowed is {kind.__name__}; make this folder again")
    return value


def check_accuracy(path: Path, record: dict[str, Any], accuracy: float) -> None:
    """Raise FerKitError unless `oof_accuracy` in the record at `path` is `accuracy`, which its rows give."""
    stored = field(path, record, "oof_accuracy", float)
    if not abs(stored - accuracy) <= STORED_SCORE_TOLERANCE:  # `not <=`, so that NaN is refused too
        raise FerKitError(
            f"{path}: oof_accuracy is {stored:.6f}, the rows of {OOF} give {accuracy:.6f}; "
            "rows, labels or files were mixed up: make this folder again"
        )


def check_blend(path: Path, record: dict[str, Any]) -> None:
    """Raise FerKitError unless what the blend.json at `path` says of its making has the form that readers rely on."""

    def need(here: Any, key: str, *kinds: type[Any]) -> Any:
        if not isinstance(here, dict) or key not in here or type(here[key]) not in kinds:
            raise FerKitError(f"{path}: '{key}' is missing or of another kind; make this blend again with --force")
        return here[key]

    learned = bool(record.get("learned"))
    for key, kind in (("asked", str), ("pool", str), ("tempered", bool)) if learned else ():
        need(record, key, kind)
    for member in need(record, "members", list):
        need(member, "run", str)
        need(member, "weight", float, int, type(None))
        for source in need(member, "sources", list) if learned else ():
            need(source, "path", str)
            need(source, "sha256", dict)
    for accuracy in need(record, "fold_accuracies", list):
        need({"fold_accuracies": accuracy}, "fold_accuracies", float, int)
    if twins := record.get("twins"):
        need(twins, "mode", str)
        need(twins, "blend", str)
        need(twins, "rows", int)
        need(twins, "rows_changed", int)
        need(need(twins, "without", dict), "oof_accuracy", float)
    if forecast := record.get("forecast"):
        need(forecast, "accuracy", float)
