"""The epochs of one fold: train, watch, save after each, and stop when the recipe or the time limit says so."""

from __future__ import annotations

import math
import time
from typing import Any

import torch

from fer_kit import batches, checkpoints, engine, metrics, tracking
from fer_kit.config import TrainConfig
from fer_kit.errors import FerKitError
from fer_kit.fold_job import Job, Options, seed_everything
from fer_kit.losses import make_loss


def train_epochs(job: Job, state: engine.State, began: float) -> bool:
    """Train until the recipe is done (True) or the time limit is near (False); saved after each epoch."""
    config, watching = job.config, job.config.watches
    rows = job.rows
    loss_of = make_loss(config, rows.labels.cpu().numpy(), job.images.device)
    while state.epoch < config.epochs and not stopped_early(config, state):
        started = time.monotonic()
        rng = seed_everything(config, job.seed_number, state.epoch + 1, job.images.device)
        progress = tracking.Progress(f"epoch {state.epoch + 1}/{config.epochs}", len(rows.labels))
        epoch = batches.epoch(rows.images, rows.labels, config, rng, rows.targets)
        try:
            loss, accuracy = engine.train_epoch(state, epoch, loss_of, config, job.precision, progress)
        finally:
            progress.close()
        if not math.isfinite(loss):
            raise FerKitError(
                f"{job.folder}: the loss of epoch {state.epoch} is {loss}; the epoch before is saved in last.pt;"
                " train anew as a run of its own with a lower rate or in fp32: --set lr=… precision=fp32 --tag NAME"
            )
        trained = time.monotonic()
        record = {"epoch": state.epoch, "lr": state.schedule.lr, "train_loss": loss, "train_accuracy": accuracy}
        if watching:
            record |= watch(job, state)
        state.schedule.after_epoch(record.get("watch_accuracy"))
        spent = time.monotonic() - started
        record |= {"seconds": round(spent, 3), "images_per_second": round(len(rows.labels) / (trained - started), 1)}
        state.seconds += spent
        state.history.append(record)
        checkpoints.save(job.folder / "last.pt", state, job.identity)
        tracking.write_metrics(job.folder / "metrics.jsonl", state.history)
        job.log(tell(record, config, state))
        if out_of_time(job.options, began, state):
            job.log(
                f"time limit of {job.options.limit_minutes:g} minutes: stopped after epoch {state.epoch}, saved;"
                " go on with --resume"
            )
            return False
    return True


def watch(job: Job, state: engine.State) -> dict[str, float]:
    """Loss and accuracy on the watched rows; keeps the weights of the best epoch."""
    rows = job.split.watch
    logits = engine.predict(state.smooth, job.images[torch.from_numpy(rows)], "none", job.precision)
    labels = job.competition.train.labels[rows]
    accuracy = metrics.accuracy(logits, labels)
    best = max((record["watch_accuracy"] for record in state.history), default=-1.0)
    if accuracy > best:
        state.best_epoch = state.epoch
        if job.config.early_stop_epochs:
            state.best_weights = checkpoints.weights_of(state.smooth)
    return {"watch_loss": metrics.log_loss(logits, labels), "watch_accuracy": accuracy}


def stopped_early(config: TrainConfig, state: engine.State) -> bool:
    """Whether the watched accuracy has not risen for as many epochs as the recipe waits."""
    return bool(config.early_stop_epochs) and state.epoch - state.best_epoch >= config.early_stop_epochs


def out_of_time(options: Options, began: float, state: engine.State) -> bool:
    """Whether one more epoch like the last would end after the limit."""
    if options.limit_minutes is None:
        return False
    return time.monotonic() - began + float(state.history[-1]["seconds"]) > 60 * options.limit_minutes


def tell(record: dict[str, Any], config: TrainConfig, state: engine.State) -> str:
    """One epoch in one line."""
    watched = f"  watched {record['watch_accuracy']:.2%}" if "watch_accuracy" in record else ""
    star = " *" if watched and state.best_epoch == state.epoch else ""
    return (
        f"epoch {record['epoch']:>3}/{config.epochs}  lr {record['lr']:.2e}  loss {record['train_loss']:.4f}"
        f"  accuracy {record['train_accuracy']:.2%}{watched}{star}"
        f"  {record['images_per_second']:,.0f} images/s  {record['seconds']:.1f} s"
    )
