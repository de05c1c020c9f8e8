"""Training from Python: `fer_kit.train(...)`."""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_kit.config import recipes
from fer_kit.config.train_config import TrainConfig
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.folds import fold_spec
from fer_kit.folds.fold_spec import Fold
from fer_kit.runs import folders
from fer_kit.track import follow
from fer_kit.train.request import TrainRequest, name_of, resolve

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class TrainedFold:
    """A fold after `fer_kit.train`: finished, or stopped at its time limit.

    Attributes:
        run: name of the run, for `fer_kit.oof`, `fer_kit.load_model` and `fer_kit.blend`.
        fold: the fold that was held out; () for all rows.
        folder: the folder of the fold, with its log, weights and predictions.
        config: all settings that decided the numbers.
        result: what result.json records, such as "oof_accuracy"; empty if the fold is not finished.
    """

    run: str
    fold: Fold
    folder: Path
    config: TrainConfig
    result: Mapping[str, Any]

    @property
    def finished(self) -> bool:
        """Whether training is complete; else call `fer_kit.train` with the same arguments and `resume=True`."""
        return bool(self.result)

    @property
    def accuracy(self) -> float | None:
        """Accuracy on the fold that was held out, 0 to 1; None if it is not finished, or trained on all rows."""
        return self.result.get("oof_accuracy")

    @property
    def history(self) -> pd.DataFrame:
        """One row an epoch: epoch, lr, train_loss, train_accuracy, seconds and others."""
        import pandas as pd

        lines = (self.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return pd.DataFrame([json.loads(line) for line in lines])

    def __repr__(self) -> str:
        score = "not finished" if not self.finished else "full fit" if self.accuracy is None else f"{self.accuracy:.2%}"
        return f"TrainedFold('{self.run}', {fold_spec.in_words(self.fold)}, {score}, '{self.folder}')"


def train(
    recipe: str = recipes.DEFAULT,
    *,
    fold: int | str | tuple[int, ...],
    settings: Mapping[str, Any] | Sequence[str] = (),
    model: Callable[..., Any] | str | None = None,
    targets: str | PathLike[str] | None = None,
    tag: str | None = None,
    seed: int | None = None,
    accumulate: int | None = None,
    weights: str | PathLike[str] | None = None,
    augment: str | PathLike[str] | None = None,
    workers: int | None = None,
    data: str | PathLike[str] | None = None,
    runs: str | PathLike[str] = "runs",
    device: str = "auto",
    compile: bool = False,
    deterministic: bool = False,
    resume: bool = False,
    restart: bool = False,
    limit_minutes: float | None = None,
    smoke: bool = False,
    wandb: str = follow.OFF,
) -> TrainedFold:
    """Train one fold of a recipe, predict its own rows and the test rows, and keep everything in a run folder.

    Runs in this process and prints one line an epoch. The same as `fer-kit train`: same folders, same bits.

    Args:
        recipe: its name, such as "vgg_small", or "timm/NAME" for a network of timm.
        fold: the fold to hold out, from 0; "all" trains on all rows.
        settings: changes to the recipe, {"epochs": 10, "lr": 1e-3}; needs a tag.
        model: your own network: an `nn.Module` class in an importable file, or "package.module:Class". It takes
            normalised faces float32 (N, 1, 48, 48) and gives logits (N, 7). Needs a tag.
        targets: a file of soft targets from `fer-kit targets`; needs a tag.
        tag: names a changed run: "<recipe>-<tag>".
        seed: another seed, as a run "<recipe>-seed<N>".
        accumulate: number of parts that each batch is split into, to save memory; needs a tag.
        weights: what the network starts from: a file, a run's folder, a Kaggle model, "hub" or "none".
        augment: a pipeline saved by albumentations, or "v3", in place of the recipe's augmentation; needs a tag.
        workers: processes that run `augment`; None starts one a core, 16 at most.
        data: folder with the competition's files; None looks in the usual places.
        runs: folder of runs, with folds.csv.
        device: "auto", "cpu", "cuda" or "cuda:1".
        compile: compile the network by torch.compile.
        deterministic: the same bits every time on a GPU, more slowly.
        resume: continue after the last finished epoch; returns at once if the fold is finished.
        restart: delete an unfinished training of this fold and start anew.
        limit_minutes: stop at the end of an epoch before this time is over.
        smoke: a trial of one epoch on 512 rows, as run "<recipe>-smoke".
        wandb: "off", "offline" or "online": log to Weights & Biases.

    Raises:
        FerKitError: an argument outside its range, missing data or folds, a finished or unfinished fold in the way,
            or a training that failed. The message says what to do.
    """
    given = list_settings(settings)
    if model is not None:
        given = with_setting(given, "model", model if isinstance(model, str) else name_of_class(model))
    if targets is not None:
        given = with_setting(given, "targets", f"{targets}")
    resolved = resolve(
        TrainRequest(
            parse_fold(fold),
            recipe,
            given,
            tag,
            seed,
            accumulate,
            weights=None if weights is None else str(weights),
            augment=None if augment is None else str(augment),
            workers=workers,
            data=None if data is None else str(data),
            runs=Path(runs),
            device=device,
            compile=compile,
            deterministic=deterministic,
            resume=resume,
            restart=restart,
            limit_minutes=limit_minutes,
            smoke=smoke,
            wandb=wandb,
        )
    )
    from fer_kit.train import fold as fold_training  # this brings torch

    fold_training.train_fold(resolved)
    folder = resolved.folder
    result = atomic.read_json(folder / folders.RESULT) if folders.is_finished(folder) else {}
    return TrainedFold(resolved.run, resolved.request.fold, folder, resolved.config, result)


def list_settings(settings: Mapping[str, Any] | Sequence[str]) -> tuple[str, ...]:
    """Settings as "name=value", from a mapping or from such texts."""
    if isinstance(settings, str):
        raise FerKitError(f"settings={settings!r}: give a mapping, e.g. settings={{'lr': 1e-3}}")
    if not isinstance(settings, Mapping):
        return tuple(settings)
    return tuple(f"{name}={value}" for name, value in settings.items())


def with_setting(settings: tuple[str, ...], name: str, value: str) -> tuple[str, ...]:
    """`settings` with one more, which must not be there yet."""
    if any(name_of(setting) == name for setting in settings):
        raise FerKitError(f"{name}={value} and settings with '{name}' are two values; keep one")
    return (*settings, f"{name}={value}")


def parse_fold(fold: int | str | tuple[int, ...]) -> Fold:
    """The fold that `fold=` names.

    Raises:
        FerKitError: not a number from 0, "all", or two numbers.
    """
    text = "+".join(map(str, fold)) if isinstance(fold, tuple) else str(fold)
    try:
        return fold_spec.parse(text or fold_spec.typed(fold_spec.ALL))
    except argparse.ArgumentTypeError:
        raise FerKitError(f"fold={fold!r}: give a number from 0, 'all', or two numbers as (1, 3)") from None


def name_of_class(model: Callable[..., Any]) -> str:
    """ "package.module:Class" of a class or function.

    Raises:
        FerKitError: it cannot be imported by that name, so that the run's network could not be built again.
    """
    module, name = getattr(model, "__module__", ""), getattr(model, "__qualname__", "")
    if not name:
        raise FerKitError(f"model={model!r}: give the class of your network, not an instance")
    if module == "__main__" or not module.replace(".", "").replace("_", "").isalnum() or not name.isidentifier():
        raise FerKitError(
            f"model={name}: no later process could import a class of a notebook, a script or a function; move the "
            "class into a file, e.g. my_net.py, and import it from there"
        )
    if getattr(importlib.import_module(module), name, None) is not model:
        raise FerKitError(f"model={module}:{name}: {module} holds another {name} by now; import the class again")
    return f"{module}:{name}"
