"""Soft targets: class probabilities to train on, with or instead of labels, made by teachers (see `ensembles.targets`).

| key | content |
| --- | --- |
| train | float32 (S, N, 7), probabilities of each train row, NaN if the row has no target for this student; optional |
| test | float32 (S, M, 7), likewise of each test row, which is then trained on too (pseudo-labels); optional |
| meta | a JSON string: schema, name, scheme, teachers, folds (their number), folds_digest, data_digest |

S is 1 if all students have the same targets, else folds + 1: a set for the student of each fold, then one for the full
fit. The config of a run names its targets by NAME@ and the first 16 digits of the file's sha256, so that it does not
depend on a path. Votes of FER+ (`fer_kit.data.fer_plus`) are such targets too: the same for all students, without folds
and digests, since they do not depend on any network.
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
from fer_kit.data import fer_plus
from fer_kit.errors import FerKitError
from fer_kit.files import atomic, npz
from fer_kit.folds.fold_spec import Fold

Shares = NDArray[np.float32]

SCHEMA = 1
META_KEYS = ("schema", "name", "scheme", "teachers", "folds", "folds_digest", "data_digest")
VOTES = "votes"  # scheme of targets made from votes of people
SETTING = "targets="
FOLDER = "targets"  # in the folder of runs
_AGAIN = "make it again with python -m ensembles.targets"


def path_of(runs_dir: Path, name: str) -> Path:
    """Where `fer-kit targets` keeps the soft targets `name`."""
    return runs_dir / FOLDER / f"{name}.npz"


@dataclass(frozen=True, eq=False)
class SoftTargets:
    """The content of a file of soft targets.

    Raises:
        FerKitError: the content breaks a rule of the table at the top of this module.
    """

    train: Shares | None
    test: Shares | None
    meta: dict[str, Any]

    def __post_init__(self) -> None:
        if not isinstance(self.meta, dict):
            raise FerKitError(f"meta is a {type(self.meta).__name__}, allowed is a JSON object; {_AGAIN}")
        missing = [key for key in META_KEYS if key not in self.meta]
        if missing or self.meta["schema"] != SCHEMA:
            raise FerKitError(f"meta has no {', '.join(missing) or f'schema {SCHEMA}'}; {_AGAIN}")
        if not self.are_votes and (type(self.meta["folds"]) is not int or self.meta["folds"] < 2):
            raise FerKitError(f"meta 'folds' is {self.meta['folds']!r}, allowed is a whole number from 2; {_AGAIN}")
        if not isinstance(self.meta["name"], str):
            raise FerKitError(f"meta 'name' is {self.meta['name']!r}, allowed is a text; {_AGAIN}")
        if self.train is None and self.test is None:
            raise FerKitError(f"has neither train nor test rows; {_AGAIN}")
        for what, shares in (("train", self.train), ("test", self.test)):
            if shares is not None:
                _check(what, shares, self.meta["folds"])

    @property
    def are_votes(self) -> bool:
        """Whether these are votes of people instead of predictions of teachers."""
        return bool(self.meta["scheme"] == VOTES and self.meta["folds"] is None and self.test is None)

    def of(self, fold: Fold) -> tuple[Shares | None, Shares | None]:
        """Targets of train rows (N, 7) and of test rows (M, 7) for the student of `fold`; None if absent.

        Raises:
            FerKitError: `fold` has several held-out folds. Such a network is a teacher, for which there are no targets.
        """
        if isinstance(fold, tuple) and fold:
            raise FerKitError(
                "--set targets=… with several held-out folds: these networks are teachers, which have no targets; give "
                "a single fold with --fold"
            )
        student = fold if isinstance(fold, int) else self.meta["folds"]
        train, test = (
            None if shares is None else shares[0 if len(shares) == 1 else student] for shares in (self.train, self.test)
        )
        return train, test


def write(path: Path, targets: SoftTargets) -> None:
    """Write `targets` to `path`, as a whole or not at all. The same targets give the same bytes."""
    arrays: dict[str, Any] = {"meta": np.array(json.dumps(targets.meta, sort_keys=True, allow_nan=False))}
    for name, shares in (("train", targets.train), ("test", targets.test)):
        if shares is not None:
            arrays[name] = shares
    with atomic.replacing(path) as file:
        np.savez(file, **arrays)


def read(path: Path) -> SoftTargets:
    """Read the targets in `path`, a file of `ensembles.targets` or, by its suffix .csv, votes of FER+.

    Raises:
        FerKitError: the file is missing, is not a file of targets, or breaks a rule.
    """
    if not path.is_file():
        raise FerKitError(f"{path}: no such file; make targets with python -m ensembles.targets")
    if path.suffix.lower() == ".csv":
        about = {"schema": SCHEMA, "name": path.stem, "scheme": VOTES, "teachers": {"source": "votes of FER+"}}
        nothing = dict.fromkeys(("folds", "folds_digest", "data_digest"))
        return SoftTargets(fer_plus.read(path)[None], None, about | nothing)
    try:
        arrays = npz.read(path, ("train", "test", "meta"), _AGAIN)
        meta = atomic.parse_json(arrays["meta"].item())
    except FerKitError as error:
        raise FerKitError(f"{path}: not a file of targets: {error}") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FerKitError(f"{path}: not a file of targets (unreadable meta: {error}); {_AGAIN}") from None
    try:
        return SoftTargets(arrays.get("train"), arrays.get("test"), meta)
    except FerKitError as error:
        raise FerKitError(f"{path}: {error}") from None


def named(setting: str) -> tuple[str, SoftTargets | None]:
    """Convert the setting `targets=FILE` to `targets=NAME@digest`, as in a config, and read FILE.

    Returns:
        The converted setting and the targets; other settings unchanged, with None.

    Raises:
        FerKitError: as `read`.
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
        FerKitError: `path` is None or a file with another content than the config names.
    """
    if path is None or atomic.sha256_of(path)[:16] != re.sub(".*@", "", name):
        raise FerKitError(f"{path}: not the targets {name} of this run; restore that file")
    return read(path)


def _check(what: str, shares: Any, folds: int | None) -> None:
    fits = isinstance(shares, np.ndarray) and shares.dtype == np.float32 and shares.ndim == 3
    sets = 1 if folds is None else folds + 1
    if not fits or shares.shape[2] != NUM_CLASSES or len(shares) not in (1, sets):
        found = f"{shares.dtype} of shape {shares.shape}" if isinstance(shares, np.ndarray) else type(shares).__name__
        raise FerKitError(f"{what} is {found}, allowed is float32 (1 or {sets}, rows, {NUM_CLASSES}); {_AGAIN}")
    given = ~np.isnan(shares).all(axis=2)
    if (
        not ((shares[given] >= 0) & (shares[given] <= 1.001)).all()
        or (np.abs(shares[given].sum(axis=1) - 1) >= 1e-3).any()
    ):
        raise FerKitError(f"{what} has rows that are not probabilities (0 or more, sum 1); {_AGAIN}")
