"""Prepare the training of a fold: inspect its folder, read the data, select the rows, copy them to the device."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fer_kit import models, revision
from fer_kit.batches.epoch import count, resized
from fer_kit.batches.workers import Epoch, epochs_of
from fer_kit.competition import SIDE_PX
from fer_kit.config import growth
from fer_kit.config.train_config import TrainConfig
from fer_kit.data import loading
from fer_kit.data.loading import Competition
from fer_kit.engine import precision_trial
from fer_kit.engine.device import Precision, choose_device, choose_precision, native
from fer_kit.engine.environment import device_name, environment
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.files.lock import Lock
from fer_kit.folds import deal
from fer_kit.folds.fold_spec import seed_number
from fer_kit.folds.splits import Split, split
from fer_kit.folds.table import Folds
from fer_kit.pretrained import start
from fer_kit.pretrained.start import Start
from fer_kit.runs import folders
from fer_kit.runs.training_record import CONFIG, ENVIRONMENT, LAST, LOG
from fer_kit.train import siblings
from fer_kit.train.log import Log
from fer_kit.train.request import ResolvedRequest, TrainRequest
from fer_kit.train.rows import TrainingRows, gather


@dataclass(frozen=True, eq=False)
class Job:
    """A fold that is ready to train.

    Attributes:
        folder: the folder of the fold.
        lock: the lock on that folder.
        images: uint8 (N, 48, 48), the images of all rows of train.csv, on the device.
        rows: the rows to train on.
        batch_source: makes the batches of an epoch.
        code: commit of fer_kit's source code.
        start: initial weights of a new network; None for random weights and for a resumed training.
        tried: a line for the log about a trial of two precisions; "" without a trial.
    """

    resolved: ResolvedRequest
    folder: Path
    lock: Lock
    log: Log
    precision: Precision
    competition: Competition
    split: Split
    folds: Folds
    images: Tensor
    rows: TrainingRows
    batch_source: Epoch
    code: str
    start: Start | None
    tried: str

    @property
    def config(self) -> TrainConfig:
        """The settings of the run."""
        return self.resolved.config

    @property
    def request(self) -> TrainRequest:
        """The request of the user."""
        return self.resolved.request

    @property
    def seed_number(self) -> int:
        """The number that stands for the fold in seeds."""
        return seed_number(self.request.fold, self.folds.count)

    @property
    def identity(self) -> dict[str, Any]:
        """The digests that a checkpoint and the other folds of the run must have, too."""
        return {
            "config_digest": self.config.digest,
            "folds_digest": self.folds.digest,
            "data_digest": self.competition.digest,
        }


def prepare(resolved: ResolvedRequest, lock: Lock) -> Job:
    """Read data and folds, copy the images to the device, and write config.json and env.json.

    An old training in the folder is deleted last, after all checks: a misspelt path must not destroy a training.
    """
    config, request, folder = resolved.config, resolved.request, resolved.folder
    device = choose_device(request.device)
    precision, tried = precision_of(resolved, device)
    competition = loading.load(loading.find(request.data), request.runs / folders.CACHE)
    folds = deal.read(request.runs / "folds.csv")
    deal.check(folds, competition.train.labels)
    parts = split(folds, request.fold, config)
    rows = gather(config, request.fold, parts, competition, folds, resolved.targets, device)
    refuse_single_image_batches(config, len(rows.labels))
    batch_source = epochs_of(resolved.pipeline, request.workers, np.array(competition.train.images[0]))
    identity = {"folds_digest": folds.digest, "data_digest": competition.digest}
    siblings.refuse_others(resolved, identity)
    weights = None
    if resolved.discards_old or not (folder / LAST).exists():  # a resumed training has its weights in last.pt
        path = None if resolved.weights is None else resolved.weights.path
        weights = start.prepare(config, path, request.fold, identity)

    code = revision.commit()
    if resolved.discards_old and folder.exists():
        shutil.rmtree(folder)
    atomic.sweep(folder)
    atomic.write_json(folder / CONFIG, config.to_json())
    about = environment(precision, request.recorded_command, code) | {"compile": request.compile}
    atomic.write_json(folder / ENVIRONMENT, about)
    return Job(
        resolved=resolved,
        folder=folder,
        lock=lock,
        log=Log(folder / LOG),
        precision=precision,
        competition=competition,
        split=parts,
        folds=folds,
        images=torch.from_numpy(np.array(competition.train.images)).to(device),
        rows=rows,
        batch_source=batch_source,
        code=code,
        start=weights,
        tried=tried,
    )


def precision_of(resolved: ResolvedRequest, device: torch.device) -> tuple[Precision, str]:
    """The precision to train in, and the line of the log about a trial of two precisions; "" without a trial.

    A resumed training keeps the precision that env.json records, if the device is the same.
    """
    config, request = resolved.config, resolved.request
    precision = choose_precision(config.precision, device)
    if config.precision == "auto" and not resolved.discards_old and (resolved.folder / LAST).exists():
        begun = environment_of(resolved.folder)
        if begun.get("device") == device_name(device) and begun.get("precision") in native(device):
            return Precision(str(begun["precision"]), device), ""
        return precision, ""
    return (precision, "") if request.deterministic else precision_trial.faster(config, precision)


def environment_of(folder: Path) -> dict[str, Any]:
    """The content of the folder's env.json; empty if the file is missing or damaged."""
    try:
        record = atomic.read_json(folder / ENVIRONMENT)
    except FerKitError:
        return {}
    return record if isinstance(record, dict) else {}


