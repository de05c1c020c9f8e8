"""Predict finished folds again with other test-time views, as a new run; the source run does not change."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fer_kit import metrics, models, revision
from fer_kit.config.train_config import TrainConfig
from fer_kit.data import loading
from fer_kit.data.loading import Competition
from fer_kit.engine.device import Precision, choose_device
from fer_kit.engine.environment import environment, utc_now
from fer_kit.errors import FerKitError
from fer_kit.files import atomic, lock
from fer_kit.folds import fold_spec, splits, table
from fer_kit.folds.fold_spec import Fold
from fer_kit.folds.table import Folds
from fer_kit.models import weights
from fer_kit.predict.fold import FoldToPredict, predict, scores
from fer_kit.runs import finished_folder, folders, predictions
from fer_kit.runs.finished_folder import WEIGHTS
from fer_kit.runs.predictions import Predictions
from fer_kit.runs.training_record import CONFIG, ENVIRONMENT, LOG, METRICS, read_config, read_result


@dataclass(frozen=True)
class PredictRequest:
    """Predict `folds` of run `source` with `views`, as run `target`. command: for env.json, without its --fold."""

    runs: Path
    source: str
    target: str
    views: str
    folds: tuple[Fold, ...]
    data: str | None
    device: str
    command: str


@dataclass(frozen=True)
class FinishedFold:
    """A finished fold. result: result.json."""

    folder: Path
    config: TrainConfig
    result: dict[str, Any]


def write(request: PredictRequest) -> Iterator[str]:
    """Predict each fold, write its folder as a whole or not at all, and yield a line to print. Finished folds stay.

    Raises:
        FerKitError: a fold is not finished, or belongs to other data or folds; another run has the name of the target;
            another process works on the same fold.
    """
    device = choose_device(request.device)
    todo = []
    for fold in request.folds:
        there = folders.fold_folder(request.runs, request.target, fold)
        if is_done(there, request, fold):
            yield f"{there} is finished already; nothing to do"
        else:
            todo.append(fold)
    if not todo:
        return
    competition = loading.load(loading.find(request.data), request.runs / folders.CACHE)
    folds = table.read(request.runs / "folds.csv")
    for fold in todo:
        target = folders.fold_folder(request.runs, request.target, fold)
        with lock.held(target, "another process predicts or trains this fold"):
            if is_done(target, request, fold):  # another process may have written the folder before the lock was taken
                yield f"{target} is finished already; nothing to do"
                continue
            atomic.sweep(target.parent, target.name)
            yield predict_fold(request, fold, competition, folds, device)


def predict_fold(
    request: PredictRequest, fold: Fold, competition: Competition, folds: Folds, device: torch.device
) -> str:
    """Predict and write one fold, whose lock the caller holds; returns the line to print."""
    here = {"data_digest": competition.digest, "folds_digest": folds.digest}
    source = read_checked(request.runs, folders.fold_folder(request.runs, request.source, fold))
    check(source, here)
    changed = dataclasses.replace(source.config, views=request.views)
    todo = FoldToPredict(
        config=changed,
        run=request.target,
        fold=fold,
        competition=competition,
        out=splits.split(folds, fold, changed).out,
        device=device,
        identity={"config_digest": changed.digest, **here},
        code=revision.commit(),
    )
    began = time.monotonic()
    net = models.build(source.config)
    finished_folder.check_weights(source.folder)
    weights.load_weights(source.folder / WEIGHTS, net)
    net = net.to(device).to(memory_format=torch.channels_last)
    oof, test = predict(todo, net, source.result["epoch"])
    return save(request, todo, source, oof, test, time.monotonic() - began)


def read(folder: Path) -> FinishedFold:
    """Read config.json and result.json of a finished fold."""
    return FinishedFold(folder, read_config(folder), read_result(folder / finished_folder.RESULT))


def read_checked(runs_dir: Path, folder: Path) -> FinishedFold:
    """As `read`, after a check of the out-of-fold rows, whose score is printed.

    Raises:
        FerKitError: the rows or labels are not those of folds.csv, or the score is not that of the rows.
    """
    path = folder / finished_folder.RESULT
    result = read_result(path)
    if (folder / finished_folder.OOF).is_file():
        oof = folders.read_oof(runs_dir, folder)
        assert oof.labels is not None
        stored = finished_folder.field(path, result, "oof_accuracy", float)
        finished_folder.check_accuracy(path, stored, metrics.accuracy(oof.logits, oof.labels))
    return FinishedFold(folder, read_config(folder), result)


def is_done(folder: Path, request: PredictRequest, fold: Fold) -> bool:
    """Whether `folder` holds the result of `request`; False if there is no such folder.

    Raises:
        FerKitError: the folder holds another run, or predictions by weights that the source has no longer.
    """
    if not folder.exists():
        return False
    result = read_result(folder / finished_folder.RESULT) if finished_folder.is_finished(folder) else {}
    source = result.get("source", {})
    if source.get("run") == request.source and read(folder).config.views == request.views:
        trained = folders.fold_folder(request.runs, request.source, fold)
        weights_file = trained / WEIGHTS  # may have been removed to save space
        if weights_file.is_file() and atomic.sha256_of(weights_file) != source.get("weights_sha256"):
            raise FerKitError(
                f"{folder} was predicted by other weights than {trained} has now; remove {folder}, or name the new run "
                "with --tag"
            )
        return True
    raise FerKitError(f"{folder} holds another run; name the new run with --tag")


def check(source: FinishedFold, here: dict[str, str]) -> None:
    """Raise FerKitError if the config, data or folds of a fold are not those of its training.

    here: data_digest and folds_digest of the files at hand.
    """
    if source.config.digest != source.result["config_digest"]:
        raise FerKitError(
            f"{source.folder / CONFIG}: not the config that this fold was trained with; restore that file"
        )
    for key, digest in here.items():
        if digest != source.result[key]:
            raise FerKitError(
                f"{source.folder}: {key} is {source.result[key][:12]}, but the files here have {digest[:12]}; name the "
                "data and folds of its training with --data and --runs"
            )


def save(
    request: PredictRequest,
    predicted: FoldToPredict,
    source: FinishedFold,
    oof: Predictions | None,
    test: Predictions,
    seconds: float,
) -> str:
    """Write the fold's folder under a temporary name and rename it, so that no reader sees a part of it.

    Returns:
        The line to print.
    """
    target = folders.fold_folder(request.runs, request.target, predicted.fold)
    result = {
        **source.result,
        "run": request.target,
        **scores(oof),
        **predicted.identity,
        "commit": predicted.code,
        "predict_seconds": round(seconds, 1),
        "source": {
            "run": request.source,
            "views": source.config.views,
            "config_digest": source.config.digest,
            "weights_sha256": atomic.sha256_of(source.folder / WEIGHTS),
        },
    }
    with atomic.replacing_folder(target) as folder:
        for name in (WEIGHTS, METRICS):  # the network and its training are those of the source
            shutil.copyfile(source.folder / name, folder / name)
        command = f"{request.command} --fold {fold_spec.folder_name(predicted.fold).removeprefix('fold')}"
        exact = Precision("fp32", predicted.device)
        atomic.write_json(folder / ENVIRONMENT, environment(exact, command, predicted.code))
        atomic.write_json(folder / CONFIG, predicted.config.to_json())
        line = f"{source.folder} predicted with the views {request.views} in place of {source.config.views}"
        atomic.write_text(folder / LOG, f"{utc_now()} {line}\n")
        for file, key, rows in ((finished_folder.OOF, "oof_sha256", oof), (finished_folder.TEST, "test_sha256", test)):
            if rows is not None:
                predictions.write(folder / file, rows)
                result[key] = atomic.sha256_of(folder / file)
        atomic.write_json(folder / finished_folder.RESULT, result)
    if oof is None:
        return f"{target}: full fit, which has no out-of-fold rows; predicted the test rows with {request.views}"
    before = f"{source.result['oof_accuracy']:.2%} with {source.config.views}"
    return f"{target}: out-of-fold accuracy {result['oof_accuracy']:.2%} with {request.views}, {before}"
