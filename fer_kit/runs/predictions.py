"""The prediction file, the interface between training, blending and submissions: logits of rows with their ids.

| key | type | rule |
| --- | --- | --- |
| ids | int64 (N,) | row numbers of train.csv or test.csv, unique, ascending |
| logits | float32 (N, 7) | before softmax, finite, mean over test-time views, columns in label order |
| labels | int64 (N,) | only in oof.npz |
| meta | one JSON string | the keys of `META_KEYS` |

The file is an uncompressed .npz, read without pickle. Logits are float32: float16 changes some argmaxes and overflows
at 65,504, and float64 doubles the size without benefit.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_kit.competition import CLASSES, NUM_CLASSES
from fer_kit.errors import FerKitError, first_line
from fer_kit.files import atomic, npz

SCHEMA = 1
FEWEST_VOTES = 20  # rows; fewer can have equal sums by chance
META_KEYS = (
    "schema",  # 1
    "classes",  # the seven names in column order
    "recipe",
    "run",
    "fold",  # a fold number; a list of fold numbers if folds are joined or averaged
    "epoch",
    "views",  # the test-time views over which the logits are averaged
    "config_digest",
    "folds_digest",
    "data_digest",
    "commit",  # of the code that predicted
)
_TEXT_KEYS = ("recipe", "run", "config_digest", "folds_digest", "data_digest")
_SAME_IN_A_RUN = ("recipe", "run", "config_digest", "folds_digest", "data_digest", "views")
_AGAIN = "predict these rows again"
_ARRAYS = {"ids": True, "logits": True, "meta": True, "labels": False}  # name: required


@dataclass(frozen=True, eq=False)
class Predictions:
    """Logits of N rows by a fold, a run or a blend.

    ids: int64 (N,). logits: float32 (N, 7). meta: JSON values with the keys `META_KEYS`. labels: int64 (N,) or None.

    Raises:
        FerKitError: as `validate`.
    """

    ids: NDArray[np.int64]
    logits: NDArray[np.float32]
    meta: dict[str, Any]
    labels: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        validate(self.ids, self.logits, self.meta, self.labels)

    def __len__(self) -> int:
        return len(self.ids)


def build_meta(
    *,
    recipe: str,
    run: str,
    fold: int | list[int],
    epoch: Any,
    views: Any,
    config_digest: str,
    folds_digest: str,
    data_digest: str,
    commit: Any,
) -> dict[str, Any]:
    """The meta of new predictions, with schema and classes of this version."""
    values = (recipe, run, fold, epoch, views, config_digest, folds_digest, data_digest, commit)
    return dict(zip(META_KEYS, (SCHEMA, list(CLASSES), *values), strict=True))


def validate(ids: Any, logits: Any, meta: Any, labels: Any = None) -> None:
    """Check the parts of a prediction file against the rules in the table at the top of this module.

    Raises:
        FerKitError: a rule is broken; the message has the value found.
    """
    _check_array("ids", ids, np.int64, None)
    rows = len(ids)
    if rows == 0:
        raise FerKitError("ids are empty; predictions need at least one row")
    if ids[0] < 0:
        raise FerKitError(f"ids hold {ids[0]}; allowed are row numbers from 0")
    steps = np.flatnonzero(ids[1:] <= ids[:-1])
    if len(steps):
        before, after = ids[steps[0]], ids[steps[0] + 1]
        raise FerKitError(f"ids are not ascending and unique: {before} is followed by {after}; sort the rows by id")
    _check_array("logits", logits, np.float32, rows, NUM_CLASSES)
    wrong = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if len(wrong):
        raise FerKitError(
            f"logits of id {ids[wrong[0]]} are not finite ({len(wrong):,} such rows); predict these rows again"
        )
    _refuse_probabilities(logits)
    if labels is not None:
        _check_array("labels", labels, np.int64, rows)
        outside = np.flatnonzero((labels < 0) | (labels >= NUM_CLASSES))
        if len(outside):
            at = outside[0]
            raise FerKitError(f"label of id {ids[at]} is {labels[at]}; allowed are 0 to {NUM_CLASSES - 1}")
    _check_meta(meta)


def write(path: Path | str, predictions: Predictions) -> None:
    """Write `predictions` to `path`, as a whole or not at all. The same predictions give the same bytes.

    Raises:
        FerKitError: the file cannot be written.
    """
    arrays: dict[str, Any] = {"ids": predictions.ids, "logits": predictions.logits}
    if predictions.labels is not None:
        arrays["labels"] = predictions.labels
    arrays["meta"] = np.array(json.dumps(predictions.meta, sort_keys=True, allow_nan=False))
    with atomic.replacing(path) as file:
        np.savez(file, **arrays)


def read(path: Path | str) -> Predictions:
    """Read the predictions in `path`.

    Raises:
        FerKitError: the file is missing, truncated or not an .npz, or breaks a rule. No other error is raised.
    """
    try:
        arrays = read_arrays(Path(path))
        return Predictions(arrays["ids"], arrays["logits"], _parse_meta(arrays["meta"]), arrays.get("labels"))
    except FerKitError as error:
        raise FerKitError(f"{path}: {error}") from None


def join(parts: Sequence[Predictions], where: str, *, rows: int | None = None, partial: bool = False) -> Predictions:
    """Join the folds of a run, with rows sorted by id.

    Args:
        parts: one or more folds of a run, in any order, without common rows.
        where: start of error texts, such as "runs/attention".
        rows: number of all rows, with ids 0 to rows − 1; None for the largest id + 1.
        partial: allow missing ids.

    Returns:
        Predictions whose meta has the sorted list of folds as `fold`, and the list of their epochs as `epoch`.

    Raises:
        FerKitError: parts differ in config, folds, data, recipe or views; a fold is given twice; ids are missing or
            repeated; only some parts have labels.
    """
    if not parts:
        raise FerKitError(f"{where}: no predictions to join; train at least one fold")
    parts = sorted(parts, key=lambda part: _folds_of(part))
    same_meta(parts, _SAME_IN_A_RUN, where)
    folds = [fold for part in parts for fold in _folds_of(part)]
    for fold in folds:
        if folds.count(fold) > 1:
            raise FerKitError(f"{where}: fold {fold} is given twice; give each fold once")
    ids = np.concatenate([part.ids for part in parts])
    order = np.argsort(ids, kind="stable")
    _check_cover(ids[order], where, rows, partial)
    labels = [part.labels for part in parts if part.labels is not None]
    if labels and len(labels) < len(parts):
        raise FerKitError(
            f"{where}: some folds have labels and some have none; join either oof.npz files or test.npz files"
        )
    commits = [part.meta["commit"] for part in parts]
    meta = {
        **parts[0].meta,
        "fold": folds,
        "epoch": [part.meta["epoch"] for part in parts],
        "commit": commits[0] if all(commit == commits[0] for commit in commits) else commits,
    }
    return Predictions(
        ids[order],
        np.concatenate([part.logits for part in parts])[order],
        meta,
        np.concatenate(labels)[order] if labels else None,
    )


def same_meta(parts: Sequence[Predictions], keys: Sequence[str], where: str) -> None:
    """Check that the meta of all parts have the same values of `keys`. where: start of the error text.

    Raises:
        FerKitError: a value differs; the message names the key and both values with their runs.
    """
    first = parts[0].meta
    for part in parts[1:]:
        for key in keys:
            if part.meta[key] != first[key]:
                raise FerKitError(
                    f"{where}: {key} differs: {_short(first[key])} in {_who(first)}, "
                    f"{_short(part.meta[key])} in {_who(part.meta)}; use only predictions with the same {key}"
                )


def _check_array(name: str, value: Any, dtype: type[np.generic], rows: int | None, *columns: int) -> None:
    if not isinstance(value, np.ndarray):
        found, fits = type(value).__name__, False
    else:
        found = f"{value.dtype} of shape {value.shape}"
        shape = (value.shape[:1] if rows is None else (rows,)) + columns
        fits = value.dtype == dtype and value.ndim == 1 + len(columns) and value.shape == shape
    if not fits:
        wanted = ", ".join(map(str, ("N" if rows is None else rows, *columns)))
        raise FerKitError(f"{name} are {found}, allowed is {np.dtype(dtype)} of shape ({wanted})")


def _refuse_probabilities(logits: NDArray[np.float32]) -> None:
    """Raise FerKitError if all rows are probabilities, percentages or votes, which would blend as weak logits."""
    sums = logits.sum(axis=1, dtype=np.float64)
    if logits.min() < 0 or sums.max() <= 0:
        return
    rounded = 0.035  # by which seven values miss their sum if they were rounded to two digits
    forms = [(1.0, "probabilities", rounded), (100.0, "percentages", rounded)]
    if len(logits) >= FEWEST_VOTES:
        forms.append((float(np.median(sums)), "shares or votes", 0.005))
    for whole, words, tolerance in forms:
        if (np.abs(sums - whole) <= tolerance * whole).all():
            values = "" if whole == 1 else f" with p = values / {whole:g}"
            raise FerKitError(
                f"logits are {words} (each row is 0 or more and sums to {whole:g}); store the logarithm of the "
                f"probabilities p: np.log(np.maximum(p, 1e-7)){values}"
            )


def _check_meta(meta: Any) -> None:
    if not isinstance(meta, dict):
        raise FerKitError(f"meta is a {type(meta).__name__}, allowed is a JSON object")
    if "schema" in meta and meta["schema"] != SCHEMA:
        raise FerKitError(f"meta has schema {meta['schema']!r}, this version reads {SCHEMA}; update fer_kit")
    for key in META_KEYS:
        if key not in meta:
            raise FerKitError(f"meta has no '{key}'; allowed is a JSON object with {', '.join(META_KEYS)}")
    if meta["classes"] != list(CLASSES):
        raise FerKitError(f"classes are {meta['classes']!r}, allowed is the order {', '.join(CLASSES)}")
    for key in _TEXT_KEYS:
        if not isinstance(meta[key], str) or not meta[key]:
            raise FerKitError(f"meta '{key}' is {meta[key]!r}, allowed is a non-empty text")
    folds = meta["fold"] if isinstance(meta["fold"], list) else [meta["fold"]]
    if not folds or any(type(fold) is not int for fold in folds):  # `type`, because True is an int to isinstance
        raise FerKitError(f"meta 'fold' is {meta['fold']!r}, allowed is a fold number or a list of fold numbers")
    try:
        json.dumps(meta, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise FerKitError(
            f"meta is not plain JSON ({first_line(error)}); allowed are texts and finite numbers"
        ) from None


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a prediction file by name, without a check of their values.

    Raises:
        FerKitError: the file is missing, truncated or not an .npz of plain arrays, or has other names. The message does
            not name the file.
    """
    arrays = npz.read(path, _ARRAYS, _AGAIN)
    for name, required in _ARRAYS.items():
        if required and name not in arrays:
            raise FerKitError(f"has no '{name}', allowed are {', '.join(_ARRAYS)}; {_AGAIN}")
    return arrays


