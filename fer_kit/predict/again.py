"""Finished folds predicted again with other test-time views, as a run of its own beside the untouched source."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fer_kit import models, revision
from fer_kit.config import train_config as config
from fer_kit.data import loading as data
from fer_kit.engine import device as precision
from fer_kit.engine import environment as run_environment
from fer_kit.engine.environment import utc_now
from fer_kit.errors import FerKitError
from fer_kit.files import atomic, lock
from fer_kit.folds import deal as folds
from fer_kit.folds import fold_spec, splits
from fer_kit.folds.fold_spec import Fold
from fer_kit.models import weights
from fer_kit.predict import fold as fold_predict
from fer_kit.runs import folders as runs
from fer_kit.runs import predictions

WEIGHTS, CONFIG, HISTORY = "model.safetensors", "config.json", "metrics.jsonl"


@dataclass(frozen=True)
class Wish:
    """Which folds of run `source` to predict with which views, as which run. command: for env.json, without a fold."""

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
    config: config.TrainConfig
    result: dict[str, Any]


def write(wish: Wish) -> Iterator[str]:
    """Predict and write each fold, whole or not at all; yields the lines to tell. Folds that are there already stay.

    Raises:
        FerKitError: a fold is not finished, was predicted so already, or is of other data or folds than these; another
            run has the target's name; another process is at the same fold.
    """
    device = precision.choose_device(wish.device)
    todo = []
    for fold in wish.folds:
        there = runs.fold_folder(wish.runs, wish.target, fold)
        if is_there(there, wish, fold):
            yield f"{there} is finished already; nothing to do"
        else:
            todo.append(fold)
    if not todo:
        return
    competition = data.load(data.find(wish.data), wish.runs / runs.CACHE)
    table = folds.read(wish.runs / "folds.csv")
    for fold in todo:
        target = runs.fold_folder(wish.runs, wish.target, fold)
        with lock.held(target, "another process predicts or trains this fold"):
            if is_there(target, wish, fold):  # another process was at it since the look above
                yield f"{target} is finished already; nothing to do"
                continue
            atomic.sweep(target.parent, target.name)
            yield predicted(wish, fold, competition, table, device)


def predicted(wish: Wish, fold: Fold, competition: data.Competition, table: folds.Folds, device: torch.device) -> str:
    """Predict and write one fold, whose lock is held; the line to tell."""
    here = {"data_digest": competition.digest, "folds_digest": table.digest}
    source = read(runs.fold_folder(wish.runs, wish.source, fold))
    check(source, wish.views, here)
    changed = dataclasses.replace(source.config, views=wish.views)
    asked = fold_predict.Asked(
        config=changed,
        run=wish.target,
        fold=fold,
        competition=competition,
        out=splits.split(table, fold, changed).out,
        device=device,
        identity={"config_digest": changed.digest, **here},
        code=revision.commit(),
    )
    began = time.monotonic()
    net = models.build(source.config)
    weights.load_weights(source.folder / WEIGHTS, net)
    net = net.to(device).to(memory_format=torch.channels_last)
    oof, test = fold_predict.predict(asked, net, source.result["epoch"])
    return save(wish, asked, source, oof, test, time.monotonic() - began)


def read(folder: Path) -> FinishedFold:
    """A finished fold's config and result."""
    settings = config.from_json(atomic.read_json(folder / CONFIG), f"{folder / CONFIG}")
    return FinishedFold(folder, settings, atomic.read_json(folder / runs.RESULT))


def is_there(folder: Path, wish: Wish, fold: Fold) -> bool:
    """Whether `folder` holds what `wish` asks for; False where nothing lies there.

    Raises:
        FerKitError: something else lies there, or what weights gave that the source has no longer.
    """
    if not folder.exists():
        return False
    result = atomic.read_json(folder / runs.RESULT) if runs.is_finished(folder) else {}
    source = result.get("source", {})
    if source.get("run") == wish.source and read(folder).config.views == wish.views:
        trained = runs.fold_folder(wish.runs, wish.source, fold)
        weights = trained / WEIGHTS  # may have been removed, to save space
        if weights.is_file() and atomic.sha256_of(weights) != source.get("weights_sha256"):
            raise FerKitError(
                f"{folder} was predicted by other weights than {trained} has now; remove {folder}, or name the new run "
                "with --tag"
            )
        return True
    raise FerKitError(f"{folder} holds another run; name the new one with --tag")


def check(source: FinishedFold, views: str, here: dict[str, str]) -> None:
    """Refuse a fold that cannot be predicted, or need not be."""
    if source.config.digest != source.result["config_digest"]:
        raise FerKitError(f"{source.folder / CONFIG}: not the one that the fold was trained with; put it back")
    if source.config.views == views:
        raise FerKitError(f"{source.folder} was predicted with --views {views} already; take other views")
    for key, digest in here.items():
        if digest != source.result[key]:
            raise FerKitError(
                f"{source.folder}: {key} is {source.result[key][:12]}, that of the files here is {digest[:12]}; give "
                "what it was trained with by --data and --runs"
            )


def save(
    wish: Wish,
    asked: fold_predict.Asked,
    source: FinishedFold,
    oof: predictions.Predictions | None,
    test: predictions.Predictions,
    seconds: float,
) -> str:
    """Write the folder aside and rename it, so that there is never half a fold; the line to tell."""
    target = runs.fold_folder(wish.runs, wish.target, asked.fold)
    result = {
        **source.result,
        "run": wish.target,
        **fold_predict.scores(oof),
        **asked.identity,
        "commit": asked.code,
        "predict_seconds": round(seconds, 1),
        "source": {
            "run": wish.source,
            "views": source.config.views,
            "config_digest": source.config.digest,
            "weights_sha256": atomic.sha256_of(source.folder / WEIGHTS),
        },
    }
    with atomic.replacing_folder(target) as folder:
        for name in (WEIGHTS, HISTORY):  # the network, and how it was trained: the same as in the source
            shutil.copyfile(source.folder / name, folder / name)
        command = f"{wish.command} --fold {fold_spec.folder_name(asked.fold).removeprefix('fold')}"
        exact = precision.Precision("fp32", asked.device)
        atomic.write_json(folder / "env.json", run_environment.environment(exact, command, asked.code))
        atomic.write_json(folder / CONFIG, asked.config.to_json())
        told = f"{source.folder} predicted with the views {wish.views} in place of {source.config.views}"
        atomic.write_text(folder / "log.txt", f"{utc_now()} {told}\n")
        for file, key, rows in ((runs.OOF, "oof_sha256", oof), (runs.TEST, "test_sha256", test)):
            if rows is not None:
                predictions.write(folder / file, rows)
                result[key] = atomic.sha256_of(folder / file)
        atomic.write_json(folder / runs.RESULT, result)
    if oof is None:
        return f"{target}: full fit, nothing out of fold"
    before = f"{source.result['oof_accuracy']:.2%} with {source.config.views}"
    return f"{target}: out of fold {result['oof_accuracy']:.2%} with {wish.views}, {before}"
