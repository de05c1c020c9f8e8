"""Find the network that a user names: a run, a fold, a blend, a packed file, or none for the one that ships."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from ensembles import refit
from fer_kit.engine.device import choose_device
from fer_kit.errors import FerKitError
from fer_kit.folds.fold_spec import Fold
from fer_kit.predict import load, packed
from fer_kit.predict.model import FaceModel
from fer_kit.runs import lookup
from fer_kit.runs.lookup import BlendFolder, FoldFolder

SHIPPED = Path(__file__).resolve().parents[1] / "shipped" / f"network{packed.SUFFIX}"


def shipped_network() -> Path:
    """The packed network that is part of this package.

    Raises:
        FerKitError: this version of the package has none.
    """
    if not SHIPPED.is_file():
        raise FerKitError(
            "no network ships with this version of fer_kit; name one with --by: a run, a blend or a packed file "
            f"(*{packed.SUFFIX})"
        )
    return SHIPPED


def model(name: str | None, runs_dir: Path, device: str = "auto", folds: Sequence[Fold] | None = None) -> FaceModel:
    """The classifier called `name`.

    Args:
        name: a run, a blend, a fold as RUN/fold0, or the path of a packed file; None for the network that ships.
        runs_dir: folder of runs.
        device: "auto", "cpu", "cuda" or "cuda:1".
        folds: the folds of a run to use; None for all finished ones.

    Raises:
        FerKitError: there is nothing of this name, no finished fold, or a file is damaged.
    """
    chosen = choose_device(device)
    if name is None or is_packed(name):
        return of_packed(shipped_network() if name is None else Path(name), chosen)
    found = lookup.find(runs_dir, name)
    if isinstance(found, BlendFolder):
        return FaceModel(found.name, load.blend_network(runs_dir, found.name, refit.stack), chosen)
    if isinstance(found, FoldFolder):
        return FaceModel(found.name, load.run_network(runs_dir, found.run.name, [found.fold]), chosen)
    return FaceModel(found.name, load.run_network(runs_dir, found.name, folds), chosen)


def is_packed(name: str) -> bool:
    """Whether `name` is the path of a packed file, to judge by its ending."""
    return name.endswith(packed.SUFFIX)


def of_packed(path: Path, device: torch.device) -> FaceModel:
    """The classifier in a packed file."""
    found = packed.read(path)
    return FaceModel(found.name, found.network, device)
