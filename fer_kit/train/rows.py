"""The rows that a network is trained on: rows of train.csv, and test rows if the soft targets have some."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fer_kit.competition import NUM_CLASSES
from fer_kit.config.train_config import TrainConfig
from fer_kit.data.loading import Competition
from fer_kit.errors import FerKitError
from fer_kit.folds import splits
from fer_kit.folds.deal import Folds
from fer_kit.folds.fold_spec import Fold
from fer_kit.runs.soft_targets import SoftTargets


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """The rows that a network is trained on.

    Attributes:
        images: uint8 (N, 48, 48), on the device.
        labels: int64 (N,), on the device; of test rows the most probable class.
        targets: float32 (N, 7), the class probabilities to train on; None to train on the labels.
        test_rows: number of test rows, which come last.
        constant: number of training rows left out because all pixels of the image are equal.
        softened: number of rows that get the mean label, because identical images have different labels.
    """

    images: Tensor
    labels: Tensor
    targets: Tensor | None
    test_rows: int = 0
    constant: int = 0
    softened: int = 0

    def in_words(self) -> str:
        """For the log: `22,968 rows to train on, 12 of one grey value left out`."""
        parts = [f"{len(self.labels) - self.test_rows:,} rows to train on"]
        if self.constant:
            parts.append(f"{self.constant:,} of one grey value left out")
        if self.softened:
            parts.append(f"{self.softened:,} with the mean label of their copies")
        if self.test_rows:
            parts.append(f"{self.test_rows:,} test rows with pseudo-labels")
        return ", ".join(parts)


def gather(
    config: TrainConfig,
    fold: Fold,
    split: splits.Split,
    competition: Competition,
    table: Folds,
    soft: SoftTargets | None,
    device: torch.device,
) -> TrainingRows:
    """Select the training rows of `split` and their targets: labels, mixed with soft targets by `targets_share`.

    With `drop_constant`, images of a single grey value are left out. With `soft_copies`, identical images get the mean
    of their labels; only training rows count for the mean, not watched or held-out rows.

    Raises:
        FerKitError: the soft targets were made with other folds or data, or lack a training row; fewer rows than one
            batch are left.
    """
    train_rows = split.train
    images = np.array(competition.train.images[train_rows])
    if config.drop_constant:
        varied = images.min(axis=(1, 2)) != images.max(axis=(1, 2))
        images, train_rows = images[varied], train_rows[varied]
        if len(train_rows) < config.batch_size:
            raise FerKitError(
                f"drop_constant=true leaves {len(train_rows)} rows to train on, fewer than one batch of "
                f"{config.batch_size}; set drop_constant=false or a smaller batch_size"
            )
    labels = np.array(competition.train.labels[train_rows])
    shares = np.eye(NUM_CLASSES, dtype=np.float32)[labels]
    if config.soft_copies:
        shares = mean_over_copies(images, shares)
    counts = {"constant": len(split.train) - len(train_rows), "softened": int((shares.max(axis=1) < 1).sum())}
    if soft is None:
        return on_device(images, labels, shares if config.soft_copies else None, device, **counts)
    if soft.are_votes:
        _refuse_votes_for_other_rows(config, soft, competition)
    for key, digest, what in (("folds_digest", table.digest, "folds"), ("data_digest", competition.digest, "data")):
        if soft.meta[key] != digest and not soft.are_votes:
            raise FerKitError(
                f"targets {config.targets}: made with {what} {soft.meta[key][:12]}, not {digest[:12]}; make new "
                "targets with python -m ensembles.targets"
            )
    train, test = soft.of(fold)
    targets: NDArray[np.float32] = shares
    if train is not None:
        taught = train[train_rows]
        lacking = np.flatnonzero(np.isnan(taught).any(axis=1))
        if len(lacking) and soft.are_votes:  # no vote for one of the seven classes: the label stays
            taught = np.where(np.isnan(taught), shares, taught)
        elif len(lacking):
            raise FerKitError(
                f"targets {config.targets}: no target for row {train_rows[lacking[0]]} of train.csv ({len(lacking):,} "
                "such rows); make new targets with python -m ensembles.targets"
            )
        targets = ((1 - config.targets_share) * shares + config.targets_share * taught).astype(np.float32)
    given = np.empty(0, np.int64)
    if test is not None:
        given = np.flatnonzero(~np.isnan(test).any(axis=1))[: config.limit_rows or None]
        images = np.concatenate([images, competition.test.images[given]])
        labels = np.concatenate([labels, test[given].argmax(axis=1)])
        targets = np.concatenate([targets, test[given]])
    return on_device(images, labels, targets, device, test_rows=len(given), **counts)


def _refuse_votes_for_other_rows(config: TrainConfig, soft: SoftTargets, competition: Competition) -> None:
    """Votes are matched with train rows by their order alone, so the data must have that order and as many rows."""
    if competition.unordered:
        raise FerKitError(
            f"targets {config.targets}: votes are for the rows of fer2013.csv in their order, but for the data in "
            f"{competition.folder} {competition.unordered}; name the competition's own files with --data"
        )
    votes, rows = 0 if soft.train is None else soft.train.shape[1], len(competition.train.ids)
    if votes != rows:
        raise FerKitError(
            f"targets {config.targets}: votes for {votes:,} train rows, but {competition.folder} has {rows:,}; name "
            "the data that the votes are for with --data"
        )


def mean_over_copies(images: NDArray[np.uint8], shares: NDArray[np.float32]) -> NDArray[np.float32]:
    """Class probabilities (N, 7) averaged over identical images; images: uint8 (N, 48, 48)."""
    number_of: dict[bytes, int] = {}
    numbers = np.array([number_of.setdefault(image.tobytes(), len(number_of)) for image in images], dtype=np.int64)
    sums = np.zeros((len(number_of), NUM_CLASSES), np.float32)
    np.add.at(sums, numbers, shares)
    sums /= np.bincount(numbers)[:, None]
    return sums[numbers]


def on_device(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    targets: NDArray[np.float32] | None,
    device: torch.device,
    **counts: int,
) -> TrainingRows:
    """Copy the arrays to `device`."""
    shares = None if targets is None else torch.from_numpy(targets).to(device)
    return TrainingRows(torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device), shares, **counts)
