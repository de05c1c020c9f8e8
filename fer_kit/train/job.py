"""Prepare a fold for training: inspect its folder, read the data, choose the rows, put them on the device."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fer_kit import models, revision
from fer_kit.batches import epoch as batches
from fer_kit.batches.workers import Epoch, epochs_of
from fer_kit.competition import SIDE_PX
from fer_kit.config.networks import GROWTH_STRIDE_PX
from fer_kit.config.train_config import TrainConfig, from_json
from fer_kit.data import loading
from fer_kit.data.loading import Competition
from fer_kit.engine import device as devices
from fer_kit.engine.device import Precision
from fer_kit.engine.environment import environment
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.files.lock import Lock
from fer_kit.folds import deal
from fer_kit.folds.fold_spec import seed_number
from fer_kit.folds.splits import Split, split
from fer_kit.folds.table import Folds
from fer_kit.models import fine_tuning
from fer_kit.pretrained import start
from fer_kit.pretrained.start import Start
from fer_kit.runs import folders
from fer_kit.train import siblings
from fer_kit.train.log import Log
from fer_kit.train.request import ResolvedRequest, TrainRequest
from fer_kit.train.rows import TrainingRows, gather

LAST, CONFIG, ENVIRONMENT, METRICS, LOG = "last.pt", "config.json", "env.json", "metrics.jsonl", "log.txt"


@dataclass(frozen=True, eq=False)
class Job:
    """A fold ready to train: rows chosen, images on the device, files named.

    Attributes:
        images: uint8 (N, 48, 48), all train rows, on the device.
        batch_source: gives the batches of an epoch.
        code: commit of this code.
        start: the weights that a fresh network starts from; None for random weights and for a resumed run.
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

    @property
    def config(self) -> TrainConfig:
        """What decides the run's numbers."""
        return self.resolved.config

    @property
    def request(self) -> TrainRequest:
        """What was asked for."""
        return self.resolved.request

    @property
    def seed_number(self) -> int:
        """The fold's number in seeds."""
        return seed_number(self.request.fold, self.folds.count)

    @property
    def identity(self) -> dict[str, Any]:
        """The digests that a checkpoint, or another fold of the run, must share."""
        return {
            "config_digest": self.config.digest,
            "folds_digest": self.folds.digest,
            "data_digest": self.competition.digest,
        }


def inspect_folder(resolved: ResolvedRequest) -> str:
    """Whether the fold's folder is "finished", to "resume" or "new".

    Raises:
        FerKitError: the folder holds a run and neither --resume nor --restart is given, or --resume comes with other
            settings than the run was begun with.
    """
    folder, request = resolved.folder, resolved.request
    if folders.is_finished(folder):
        if request.resume:
            return "finished"
        if not request.smoke:
            raise FerKitError(
                f"{folder} is finished and stays as it is; name a new run with --tag, or delete the folder"
            )
    if resolved.discards_old or not folder.exists():
        return "new"
    if not request.resume:
        raise FerKitError(f"{folder} holds an unfinished run; go on with --resume, or throw it away with --restart")
    if (folder / LAST).exists():
        refuse_other_settings(folder / CONFIG, resolved.config)
    return "resume"


def refuse_other_settings(path: Path, config: TrainConfig) -> None:
    """Refuse to resume a run with other settings than the config.json at `path` has.

    The checkpoint holds the digest of the config alone, which could not say which settings differ.
    """
    if not path.exists():
        return
    begun = from_json(atomic.read_json(path), str(path))
    if others := siblings.differing(begun, config):
        then, asked = (" ".join(f"{name}={getattr(one, name)}" for name in others) for one in (begun, config))
        raise FerKitError(
            f"{path.parent} was begun with {then}, now it is {asked}; give --resume the same settings, start anew with "
            "--restart, or use --tag"
        )


def prepare(resolved: ResolvedRequest, lock: Lock) -> Job:
    """Read data and folds, put the images on the device, and write config.json and env.json.

    An old run in the folder is deleted last, after everything that could be refused: a misspelt path must not cost a
    training.
    """
    config, request, folder = resolved.config, resolved.request, resolved.folder
    device = devices.choose_device(request.device)
    precision = devices.choose(config.precision, device)
    if request.deterministic:
        devices.repeat_exactly()
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
    if resolved.discards_old or not (folder / LAST).exists():  # a resumed run has its weights in last.pt
        path = None if resolved.weights is None else resolved.weights.path
        weights = start.prepare(config, path, request.fold, identity)
    torch.backends.cudnn.benchmark = not request.deterministic

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
    )


def refuse_single_image_batches(config: TrainConfig, rows: int) -> None:
    """Refuse a run in which some batch would hold a single image: BatchNorm cannot normalise one value per channel.

    Only batch_size=2 can leave one, see `batches.epoch`; without this check the last batch of the epoch would fail.
    """
    if rows // batches.count(rows, config.batch_size) > 1:
        return
    with torch.device("meta"), torch.no_grad():
        net = models.build(config).train()
        try:
            net(torch.empty(1, 1, SIDE_PX, SIDE_PX))
        except ValueError:
            raise FerKitError(
                f"batch_size={config.batch_size} cuts {rows:,} rows so that one image is a batch by itself, which "
                f"batch norm in {config.model} cannot take; give --set batch_size={config.batch_size + 1} or more"
            ) from None


def seeds_of(config: TrainConfig, fold: int, epoch: int) -> tuple[int, int]:
    """Seeds of an epoch: of torch's own generator (initial weights, dropout, mixup), and of rows and augmentation."""
    first, second = np.random.SeedSequence((config.seed, fold, epoch)).generate_state(2, np.uint64) >> np.uint64(1)
    return int(first), int(second)


def seed_everything(config: TrainConfig, fold: int, epoch: int, device: torch.device) -> torch.Generator:
    """Seed torch from (seed, fold, epoch) and give the generator of this epoch's rows and augmentation."""
    first, second = seeds_of(config, fold, epoch)
    torch.manual_seed(first)
    return torch.Generator(device).manual_seed(second)


def batches_of(job: Job, epoch: int, config: TrainConfig | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of epoch `epoch` (from 1), with torch seeded for it. `config` replaces the job's, for trials."""
    rng = seed_everything(job.config, job.seed_number, epoch, job.images.device)
    rows = job.rows
    return job.batch_source(images_of(job, epoch), rows.labels, config or job.config, rng, rows.targets)


def images_of(job: Job, epoch: int) -> Tensor:
    """The training images of epoch `epoch` (from 1), uint8 (N, side, side), in the size of the epoch.

    A pure function of the epoch, so that a resumed run goes on as it would have. With `alternate_flip` one image in
    two, drawn once for the run, is mirrored in odd epochs and the others in even ones: over two epochs each image is
    seen both ways, which chance gives to half of them. Source: Jordan, arXiv 2404.00498.
    """
    config, images = job.config, job.rows.images
    if config.progressive_px and fine_tuning.grows(config):
        side = fine_tuning.side_of_epoch(epoch - 1, config, SIDE_PX, GROWTH_STRIDE_PX)
        if side != SIDE_PX:
            images = F.interpolate(images[:, None], (side, side), mode="bilinear", align_corners=False, antialias=True)
            images = images[:, 0]
    if config.alternate_flip:
        rng = torch.Generator(images.device).manual_seed(seeds_of(config, job.seed_number, 0)[1])
        odd = torch.rand(len(images), generator=rng, device=rng.device) < 0.5
        images = torch.where((odd == bool(epoch % 2))[:, None, None], images.flip(-1), images)
    return images
