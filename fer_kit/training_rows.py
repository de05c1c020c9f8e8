"""The rows that a fold's network learns from, on the device: train rows, and test rows where targets bring them in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fer_kit import splits
from fer_kit.config import TrainConfig
from fer_kit.data import Competition
from fer_kit.errors import FerKitError
from fer_kit.fold_names import Fold
from fer_kit.folds import Folds
from fer_kit.labels import NUM_CLASSES
from fer_kit.soft_targets import SoftTargets


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """images: uint8 (B, 48, 48). labels: int64 (B,), of test rows the likeliest class. targets: float32 (B, 7), what
    is trained on, or None for the labels. test_rows: how many of the rows, the last ones, are test rows.
    """

    images: Tensor
    labels: Tensor
    targets: Tensor | None
    test_rows: int


def gather(
    config: TrainConfig,
    fold: Fold,
    split: splits.Split,
    competition: Competition,
    table: Folds,
    soft: SoftTargets | None,
    device: torch.device,
) -> TrainingRows:
    """The rows of `split`; a train row's target is its label, and for `config.targets_share` its teachers' shares.

    Raises:
        FerKitError: targets of other folds or data, or none for a row that is trained on.
    """
    labels = np.array(competition.train.labels[split.train])
    images = np.array(competition.train.images[split.train])
    if soft is None:
        return TrainingRows(torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device), None, 0)
    for key, digest, what in (("folds_digest", table.digest, "folds"), ("data_digest", competition.digest, "data")):
        if soft.meta[key] != digest:
            raise FerKitError(
                f"targets {config.targets}: made with {what} {soft.meta[key][:12]}, these are {digest[:12]}; make them "
                "again with python -m ensembles.targets"
            )
    train, test = soft.of(fold)
    targets = np.eye(NUM_CLASSES, dtype=np.float32)[labels]
    if train is not None:
        shares = train[split.train]
        lacking = np.flatnonzero(np.isnan(shares).any(axis=1))
        if len(lacking):
            raise FerKitError(
                f"targets {config.targets}: none for train row {split.train[lacking[0]]} ({len(lacking):,} such rows); "
                "make them again with python -m ensembles.targets"
            )
        targets = (1 - config.targets_share) * targets + config.targets_share * shares
    given = np.empty(0, np.int64)
    if test is not None:
        given = np.flatnonzero(~np.isnan(test).any(axis=1))[: config.limit_rows or None]
        images = np.concatenate([images, competition.test.images[given]])
        labels = np.concatenate([labels, test[given].argmax(axis=1)])
        targets = np.concatenate([targets, test[given]])
    values = (images, labels, targets.astype(np.float32))
    on_device = [torch.from_numpy(value).to(device) for value in values]
    return TrainingRows(on_device[0], on_device[1], on_device[2], len(given))
