"""One fold from files to a finished run folder: prepare, train or go on, predict, finish."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from fer_kit.batches import epoch as batches
from fer_kit.config.train_config import TrainConfig
from fer_kit.engine import loop
from fer_kit.engine.environment import device_name
from fer_kit.files import atomic, lock
from fer_kit.folds.fold_spec import in_words, recorded
from fer_kit.models import weights
from fer_kit.predict import fold
from fer_kit.predict.fold import Asked
from fer_kit.runs import folders, predictions
from fer_kit.runs.predictions import Predictions
from fer_kit.track import follow
from fer_kit.train import checkpoints, log, memory
from fer_kit.train.fold_epochs import save, saved, settle, train_epochs
from fer_kit.train.job import Job, Options, claim, prepare, seed_everything


def train_fold(config: TrainConfig, options: Options) -> None:
    """Train fold `options.fold` and finish its folder, or stop at the time limit, resumable.

    Raises:
        FerKitError: something asked for is missing or contradicts what lies there; another process trains the fold;
            the loss is no longer finite; there is not enough memory or disk.
        KeyboardInterrupt: Ctrl-C; everything up to the last finished epoch is saved.
    """
    began = time.monotonic()
    folder = folders.fold_folder(options.runs, options.run, options.fold)
    with lock.held(folder, "another process trains this fold") as mine, memory.told(folder):
        if claim(folder, options, config) == "finished":
            (folder / "last.pt").unlink(missing_ok=True)  # a kill came between the finished mark and this
            print(f"{folder} is finished already; nothing to do")
            return
        job = prepare(config, options, folder, mine)
        state = begin_or_resume(job)
        with follow.following(folder, options.wandb, options.data, facts(job, state)):
            try:
                if train_epochs(job, state, began):
                    finish(job, state)
            except KeyboardInterrupt:
                job.log(f"interrupted; {saved(folder)}")
                raise


def facts(job: Job, state: loop.State) -> dict[str, Any]:
    """What a tracker wants to know from the start; result.json tells it at the end."""
    leaves = [(name, module) for name, module in state.net.named_modules() if not list(module.children())]
    return {
        "run": job.options.run,
        "fold": recorded(job.options.fold),
        "folds": job.folds.count,
        "trial": job.options.trial,
        "network": type(state.net).__name__,
        "parameters": sum(p.numel() for p in state.net.parameters()),
        "layers": [f"{name}: {module}" for name, module in leaves],
        "device": device_name(job.precision.device),
        "precision": job.precision.name,
        **job.identity,
    }


def begin_or_resume(job: Job) -> loop.State:
    """The state to go on from: that of last.pt where there is one, else a fresh network."""
    config, device = job.config, job.precision.device
    seed_everything(config, job.seed_number, 0, device)
    steps = batches.steps(len(job.rows.labels), config)
    state = loop.start(config, job.precision, steps, weights=job.start, compile_net=job.options.compile)
    name = f"{job.options.run} {in_words(job.options.fold)} on {device_name(device)}, {job.precision.name}"
    last = job.folder / "last.pt"
    if last.exists():
        checkpoints.load(last, state, job.identity)
        log.write_metrics(job.folder / "metrics.jsonl", state.history)  # the last write can have failed there
        job.log(f"{name}: going on after epoch {state.epoch} of {config.epochs}")
    else:
        rows = job.split
        watched = f"{len(rows.watch):,} watched, " if len(rows.watch) else ""
        job.log(f"{name}: {job.rows.in_words()}, {watched}{len(rows.out):,} out of fold")
        if job.start is not None:
            job.log(job.start.about)
        if config.schedule == "cosine" and 2 * config.warmup_epochs > config.epochs:
            job.log(f"warm-up: the first half of the training, not all of warmup_epochs={config.warmup_epochs:g}")
    return state


def finish(job: Job, state: loop.State) -> None:
    """Predict, write the results, and result.json last of all: it is the finished mark."""
    epoch = state.epoch
    settle(job, state)
    if state.best_weights is not None:
        state.smooth.load_state_dict(state.best_weights)
        epoch = state.best_epoch
    started = time.monotonic()
    oof, test = predict(job, state.smooth, epoch)
    if not (job.folder / "last.pt").exists():  # moved or removed during the predictions: a folder without it is half
        save(job, state)
    weights.save_weights(job.folder / "model.safetensors", state.smooth, test.meta | {"model": job.config.model})
    result = result_of(job, state, oof) | {
        "epoch": epoch,
        "predict_seconds": round(time.monotonic() - started, 1),
    }
    score = "full fit, nothing out of fold"
    if oof is not None:
        predictions.write(job.folder / "oof.npz", oof)
        result["oof_sha256"] = atomic.sha256_of(job.folder / "oof.npz")
        score = f"out of fold {result['oof_accuracy']:.2%} on {len(oof):,} rows"
    predictions.write(job.folder / "test.npz", test)
    result["test_sha256"] = atomic.sha256_of(job.folder / "test.npz")
    job.log(f"{score}, weights of epoch {epoch}, {state.seconds:.0f} s of training")
    atomic.write_json(job.folder / "result.json", result)
    (job.folder / "last.pt").unlink(missing_ok=True)  # a finished run is never resumed
    job.log(f"finished: {job.folder}")


def predict(job: Job, net: torch.nn.Module, epoch: int) -> tuple[Predictions | None, Predictions]:
    """Predictions of the fold's rows, None for a full fit, and of the test rows."""
    options = job.options
    device, out = job.precision.device, job.split.out
    asked = Asked(job.config, options.run, options.fold, job.competition, out, device, job.identity, job.code)
    return fold.predict(asked, net, epoch)


def result_of(job: Job, state: loop.State, oof: Predictions | None) -> dict[str, Any]:
    """result.json but for the hashes of the files and what only `finish` knows."""
    return {
        "schema": 1,
        "run": job.options.run,
        "recipe": job.config.recipe,
        "fold": recorded(job.options.fold),
        "folds": job.folds.count,
        **fold.scores(oof),
        "epochs_trained": state.epoch,
        "train_seconds": round(state.seconds, 1),
        "seconds_an_epoch": float(np.median([record["seconds"] for record in state.history])),
        "images_per_second": float(np.median([record["images_per_second"] for record in state.history])),
        "parameters": sum(p.numel() for p in state.smooth.parameters()),
        "device": device_name(job.precision.device),
        "precision": job.precision.name,
        **job.identity,
        "commit": job.code,
    }
