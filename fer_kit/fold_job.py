"""A fold's job before the first step: what was asked for, what lies in its folder, data and device made ready."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fer_kit import (
    batches,
    data,
    files,
    folds,
    lock,
    models,
    precision,
    pretrained,
    revision,
    runs,
    soft_targets,
    splits,
    tracking,
    training_rows,
    transfer,
    user_batches,
    wandb_log,
)
from fer_kit.config import TrainConfig, from_json
from fer_kit.config_limits import GROWING_MODELS, OWN_STRIDE_PX
from fer_kit.errors import FerKitError
from fer_kit.fold_names import Fold, seed_number
from fer_kit.labels import SIDE_PX


@dataclass(frozen=True)
class Options:
    """What decides where and how a fold runs, and not its numbers."""

    fold: Fold
    run: str
    runs: Path
    command: str
    data: str | None = None
    device: str = "auto"
    resume: bool = False
    restart: bool = False
    trial: bool = False  # a smoke run, which is thrown away even when it is finished
    limit_minutes: float | None = None
    deterministic: bool = False
    compile: bool = False
    wandb: str = wandb_log.OFF
    targets: Path | None = None  # where the config's targets lie
    augment: str | None = None  # where the config's pipeline lies, or the name of a built-in one
    workers: int | None = None  # processes that run it; None: one a core
    weights: Path | None = None  # where the file lies that the config's weights name

    @property
    def anew(self) -> bool:
        """Whether what lies in the folder is to be thrown away."""
        return self.restart or self.trial


@dataclass(frozen=True, eq=False)
class Job:
    """A fold ready to run: rows chosen, images on the device, files named."""

    config: TrainConfig
    options: Options
    folder: Path
    mine: lock.Lock  # of the folder
    log: tracking.Log
    precision: precision.Precision
    competition: data.Competition
    split: splits.Split
    folds: folds.Folds
    images: Tensor  # uint8 (N, 48, 48), all train rows, on the device
    rows: training_rows.TrainingRows
    feed: user_batches.Epoch
    code: str  # commit
    start: pretrained.Start | None  # what a fresh network starts from, where not from random weights

    @property
    def seed_number(self) -> int:
        """What the fold counts as in seeds."""
        return seed_number(self.options.fold, self.folds.count)

    @property
    def identity(self) -> dict[str, Any]:
        """What must agree for a checkpoint, or another fold, to belong here."""
        return {
            "config_digest": self.config.digest,
            "folds_digest": self.folds.digest,
            "data_digest": self.competition.digest,
        }


def claim(folder: Path, options: Options, config: TrainConfig) -> str:
    """Look at what lies in the folder: "finished", "resume" or "new".

    Raises:
        FerKitError: a run lies there and neither --resume nor --restart says what to do with it, or --resume is to go
            on with other settings.
    """
    if runs.is_finished(folder):
        if options.resume:
            return "finished"
        if not options.trial:
            raise FerKitError(
                f"{folder} is finished and stays as it is; name a new run with --tag, or delete the folder"
            )
    if options.anew or not folder.exists():
        return "new"
    if not options.resume:
        raise FerKitError(f"{folder} holds an unfinished run; go on with --resume, or throw it away with --restart")
    if (folder / "last.pt").exists():
        refuse_other_settings(folder / "config.json", config)
    return "resume"


def refuse_other_settings(path: Path, config: TrainConfig) -> None:
    """Raise FerKitError where `path` says that the run was begun with others; the checkpoint has their digest alone."""
    if not path.exists():
        return
    begun, now = dataclasses.asdict(from_json(files.read_json(path), str(path))), dataclasses.asdict(config)
    others = [name for name in now if now[name] != begun[name]]
    if others:
        then, asked = (" ".join(f"{name}={values[name]}" for name in others) for values in (begun, now))
        raise FerKitError(
            f"{path.parent} was begun with {then}, now it is {asked}; give --resume the same settings, start anew with "
            "--restart, or use --tag"
        )


def prepare(config: TrainConfig, options: Options, folder: Path, mine: lock.Lock) -> Job:
    """Read data and folds, put the images on the device, and write config.json and env.json.

    What is to be thrown away goes only after all that could be refused: a slip in a path must not cost a training.
    """
    device = precision.choose_device(options.device)
    fast = precision.choose(config.precision, device)
    if options.deterministic:
        precision.repeat_exactly()
    competition = data.load(data.find(options.data), options.runs / "cache")
    table = folds.read(options.runs / "folds.csv")
    folds.check(table, competition.train.labels)
    parts = splits.split(table, options.fold, config)
    soft = soft_targets.open_named(options.targets, config.targets) if config.targets else None
    rows = training_rows.gather(config, options.fold, parts, competition, table, soft, device)
    refuse_lonely(config, len(rows.labels))
    feed = user_batches.epochs_of(config, options.augment, options.workers, np.array(competition.train.images[0]))
    identity = {"folds_digest": table.digest, "data_digest": competition.digest}
    start = None
    if options.anew or not (folder / "last.pt").exists():  # a run that goes on has its weights in there
        start = pretrained.prepare(config, options.weights, options.fold, identity)
    torch.backends.cudnn.benchmark = not options.deterministic

    code = revision.commit()
    if options.anew and folder.exists():
        shutil.rmtree(folder)
    files.sweep(folder)
    files.write_json(folder / "config.json", config.to_json())
    environment = tracking.environment(fast, options.command, code) | {"compile": options.compile}
    files.write_json(folder / "env.json", environment)
    return Job(
        config=config,
        options=options,
        folder=folder,
        mine=mine,
        log=tracking.Log(folder / "log.txt"),
        precision=fast,
        competition=competition,
        split=parts,
        folds=table,
        images=torch.from_numpy(np.array(competition.train.images)).to(device),
        rows=rows,
        feed=feed,
        code=code,
        start=start,
    )


def refuse_lonely(config: TrainConfig, rows: int) -> None:
    """Raise FerKitError where an epoch of `rows` has a batch of one image and batch norm has one value to a channel.

    Only batches of 2 come to that, see `batches.epoch`; but the last one of an epoch comes late.
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
    """The batches of epoch `epoch` (from 1), with torch seeded for it; `config` in place of the job's, for trials."""
    rng = seed_everything(job.config, job.seed_number, epoch, job.images.device)
    rows = job.rows
    return job.feed(images_of(job, epoch), rows.labels, config or job.config, rng, rows.targets)


def images_of(job: Job, epoch: int) -> Tensor:
    """The training images of `epoch` (from 1), uint8 (N, side, side): of the size and side that the epoch sees.

    A pure function of the epoch, so that a resumed run goes on as it would have. With `alternate_flip` one image in
    two, drawn once for the run, is mirrored in odd epochs and the others in even ones: over two epochs each image is
    seen both ways, which chance gives to half of them. Source: Jordan, arXiv 2404.00498.
    """
    config, images = job.config, job.rows.images
    if config.progressive_px and config.model in GROWING_MODELS:
        side = transfer.side_of_epoch(epoch - 1, config, SIDE_PX, OWN_STRIDE_PX)
        if side != SIDE_PX:
            images = F.interpolate(images[:, None], (side, side), mode="bilinear", align_corners=False, antialias=True)
            images = images[:, 0]
    if config.alternate_flip:
        rng = torch.Generator(images.device).manual_seed(seeds_of(config, job.seed_number, 0)[1])
        odd = torch.rand(len(images), generator=rng, device=rng.device) < 0.5
        images = torch.where((odd == bool(epoch % 2))[:, None, None], images.flip(-1), images)
    return images
