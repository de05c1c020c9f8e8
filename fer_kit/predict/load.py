"""Finished folds, runs and blends as networks that take faces: weights, normalisation, views and weights of a blend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fer_kit import models
from fer_kit.config.train_config import from_json
from fer_kit.engine.face_network import FaceNetwork
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.folds import fold_spec
from fer_kit.folds.fold_spec import Fold
from fer_kit.models.weights import load_weights
from fer_kit.predict.combine import MeanOfNetworks, StackedBlend, Tempered, WeightedBlend
from fer_kit.runs import folders
from fer_kit.runs.folders import BLEND, RESULT

Refit = Callable[[Path, Path], tuple[NDArray[np.float64], NDArray[np.float64], float]]

WEIGHTS, CONFIG = "model.safetensors", "config.json"
OF_PROBABILITIES = ("mean", "greedy")  # methods whose weights are for probabilities; the others' are for their logs


def fold_network(folder: Path) -> FaceNetwork:
    """The network of a finished fold, on the CPU.

    Raises:
        FerKitError: the fold is not finished, its weights are gone, or its config is not that of its training.
    """
    if not folders.is_finished(folder):
        raise FerKitError(f"{folder} is not a finished fold; train it first")
    if not (folder / WEIGHTS).is_file():
        raise FerKitError(f"{folder / WEIGHTS}: no such file; put it back, or train this fold again")
    config = from_json(atomic.read_json(folder / CONFIG), f"{folder / CONFIG}")
    if config.digest != atomic.read_json(folder / RESULT).get("config_digest"):
        raise FerKitError(f"{folder / CONFIG}: not the one that the fold was trained with; put it back")
    net = models.build(config)
    load_weights(folder / WEIGHTS, net)
    return FaceNetwork(net, config.views)


def run_network(runs_dir: Path, run: str, folds: Sequence[Fold] | None = None) -> MeanOfNetworks:
    """The mean of the networks of a run. folds: which of them; None takes every finished fold but the full fit.

    Raises:
        FerKitError: no such run, or a fold that is not finished.
    """
    if folds is None:
        state = folders.status(runs_dir, run)
        if not state.finished:
            raise FerKitError(folders.unfinished_message(runs_dir, state))
        folds = state.finished
    return MeanOfNetworks([fold_network(folders.fold_folder(runs_dir, run, fold)) for fold in folds])


def blend_network(runs_dir: Path, name: str, refit: Refit) -> nn.Module:
    """The members of a blend with its weights, temperatures and kind of mean, as they were applied to the test rows.

    Members of weight 0 are left out.

    Args:
        refit: gives the regression of a stack, whose coefficients blend.json does not hold (`ensembles.refit.stack`).

    Raises:
        FerKitError: no such blend; a member is no run or blend of ours, is gone or has changed; a blend with twin
            lookup, which depends on the test rows.
    """
    folder = folders.load_blend(runs_dir, name).folder  # and so checked
    record = atomic.read_json(folder / BLEND)
    where = f"{folder / BLEND}"
    if record.get("twins"):
        raise FerKitError(f"{where}: updates test rows by labels of their twins; load '{record['twins']['blend']}'")
    full_fit = record.get("full_fit") or {}
    used = [entry for entry in record["members"] if entry["weight"] != 0]
    members = [
        Tempered(_member(runs_dir, entry, full_fit, where, refit), float(entry["temperature"])) for entry in used
    ]
    if record["method"] == "stack":
        coefficients, intercepts, floor = refit(runs_dir, folder)
        return StackedBlend(members, torch.from_numpy(coefficients), torch.from_numpy(intercepts), floor)
    method = record["pool"] if record["method"] == "given" else record["method"]
    return WeightedBlend(
        members,
        [float(entry["weight"]) for entry in used],
        of_logs=method not in OF_PROBABILITIES,
        sharpness=float(1.0 if record["sharpness"] is None else record["sharpness"]),
    )


def _member(runs_dir: Path, entry: dict[str, Any], full_fit: dict[str, Any], where: str, refit: Refit) -> nn.Module:
    """The network of one member: the mean over its sources, which are several if runs differ in the seed alone."""
    sources = [_source(runs_dir, source, where, refit) for source in entry["sources"]]
    if entry["run"] in full_fit.get("sha256", {}):
        return _with_full_fit(runs_dir, entry, full_fit["how"], sources[0])
    return sources[0] if len(sources) == 1 else MeanOfNetworks(sources)


def _source(runs_dir: Path, source: dict[str, Any], where: str, refit: Refit) -> nn.Module:
    """The network of a run or blend that a member was read from, if it still is what the blend was made of."""
    place = runs_dir / source["path"]
    if source["kind"] not in ("run", "blend"):
        raise FerKitError(f"{where}: its member {place} has predictions alone and no network; blend runs")
    for file, sha256 in source["sha256"].items():
        if not (place / file).is_file() or atomic.sha256_of(place / file) != sha256:
            raise FerKitError(f"{where}: its member {place / file} is gone or has changed; blend again with --force")
    if source["kind"] == "blend":
        return blend_network(place.parent.parent, place.name, refit)
    return run_network(place.parent, place.name)


def _with_full_fit(runs_dir: Path, entry: dict[str, Any], how: str, folds: nn.Module) -> nn.Module:
    """A run whose full fit predicts the test rows, `how` "instead" of its folds or "beside" them."""
    place = runs_dir / entry["sources"][0]["path"]
    full = fold_network(folders.fold_folder(place.parent, place.name, fold_spec.ALL))
    if how == "instead" or not isinstance(folds, MeanOfNetworks):
        return full
    return MeanOfNetworks([*folds.networks, full])
