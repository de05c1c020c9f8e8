"""Soft targets: class shares to train on beside or instead of labels, made by teachers (see `ensembles.targets`).

| key | what |
| --- | --- |
| train | float32 (S, N, 7), each row of shares sums to 1, or is NaN where this student may not have it; may be absent |
| test | float32 (S, M, 7), likewise for test rows, which are then trained on too (pseudo-labels); may be absent |
| meta | one JSON string: schema, name, scheme, teachers, folds (how many), folds_digest, data_digest |

S is 1 where all students get the same, else folds + 1: a set for the student of each fold, the full fit's last. A run
names its targets by NAME@ and the first 16 digits of the file's sha256, so that its config does not hang on a path.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_kit.competition import NUM_CLASSES
from fer_kit.errors import FerKitError
from fer_kit.files import atomic, npz
from fer_kit.folds.fold_spec import Fold

Shares = NDArray[np.float32]

SCHEMA = 1
META_KEYS = ("schema", "name", "scheme", "teachers", "folds", "folds_digest", "data_digest")
SETTING = "targets="
_AGAIN = "make it again with python -m ensembles.targets"


@dataclass(frozen=True, eq=False)
class SoftTargets:
    """What the file holds, checked."""

    train: Shares | None
    test: Shares | None
    meta: dict[str, Any]

    def __post_init__(self) -> None:
        if not isinstance(self.meta, dict):
            raise FerKitError(f"meta is a {type(self.meta).__name__}, allowed is a JSON object; {_AGAIN}")
        missing = [key for key in META_KEYS if key not in self.meta]
        if missing or self.meta["schema"] != SCHEMA:
            raise FerKitError(f"meta lacks {', '.join(missing) or f'schema {SCHEMA}'}; {_AGAIN}")
        if type(self.meta["folds"]) is not int or self.meta["folds"] < 2:
            raise FerKitError(f"meta 'folds' is {self.meta['folds']!r}, allowed is a whole number from 2; {_AGAIN}")
        if not isinstance(self.meta["name"], str):
            raise FerKitError(f"meta 'name' is {self.meta['name']!r}, allowed is a text; {_AGAIN}")
        if self.train is None and self.test is None:
            raise FerKitError(f"holds neither train nor test rows; {_AGAIN}")
        for what, shares in (("train", self.train), ("test", self.test)):
            if shares is not None:
                _check(what, shares, self.meta["folds"])

    def of(self, fold: Fold) -> tuple[Shares | None, Shares | None]:
        """Train shares (N, 7) and test shares (M, 7) for the student of `fold`.

        Raises:
            FerKitError: `fold` leaves out two folds: such a network is a teacher, and would need teachers of its own.
        """
        if isinstance(fold, tuple) and fold:
            raise FerKitError("--set targets=… with two folds left out: a teacher has no teachers; leave one out")
        student = fold if isinstance(fold, int) else int(self.meta["folds"])
        train, test = (
            None if shares is None else shares[0 if len(shares) == 1 else student] for shares in (self.train, self.test)
        )
        return train, test


def write(path: Path, targets: SoftTargets) -> None:
    """Write `targets` to `path`, whole or not at all; the same give the same bytes."""
    arrays: dict[str, Any] = {"meta": np.array(json.dumps(targets.meta, sort_keys=True, allow_nan=False))}
    for name, shares in (("train", targets.train), ("test", targets.test)):
        if shares is not None:
            arrays[name] = shares
    with atomic.replacing(path) as file:
        np.savez(file, **arrays)


def read(path: Path) -> SoftTargets:
    """The targets in `path`.

    Raises:
        FerKitError: no such file, not such a file, or against the table at the top of the module.
    """
    if not path.is_file():
        raise FerKitError(f"{path}: no such file; make targets with python -m ensembles.targets")
    try:
        arrays = npz.read(path, ("train", "test", "meta"), _AGAIN)
        meta = atomic.parse_json(arrays["meta"].item())
    except FerKitError as error:
        raise FerKitError(f"{path}: no targets file: {error}") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FerKitError(f"{path}: no targets file (no meta that can be read: {error}); {_AGAIN}") from None
    try:
        return SoftTargets(arrays.get("train"), arrays.get("test"), meta)
    except FerKitError as error:
        raise FerKitError(f"{path}: {error}") from None


def named(setting: str) -> tuple[str, SoftTargets | None]:
    """`targets=FILE` as the setting that a config keeps, `targets=NAME@digest`, and what FILE holds; other settings as
    they are.

    Raises:
        FerKitError: no such file, or none of targets.
    """
    key, _, text = setting.partition("=")
    if key.strip() != SETTING[:-1] or not text.strip():
        return setting, None
    path = Path(text.strip())
    targets = read(path)
    return f"{SETTING}{targets.meta['name']}@{atomic.sha256_of(path)[:16]}", targets


def open_named(path: Path | None, name: str) -> SoftTargets:
    """Read the targets that a config calls `name` from `path`.

    Raises:
        FerKitError: another file than the config was made for.
    """
    if path is None or atomic.sha256_of(path)[:16] != re.sub(".*@", "", name):
        raise FerKitError(f"{path}: not the targets {name} that the run was begun with; put that file back")
    return read(path)


def _check(what: str, shares: Any, folds: int) -> None:
    fits = isinstance(shares, np.ndarray) and shares.dtype == np.float32 and shares.ndim == 3
    if not fits or shares.shape[2] != NUM_CLASSES or len(shares) not in (1, folds + 1):
        found = f"{shares.dtype} of shape {shares.shape}" if isinstance(shares, np.ndarray) else type(shares).__name__
        raise FerKitError(f"{what} is {found}, allowed is float32 (1 or {folds + 1}, rows, {NUM_CLASSES}); {_AGAIN}")
    given = ~np.isnan(shares).all(axis=2)
    if (
        not ((shares[given] >= 0) & (shares[given] <= 1.001)).all()
        or (np.abs(shares[given].sum(axis=1) - 1) >= 1e-3).any()
    ):
        raise FerKitError(f"{what} holds rows that are no shares: they must be 0 or more and sum to 1; {_AGAIN}")