def _parse_meta(value: NDArray[Any]) -> Any:
    if value.dtype.kind != "U" or value.ndim != 0:
        raise FerKitError(f"meta is {value.dtype} of shape {value.shape}, allowed is one JSON string")
    try:
        return atomic.parse_json(value.item())
    except (ValueError, RecursionError) as error:
        raise FerKitError(f"meta is not JSON ({first_line(error)})") from None


def _check_cover(ids: NDArray[np.int64], where: str, rows: int | None, partial: bool) -> None:
    """Check sorted ids: no repeats, none outside `rows`, and no gaps unless `partial`."""
    repeats = np.flatnonzero(ids[1:] == ids[:-1])
    if len(repeats):
        raise FerKitError(f"{where}: id {ids[repeats[0]]} is predicted by two folds; use folds made by one folds.csv")
    rows = int(ids[-1]) + 1 if rows is None else rows
    if ids[-1] >= rows:
        raise FerKitError(f"{where}: id {ids[-1]} is predicted, allowed are ids 0 to {rows - 1:,}")
    if len(ids) < rows and not partial:
        first = np.setdiff1d(np.arange(rows), ids, assume_unique=True)[0]
        raise FerKitError(f"{where}: {rows - len(ids):,} ids are missing, the first is {first}; finish every fold")


def _folds_of(part: Predictions) -> list[int]:
    fold = part.meta["fold"]
    return list(fold) if isinstance(fold, list) else [fold]


def _who(meta: dict[str, Any]) -> str:
    return f"{meta['run']} fold {meta['fold']}"


def _short(value: Any) -> str:
    """The first 12 digits of a digest; other values as text."""
    text = str(value)
    return text[:12] if len(text) == 64 else text
