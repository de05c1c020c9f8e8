"""One fold from files to a finished run folder: prepare, train or resume, predict, write the results."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fer_kit import metrics
from fer_kit.batches.epoch import steps
from fer_kit.config.train_config import TrainConfig
from fer_kit.engine import averaging, device, duration, loop
from fer_kit.engine.environment import device_name
from fer_kit.engine.losses import Loss, make_loss
from fer_kit.errors import FerKitError
from fer_kit.files import atomic, lock
from fer_kit.folds.fold_spec import in_words, recorded
from fer_kit.models import weights
from fer_kit.predict import fold
from fer_kit.predict.fold import FoldToPredict
from fer_kit.runs import finished_folder, predictions
from fer_kit.runs.predictions import Predictions
from fer_kit.runs.training_record import LAST, METRICS
from fer_kit.track import follow
from fer_kit.train import checkpoints, log, memory, siblings
from fer_kit.train.fold_folder import inspect_folder
from fer_kit.train.job import Job, batches_of, prepare, seed_everything
from fer_kit.train.request import ResolvedRequest, TrainRequest, watched_for

SAMPLE_ROWS = 512  # of the held-out fold, looked at after each epoch: one standard error is 2 points
HELD_OUT = "held_out_accuracy"  # in metrics.jsonl, after the epoch of --stop-after, or an earlier end
SMOKE_PREDICTED_ROWS = 256  # held-out rows, and test rows, that a trial predicts
LOCK_PATIENCE_SECONDS = 1.0  # `sweep status` holds the lock for a moment to see whether it is free


def train_fold(resolved: ResolvedRequest) -> bool:
    """Train one fold until it is finished, or as far as the request asks for; return whether it is finished.

    Raises:
        FerKitError: a file that the request needs is missing, or the folder holds another training; another process
            trains the fold; the loss is not finite; memory or disk is full.
        KeyboardInterrupt: Ctrl-C was pressed. All finished epochs are saved.
    """
    began = time.monotonic()
    folder, request = resolved.folder, resolved.request
    with (
        lock.held(folder, "another process trains this fold", LOCK_PATIENCE_SECONDS) as held,
        memory.oom_as_user_error(folder),
        device.algorithms(request.deterministic),
    ):
        if inspect_folder(resolved) == "finished":
            (folder / LAST).unlink(missing_ok=True)  # left by a kill right after result.json was written
            print(f"{folder} is finished already; nothing to do")
            return True
        job = prepare(resolved, held)
        state = begin_or_resume(job)
        with follow.following(folder, request.wandb, request.data, run_facts(job, state)):
            try:
                done = train_epochs(job, state, began)
                if done:
                    finish(job, state)
            except KeyboardInterrupt:
                saved = log.saved_epochs(folder / METRICS)
                way = "--resume starts with epoch 1" if saved == log.NOTHING_SAVED else "continue with --resume"
                job.log(f"interrupted; {saved}; {way}")
                raise
    return done


def run_facts(job: Job, state: loop.State) -> dict[str, Any]:
    """Facts about the run for the tracker, which needs them before result.json exists."""
    leaves = [(name, module) for name, module in state.net.named_modules() if not list(module.children())]
    return {
        "run": job.resolved.run,
        "fold": recorded(job.request.fold),
        "folds": job.folds.count,
        "trial": job.request.smoke,
        "network": type(state.net).__name__,
        "parameters": sum(p.numel() for p in state.net.parameters()),
        "layers": [f"{name}: {module}" for name, module in leaves],
        "device": device_name(job.precision.device),
        "precision": job.precision.name,
        **job.identity,
    }


def begin_or_resume(job: Job) -> loop.State:
    """The state to train from: that of last.pt if it exists, otherwise a new network."""
    config, device = job.config, job.precision.device
    seed_everything(config, job.seed_number, 0, device)
    steps_an_epoch = steps(len(job.rows.labels), config)
    state = loop.start(config, job.precision, steps_an_epoch, weights=job.start, compile_net=job.request.compile)
    siblings.refuse_other_network(job.resolved, sum(p.numel() for p in state.net.parameters()))
    name = f"{job.resolved.run} {in_words(job.request.fold)} on {device_name(device)}, {job.precision.name}"
    last = job.folder / LAST
    if last.exists():
        checkpoints.load(last, state, job.identity)
        log.write_metrics(job.folder / METRICS, state.history)  # its last write may have failed
        job.log(f"{name}: resuming after epoch {state.epoch} of {config.epochs}")
    else:
        rows = job.split
        watched = f", {len(rows.watch):,} {watched_for(config)} (* marks the best epoch)" if len(rows.watch) else ""
        job.log(f"{name}: {job.rows.in_words()}{watched}, {len(rows.out):,} held out")
        if len(rows.out):
            job.log(
                f"sample: accuracy on {len(sample_of(rows.out)):,} held-out rows, shown only; nothing is chosen by it"
            )
        if job.start is not None:
            job.log(job.start.about)
        if job.tried:
            job.log(job.tried)
        if long := duration.told(config, job.precision, len(job.rows.labels)):
            job.log(long)
        if config.schedule == "cosine" and 2 * config.warmup_epochs > config.epochs:
            job.log(f"warm-up: shortened to half of the training, from warmup_epochs={config.warmup_epochs:g}")
    return state


def finish(job: Job, state: loop.State) -> None:
    """Predict and write the results; result.json comes last, because its presence marks the fold as finished."""
    epoch = state.epoch
    refresh_bn_statistics(job, state)
    if state.best_weights is not None:
        state.averaged_net.load_state_dict(state.best_weights)
        epoch = state.best_epoch
    started = time.monotonic()
    oof, test = predict(job, state.averaged_net, epoch)
    if not (job.folder / LAST).exists():  # the folder was moved or removed during the predictions
        save(job, state)
    weights.save_weights(
        job.folder / finished_folder.WEIGHTS, state.averaged_net, test.meta | {"model": job.config.model}
    )
    result = result_of(job, state, oof) | {
        finished_folder.WEIGHTS_SHA256: atomic.sha256_of(job.folder / finished_folder.WEIGHTS),
        "epoch": epoch,
        "predict_seconds": round(time.monotonic() - started, 1),
    }
    score = "trained on all rows, no out-of-fold accuracy"
    if oof is not None:
        predictions.write(job.folder / "oof.npz", oof)
        result["oof_sha256"] = atomic.sha256_of(job.folder / "oof.npz")
        score = f"out-of-fold accuracy {result['oof_accuracy']:.2%} on {len(oof):,} rows"
    predictions.write(job.folder / "test.npz", test)
    result["test_sha256"] = atomic.sha256_of(job.folder / "test.npz")
    job.log(f"{score}; weights of epoch {epoch}; trained for {state.seconds:.0f} s")
    atomic.write_json(job.folder / "result.json", result)
    (job.folder / LAST).unlink(missing_ok=True)  # a finished run is never resumed
    job.log(f"finished: {job.folder}")


def predict(job: Job, net: torch.nn.Module, epoch: int) -> tuple[Predictions | None, Predictions]:
    """Predictions of the held-out rows (None if all rows were trained on), and of the test rows."""
    device, out = job.precision.device, job.split.out
    run, most = job.resolved.run, SMOKE_PREDICTED_ROWS if job.request.smoke else None
    request = FoldToPredict(
        job.config, run, job.request.fold, job.competition, out, device, job.identity, job.code, most
    )
    return fold.predict(request, net, epoch)


def result_of(job: Job, state: loop.State, oof: Predictions | None) -> dict[str, Any]:
    """The content of result.json, without file hashes, epoch and prediction time, which `finish` adds."""
    return {
        "schema": 1,
        "run": job.resolved.run,
        "recipe": job.config.recipe,
        "fold": recorded(job.request.fold),
        "folds": job.folds.count,
        **fold.scores(oof),
        "epochs_trained": state.epoch,
        "train_seconds": round(state.seconds, 1),
        "seconds_an_epoch": float(np.median([record["seconds"] for record in state.history])),
        "images_per_second": float(np.median([record["images_per_second"] for record in state.history])),
        "parameters": sum(p.numel() for p in state.averaged_net.parameters()),
        "device": device_name(job.precision.device),
        "precision": job.precision.name,
        **job.identity,
        "commit": job.code,
    }


def train_epochs(job: Job, state: loop.State, began: float) -> bool:
    """Train until the recipe ends (True), to the epoch of --stop-after (False), or near the time limit.

    Near the time limit it is False, or True with `finish_at_limit`. Each epoch is saved; with `save_seconds`, an epoch
    that ends soon after a saved one is not.

    Raises:
        FerKitError: the loss is not finite, or the batches do not fit into memory. Earlier epochs are saved.
    """
    loss_of = make_loss(job.config, job.rows.labels.cpu().numpy(), job.images.device)
    saved = time.monotonic()
    while more_to_train(job.config, state):
        if is_last_wanted(job, state):
            job.log(f"stopped after epoch {state.epoch} (--stop-after), saved; continue with --resume")
            return False
        record = one_epoch(job, state, loss_of)
        state.seconds += record["seconds"]
        state.history.append(record)
        more, late = more_to_train(job.config, state), out_of_time(job.request, began, state)
        if late or not more or is_last_wanted(job, state) or time.monotonic() - saved >= job.request.save_seconds:
            save(job, state)
            saved = time.monotonic()
        job.log(epoch_line(record, job.config, state))
        if more and late and finishes_early(job):
            job.log(
                f"time limit of {job.request.limit_minutes:g} minutes: the last {job.config.epochs - state.epoch} of "
                f"{job.config.epochs} epochs are left out"
            )
            return True
        if more and late:
            job.log(
                f"time limit of {job.request.limit_minutes:g} minutes: stopped after epoch {state.epoch}, saved; "
                "continue with --resume"
            )
            return False
    return True


def save(job: Job, state: loop.State) -> None:
    """Save last.pt and metrics.jsonl.

    Raises:
        FerKitError: the files cannot be written (the previous ones remain intact); the folder was moved or removed
            (it is created and saved again first, unless another process trains in that folder now).
    """
    gone = not job.folder.is_dir()
    if not job.lock.still_held():
        raise FerKitError(f"{job.folder}: was removed, and another process trains this fold now; this training stops")
    checkpoints.save(job.folder / LAST, state, job.identity)
    log.write_metrics(job.folder / METRICS, state.history)
    if gone:
        raise FerKitError(
            f"{job.folder}: was moved or removed during the training; epochs 1 to {state.epoch} are saved there again; "
            "continue with --resume, or delete the folder"
        )


def one_epoch(job: Job, state: loop.State, loss_of: Loss) -> dict[str, Any]:
    """Train one epoch and predict the watched rows; returns the epoch's line of metrics.jsonl.

    Raises:
        FerKitError: the training loss, the weights or the watched loss are not finite; nothing of the epoch is saved.
    """
    started = time.monotonic()
    try:
        loss, accuracy = train(job, state, loss_of)
        trained = time.monotonic()
        record = {"epoch": state.epoch, "lr": state.schedule.lr, "train_loss": loss, "train_accuracy": accuracy}
        if job.config.watches:
            record |= watch(job, state)
    except loop.NotFiniteError as error:
        raise FerKitError(f"{job.folder}: {error}; {not_finite_advice(job, state)}") from None
    if len(job.split.out):
        record["sample_accuracy"] = accuracy_on(job, state, sample_of(job.split.out))
        if job.request.stop_after is not None and (is_last_wanted(job, state) or stopped_early(job.config, state)):
            record[HELD_OUT] = accuracy_on(job, state, job.split.out)
    state.schedule.after_epoch(record.get("watch_accuracy"))
    images = len(job.rows.labels)
    speed = round(images / (trained - started), 1)
    return record | {"seconds": round(time.monotonic() - started, 3), "images_per_second": speed}


def not_finite_advice(job: Job, state: loop.State) -> str:
    """The end of the error message for a loss that is not finite: what is saved, and what to try."""
    saved = "earlier epochs are saved in last.pt" if (job.folder / LAST).exists() else "nothing is saved yet"
    way = f"a lower learning rate: --set lr={job.config.lr / 10:g} --tag NAME"
    if job.precision.name != "fp32":
        way = f"a lower learning rate or fp32: --set lr={job.config.lr / 10:g} precision=fp32 --tag NAME"
    return f"{saved}; train a new run with {way}"


def train(job: Job, state: loop.State, loss_of: Loss) -> tuple[float, float]:
    """Loss and accuracy of one epoch of training, with a progress bar."""
    progress = log.Progress(f"epoch {state.epoch + 1}/{job.config.epochs}", len(job.rows.labels))
    batches = batches_of(job, state.epoch + 1)
    try:
        return loop.train_epoch(state, batches, loss_of, job.config, job.precision, progress)
    except (RuntimeError, MemoryError) as error:
        if operation := device.not_repeatable(error):
            raise FerKitError(
                f"{job.folder}: --deterministic: {operation} has no deterministic form on "
                f"{device_name(job.precision.device)}; drop the option, or choose another recipe"
            ) from None
        if not memory.caused(error):
            raise
    finally:
        progress.close()
    raise FerKitError(f"{memory.advice(job, state, loss_of)}; {log.saved_epochs(job.folder / METRICS)}")


def watch(job: Job, state: loop.State) -> dict[str, float]:
    """Loss and accuracy on the watched rows; keeps the weights of the best epoch.

    An average over the last epochs (`average_epochs`) exists only at the end; until then the network itself is watched.

    Raises:
        NotFiniteError: the loss on the watched rows is infinite or NaN.
    """
    rows = job.split.watch
    logits = loop.predict(
        state.net if job.config.average_epochs else state.averaged_net,
        job.images[torch.from_numpy(rows)],
        "none",
        job.precision,
    )
    labels = job.competition.train.labels[rows]
    with np.errstate(invalid="ignore"):  # infinite logits; the loss is then NaN
        loss, accuracy = metrics.log_loss(logits, labels), metrics.accuracy(logits, labels)
    if not math.isfinite(loss):
        raise loop.NotFiniteError(f"the loss on the watched rows is {loss} after epoch {state.epoch}")
    best = max((record["watch_accuracy"] for record in state.history), default=-1.0)
    if accuracy > best:
        state.best_epoch = state.epoch
        if job.config.early_stop_epochs:
            state.best_weights = weights.weights_of(state.averaged_net)
    return {"watch_loss": loss, "watch_accuracy": accuracy}


def accuracy_on(job: Job, state: loop.State, rows: NDArray[np.int64]) -> float:
    """Accuracy on held-out rows, without test-time views.

    It draws no random number and leaves the network as it was, so the training stays the same bit for bit. After each
    epoch it is measured on a fixed sample, to look at: nothing is chosen by it. For searches, which state that they
    choose by it, it is measured on the whole fold after the epoch of --stop-after, or after the last epoch of a
    training that stops early before that.
    """
    net = state.net if job.config.average_epochs else state.averaged_net
    logits = loop.predict(net, job.images[torch.from_numpy(rows)], "none", job.precision)
    return float((logits.argmax(1) == job.competition.train.labels[rows]).mean())


def sample_of(out: NDArray[np.int64]) -> NDArray[np.int64]:
    """At most `SAMPLE_ROWS` rows, evenly over the held-out fold; the same ones after every epoch."""
    return out[np.linspace(0, len(out) - 1, min(SAMPLE_ROWS, len(out))).astype(np.int64)]


def more_to_train(config: TrainConfig, state: loop.State) -> bool:
    """Whether the recipe asks for another epoch."""
    return state.epoch < config.epochs and not stopped_early(config, state)


def stopped_early(config: TrainConfig, state: loop.State) -> bool:
    """Whether the watched accuracy has not risen for `early_stop_epochs` epochs."""
    return bool(config.early_stop_epochs) and state.epoch - state.best_epoch >= config.early_stop_epochs


def is_last_wanted(job: Job, state: loop.State) -> bool:
    """Whether --stop-after asks for no further epoch."""
    return job.request.stop_after is not None and state.epoch >= job.request.stop_after


def out_of_time(request: TrainRequest, began: float, state: loop.State) -> bool:
    """Whether another epoch of the same duration would end after the time limit."""
    if request.limit_minutes is None:
        return False
    return time.monotonic() - began + float(state.history[-1]["seconds"]) > 60 * request.limit_minutes


def finishes_early(job: Job) -> bool:
    """Whether the training predicts at the time limit with the weights that it has.

    A mean of the last epochs is no network before these epochs are trained.
    """
    return job.request.finish_at_limit and not job.config.average_epochs


def epoch_line(record: dict[str, Any], config: TrainConfig, state: loop.State) -> str:
    """The log line of an epoch; `record` is the epoch's line of metrics.jsonl."""
    watched = f"  watched {record['watch_accuracy']:.2%}" if "watch_accuracy" in record else ""
    sample = f"  sample {record['sample_accuracy']:.2%}" if "sample_accuracy" in record else ""
    sample += f"  held out {record[HELD_OUT]:.2%}" if HELD_OUT in record else ""
    star = " *" if watched and state.best_epoch == state.epoch else ""
    return (
        f"epoch {record['epoch']:>3}/{config.epochs}  lr {record['lr']:.2e}  loss {record['train_loss']:.4f}"
        f"  accuracy {record['train_accuracy']:.2%}{watched}{star}{sample}"
        f"  {record['images_per_second']:,.0f} images/s  {record['seconds']:.1f} s"
    )


def refresh_bn_statistics(job: Job, state: loop.State) -> None:
    """Measure the batch-norm statistics of weights averaged over epochs, on the batches of one more epoch."""
    if state.average is not None and job.config.average_epochs:
        images = (images for images, _ in batches_of(job, job.config.epochs + 1))
        averaging.renew_statistics(state.average, images, job.precision)
