"""The competition's data in numbers, counted from images and train labels, never from test labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_kit.competition import CLASSES, NUM_CLASSES, PIXELS, SIDE_PX
from fer_kit.data.loading import Competition
from fer_kit.files import atomic
from fer_kit.folds import table, twins
from fer_kit.folds.table import Folds

Images = NDArray[np.uint8]  # (N, 48, 48)
Ints = NDArray[np.int64]

SCHEMA = 1
_CHUNK = 4096  # images counted at a time, so that memory stays small


@dataclass(frozen=True, eq=False)
class Groups:
    """The twin group of each image: train int64 (N,), test int64 (M,), with common numbers.

    method: how twins were found, "exact" without folds. folds: folds.csv, None if there is none.
    """

    train: Ints
    test: Ints
    method: str
    folds: Folds | None

    @property
    def in_words(self) -> str:
        """Definition of a twin, in words."""
        if self.folds is None:
            return "exact copies only, since there is no folds.csv"
        return f"rows that share a source photo, as the folds have them (method {self.method})"


def groups_of(competition: Competition, runs_dir: Path) -> Groups:
    """The twin groups of folds.csv in `runs_dir`; without folds groups of exact copies (flat images are not grouped).

    Raises:
        FerKitError: the folds are damaged or belong to other data.
    """
    train, test = competition.train, competition.test
    path, record = runs_dir / "folds.csv", runs_dir / "folds.json"
    if not path.exists():
        found = twins.find(np.concatenate([train.images, test.images]), "exact").groups
        return Groups(found[: len(train.ids)], found[len(train.ids) :], "exact", None)
    folds, test_groups = table.read_groups(path, train.labels, len(test.ids))
    about = atomic.read_json(record) if record.is_file() else {}
    method = about.get("method") if isinstance(about, dict) else None
    return Groups(folds.groups, test_groups, str(method or "unknown"), folds)


def facts(competition: Competition, groups: Groups) -> dict[str, Any]:
    """All numbers of `explore`, as a JSON object."""
    train, test = competition.train, competition.test
    counts = np.bincount(train.labels, minlength=NUM_CLASSES)
    present = np.flatnonzero(counts)
    most, least = int(counts.argmax()), int(present[counts[present].argmin()])
    return {
        "schema": SCHEMA,
        "data_digest": competition.digest,
        "rows": {"train": len(train.ids), "test": len(test.ids)},
        "image_px": [SIDE_PX, SIDE_PX],
        "missing_values": 0,  # the reader refuses files with missing values and names row and column
        "classes": {name: int(count) for name, count in zip(CLASSES, counts, strict=True)},
        "imbalance": {"ratio": float(counts[most] / counts[least]), "most": CLASSES[most], "least": CLASSES[least]},
        "pixels": {"train": _pixels(train.images), "test": _pixels(test.images)},
        "constant_images": {"train": _constant(train.images), "test": _constant(test.images)},
        "flat_images": {"train": int(twins.is_flat(train.images).sum()), "test": int(twins.is_flat(test.images).sum())},
        "copies": _copies(competition),
        "twins": _twins(train.labels, groups),
        "folds": None if groups.folds is None else _folds(groups.folds),
    }


def grey_level_shares(images: Images) -> NDArray[np.float64]:
    """Share of all pixels at each grey level, float64 (256,)."""
    counts = np.zeros(256, np.int64)
    for start in range(0, len(images), _CHUNK):
        counts += np.bincount(images[start : start + _CHUNK].reshape(-1), minlength=256)
    return np.asarray(counts / counts.sum(), np.float64)


def conflicting(groups: Ints, labels: Ints) -> Ints:
    """Numbers of the groups whose rows have different labels, ascending. groups, labels: int64 (N,)."""
    pairs = np.unique(np.stack([groups, labels]), axis=1)[0]
    numbers, kinds = np.unique(pairs, return_counts=True)
    return np.asarray(numbers[kinds > 1], np.int64)


def _pixels(images: Images) -> dict[str, float]:
    shares, levels = grey_level_shares(images), np.arange(256)
    mean = float((shares * levels).sum())
    std = float(np.sqrt((shares * np.square(levels - mean)).sum()))
    return {"mean": mean, "std": std, "mean_0_to_1": mean / 255, "std_0_to_1": std / 255}


def _constant(images: Images) -> int:
    """Number of images whose pixels are all equal."""
    rows = images.reshape(len(images), PIXELS)
    return int((rows == rows[:, :1]).all(axis=1).sum())


def _copies(competition: Competition) -> dict[str, int]:
    """Numbers of identical images, including constant images."""
    train, test = twins.content_keys(competition.train.images), twins.content_keys(competition.test.images)
    kinds, number, counts = np.unique(train, return_inverse=True, return_counts=True)
    number = number.reshape(-1)
    clash = conflicting(number, competition.train.labels)
    return {
        "redundant_train_rows": len(train) - len(kinds),
        "train_rows_with_a_copy": int((counts[number] > 1).sum()),
        "redundant_test_rows": len(test) - len(np.unique(test)),
        "test_rows_with_a_train_copy": int(np.isin(test, train).sum()),
        "sets_with_different_labels": len(clash),
        "rows_in_them": int(np.isin(number, clash).sum()),
    }


def _twins(labels: Ints, groups: Groups) -> dict[str, Any]:
    numbers, number, sizes = np.unique(groups.train, return_inverse=True, return_counts=True)
    clash = conflicting(groups.train, labels)
    return {
        "method": groups.method,
        "from_folds": groups.folds is not None,
        "train_groups_of_two_and_more": int((sizes > 1).sum()),
        "train_rows_in_them": int((sizes[number.reshape(-1)] > 1).sum()),
        "largest_group": int(sizes.max()),
        "test_rows_with_a_train_twin": int(np.isin(groups.test, numbers).sum()),
        "groups_with_different_labels": len(clash),
        "rows_in_them": int(np.isin(groups.train, clash).sum()),
    }


def _folds(folds: Folds) -> dict[str, Any]:
    """Train rows and held-out rows of each fold, and the classes of the held-out rows."""
    counts = [np.bincount(folds.labels[folds.rows_out(k)], minlength=NUM_CLASSES) for k in range(folds.count)]
    held_out = [int(count.sum()) for count in counts]
    return {
        "digest": folds.digest,
        "train_rows": [len(folds.ids) - out for out in held_out],
        "held_out_rows": held_out,
        "held_out_classes": [{name: int(n) for name, n in zip(CLASSES, count, strict=True)} for count in counts],
    }