def refuse_single_image_batches(config: TrainConfig, rows: int) -> None:
    """Refuse a run in which some batch would hold a single image: BatchNorm cannot normalise one value per channel.

    This is possible only for batch_size=2, see `batches.epoch`. Without this check the last batch of the epoch fails.
    """
    if rows // count(rows, config.batch_size) > 1:
        return
    with torch.device("meta"), torch.no_grad():
        net = models.build(config).train()
        try:
            net(torch.empty(1, 1, SIDE_PX, SIDE_PX))
        except ValueError:
            raise FerKitError(
                f"batch_size={config.batch_size} divides {rows:,} rows so that one batch is a single image, which "
                f"batch norm in {config.model} cannot normalise; give --set batch_size={config.batch_size + 1} or more"
            ) from None


def seeds_of(config: TrainConfig, fold: int, epoch: int) -> tuple[int, int]:
    """Two seeds of an epoch: for torch's global generator (initial weights, dropout, mixup), and for row order and
    augmentation.
    """
    first, second = np.random.SeedSequence((config.seed, fold, epoch)).generate_state(2, np.uint64) >> np.uint64(1)
    return int(first), int(second)


def seed_everything(config: TrainConfig, fold: int, epoch: int, device: torch.device) -> torch.Generator:
    """Seed torch from (seed, fold, epoch) and return the generator for this epoch's row order and augmentation."""
    first, second = seeds_of(config, fold, epoch)
    torch.manual_seed(first)
    return torch.Generator(device).manual_seed(second)


def batches_of(job: Job, epoch: int, config: TrainConfig | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """Seed torch for epoch `epoch` (from 1) and return its batches: images float32 (B, 1, H, W), and labels int64 (B,)
    or class probabilities float32 (B, 7). `config` replaces the job's, for trials of a batch size.
    """
    rng = seed_everything(job.config, job.seed_number, epoch, job.images.device)
    rows = job.rows
    return job.batch_source(images_of(job, epoch), rows.labels, config or job.config, rng, rows.targets)


def images_of(job: Job, epoch: int) -> Tensor:
    """The training images of epoch `epoch` (from 1): uint8 (N, side, side), with the side of that epoch.

    This is a pure function of the epoch, so that a resumed training repeats an uninterrupted one. With
    `alternate_flip` a random half of the images, drawn once per run, is mirrored in odd epochs and the other half in
    even epochs: in two epochs each image is seen both ways, whereas random flips do so for half of the images.
    Source: Jordan, arXiv 2404.00498.
    """
    config, images = job.config, job.rows.images
    if config.progressive_px and growth.grows(config):
        side = growth.side_of_epoch(epoch - 1, config, SIDE_PX)
        if side != SIDE_PX:
            images = resized(images, side)
    if config.alternate_flip:
        rng = torch.Generator(images.device).manual_seed(seeds_of(config, job.seed_number, 0)[1])
        odd = torch.rand(len(images), generator=rng, device=rng.device) < 0.5
        images = torch.where((odd == bool(epoch % 2))[:, None, None], images.flip(-1), images)
    return images
