"""Load finished folds, runs and blends as networks that take faces, with normalisation, views and blend weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fer_kit import models
from fer_kit.engine.face_network import FaceNetwork
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.folds import fold_spec
from fer_kit.folds.fold_spec import Fold
from fer_kit.models.weights import load_weights, read_about
from fer_kit.predict.combine import MeanOfNetworks, StackedBlend, Tempered, WeightedBlend
from fer_kit.runs import finished_folder, folders
from fer_kit.runs.blend_record import FullFitRecord, MemberRecord, SourceRecord
from fer_kit.runs.finished_folder import BLEND, RESULT, WEIGHTS
from fer_kit.runs.training_record import CONFIG, read_config, read_result

Refit = Callable[[Path, Path], tuple[NDArray[np.float64], NDArray[np.float64], float]]

OF_PROBABILITIES = ("mean", "greedy")  # methods that average probabilities; the others average log-probabilities


def fold_network(folder: Path) -> FaceNetwork:
    """The network of a finished fold, on the CPU.

    Raises:
        FerKitError: the fold is not finished, its weights are missing, or its config was changed after training.
    """
    if not finished_folder.is_finished(folder):
        raise FerKitError(f"{folder} is not a finished fold; train it first")
    if not (folder / WEIGHTS).is_file():
        raise FerKitError(f"{folder / WEIGHTS}: no such file; restore it, or train this fold again")
    config = read_config(folder)
    result = read_result(folder / RESULT)
    if config.digest != result.get("config_digest"):
        raise FerKitError(f"{folder / CONFIG}: not the config that this fold was trained with; restore that file")
    fold, of_weights = result.get("fold"), read_about(folder / WEIGHTS).get("fold")
    if of_weights is not None and of_weights != fold:
        raise FerKitError(
            f"{folder / WEIGHTS}: the weights of fold {of_weights}, not of fold {fold}; restore that file"
        )
    finished_folder.check_weights(folder)
    net = models.build(config)
    load_weights(folder / WEIGHTS, net)
    return FaceNetwork(net, config.views)


def run_network(runs_dir: Path, run: str, folds: Sequence[Fold] | None = None) -> MeanOfNetworks:
    """The mean of the networks of a run. folds: the folds to use; None for all finished folds except the full fit.

    Raises:
        FerKitError: the run does not exist, or a fold is not finished.
    """
    if folds is None:
        state = folders.status(runs_dir, run)
        if not state.finished:
            raise FerKitError(folders.unfinished_message(runs_dir, state))
        folds = state.finished
    return MeanOfNetworks([fold_network(folders.fold_folder(runs_dir, run, fold)) for fold in folds])


def blend_network(runs_dir: Path, name: str, refit: Refit) -> nn.Module:
    """The members of a blend, combined with the weights, temperatures and kind of mean used on the test rows.

    Members of weight 0 are left out.

    Args:
        refit: gives the regression of a stacked blend, whose coefficients are not in blend.json
            (`ensembles.refit.stack`).

    Raises:
        FerKitError: the blend does not exist; a member has no network, is missing or has changed; the blend looks up
            twins, which is defined for the competition's test rows only.
    """
    blend = folders.load_blend(runs_dir, name)
    folder, record = blend.folder, blend.record
    where = f"{folder / BLEND}"
    if record.twins is not None:
        raise FerKitError(f"{where}: updates test rows by labels of their twins; load '{record.twins.blend}'")
    used = [member for member in record.members if member.weight != 0]
    members = [
        Tempered(_member(runs_dir, member, record.full_fit, where, refit), member.temperature or 1.0) for member in used
    ]
    if record.method == "stack":
        coefficients, intercepts, floor = refit(runs_dir, folder)
        return StackedBlend(members, torch.from_numpy(coefficients), torch.from_numpy(intercepts), floor)
    if any(member.weight is None for member in used):  # `blend_record` refuses this for a method that is known
        raise FerKitError(f"{where}: 'weight' of a member is null and no method is recorded; blend again with --force")
    method = record.pool if record.method == "given" else record.method
    return WeightedBlend(
        members,
        [float(member.weight or 0) for member in used],
        of_logs=method not in OF_PROBABILITIES,
        sharpness=1.0 if record.sharpness is None else record.sharpness,
    )


def _member(
    runs_dir: Path, member: MemberRecord, full_fit: FullFitRecord | None, where: str, refit: Refit
) -> nn.Module:
    """The network of one member: the mean over its sources. Runs that differ only in their seed are one member."""
    sources = [_source(runs_dir, source, where, refit) for source in member.sources]
    if full_fit is not None and member.run in full_fit.sha256:
        return _with_full_fit(runs_dir, member, full_fit.how, sources[0])
    return sources[0] if len(sources) == 1 else MeanOfNetworks(sources)


def _source(runs_dir: Path, source: SourceRecord, where: str, refit: Refit) -> nn.Module:
    """The network of a run or blend that belongs to a member, if its files are unchanged since the blend was made."""
    place = runs_dir / source.path
    if source.kind not in ("run", "blend"):
        raise FerKitError(f"{where}: its member {place} has only prediction files and no network; blend runs instead")
    for file, sha256 in source.sha256.items():
        if not (place / file).is_file() or atomic.sha256_of(place / file) != sha256:
            raise FerKitError(f"{where}: its member {place / file} is missing or has changed; blend again with --force")
    if source.kind == "blend":
        return blend_network(place.parent.parent, place.name, refit)
    folds = sorted({fold_spec.parse(file.partition("/")[0].removeprefix("fold")) for file in source.sha256})
    return run_network(place.parent, place.name, folds)


def _with_full_fit(runs_dir: Path, member: MemberRecord, how: str, folds: nn.Module) -> nn.Module:
    """The network of a run whose full fit predicts the test rows, "instead" of its folds or "beside" them (`how`)."""
    place = runs_dir / member.sources[0].path
    full = fold_network(folders.fold_folder(place.parent, place.name, fold_spec.ALL))
    if how == "instead" or not isinstance(folds, MeanOfNetworks):
        return full
    return MeanOfNetworks([*folds.networks, full])
