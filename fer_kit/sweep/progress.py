"""How far the trainings of a sweep are, read from their run folders, and how long they will take."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_kit.config.growth import work_of_epochs
from fer_kit.errors import FerKitError
from fer_kit.files import lock
from fer_kit.runs import finished_folder
from fer_kit.runs.training_record import METRICS, read_config, read_epochs
from fer_kit.sweep.runner import claimed, read_failure
from fer_kit.sweep.training import Training

FINISHED, RUNNING, WAITING, FAILED = "finished", "running", "waiting", "failed"


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    epochs: of the recipe, None before it began. accuracy: out of fold where it is finished, else the latest that its
    metrics tell (see `accuracy_of`). share: the part of the work that is done; epochs of larger images are more work.
    seconds: of the whole training, None where nothing was measured yet. message: the last line of a training that
    failed.
    """

    training: Training
    state: str
    epoch: int = 0
    epochs: int | None = None
    accuracy: float | None = None
    share: float = 0.0
    seconds: float | None = None
    message: str = ""


def look(runs: Path, training: Training) -> Progress:
    """How far `training` is."""
    folder = training.folder(runs)
    damage = ""
    try:
        result = finished_folder.read(folder, finished_folder.RESULT)
    except FerKitError as error:
        result, damage = None, str(error)
    if result is not None:
        seconds = float(result.get("train_seconds") or 0.0) + float(result.get("predict_seconds") or 0.0)
        epochs = int(result.get("epochs_trained") or 0)
        return Progress(training, FINISHED, epochs, epochs, result.get("oof_accuracy"), 1.0, seconds)
    history, _ = read_epochs(folder / METRICS)
    state, message = WAITING, ""
    if lock.is_held(claimed(folder)) or lock.is_held(folder):
        state = RUNNING
    elif (why := damage or read_failure(runs, training)) is not None:
        state, message = FAILED, why
    work = _work(folder)
    done, whole = len(history), sum(work)
    rates = [float(one["seconds"]) / part for one, part in zip(history, work, strict=False) if one.get("seconds")]
    return Progress(
        training,
        state,
        done,
        len(work) or None,
        accuracy_of(history[-1]) if history else None,
        sum(work[:done]) / whole if work else 0.0,
        statistics.median(rates) * whole if rates else None,
        message,
    )


def accuracy_of(record: Mapping[str, Any]) -> float | None:
    """The accuracy of an epoch that tells most: on the sample of held-out rows, on watched rows, on training rows."""
    for key in ("sample_accuracy", "watch_accuracy", "train_accuracy"):
        if isinstance(value := record.get(key), float):
            return value
    return None


def _work(folder: Path) -> list[float]:
    """The work of each epoch; empty before the training began, or where its config cannot be read."""
    try:
        config = read_config(folder)
    except FerKitError:
        return []
    return work_of_epochs(config)


def seconds_left(found: Sequence[Progress]) -> dict[Training, float]:
    """Seconds that each unfinished training still needs, where the speed of any training of the sweep is known.

    The speed of a run is measured on its own folds; that of a run that has not begun follows from the work of the
    others.
    """
    speeds: dict[str, list[float]] = {}
    rates: list[float] = []  # seconds a unit of work
    for one in found:
        if one.seconds:
            speeds.setdefault(one.training.run, []).append(one.seconds)
            if one.training.work:
                rates.append(one.seconds / one.training.work)
    left: dict[Training, float] = {}
    for one in found:
        if one.state in (FINISHED, FAILED):
            continue
        own = speeds.get(one.training.run)
        if own:
            whole = statistics.median(own)
        elif rates and one.training.work:
            whole = statistics.median(rates) * one.training.work
        else:
            continue
        left[one.training] = whole * (1 - one.share)
    return left


def seconds_for_all(found: Sequence[Progress], slots: int) -> float | None:
    """Seconds until all are finished with `slots` at once; None while no speed is known."""
    left = seconds_left(found)
    unfinished = [one for one in found if one.state in (RUNNING, WAITING)]
    if not unfinished:
        return 0.0
    if any(one.training not in left for one in unfinished):
        return None
    running = [left[one.training] for one in unfinished if one.state == RUNNING]
    ends = sorted(running, reverse=True)
    ends += [0.0] * (slots - len(ends))
    for seconds in sorted((left[one.training] for one in unfinished if one.state == WAITING), reverse=True):
        ends[ends.index(min(ends))] += seconds
    return max(ends)
