"""`fer_kit.train(...)`: train one fold from Python."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_kit.config import recipes
from fer_kit.config.train_config import TrainConfig
from fer_kit.errors import FerKitError, naming_keywords
from fer_kit.folds import fold_spec
from fer_kit.folds.fold_spec import Fold
from fer_kit.keywords import check_types
from fer_kit.runs import finished_folder
from fer_kit.runs.training_record import METRICS, read_epochs, read_result
from fer_kit.track import follow
from fer_kit.train.request import TrainRequest, name_of, resolve

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class TrainedFold:
    """The result of `fer_kit.train`: a fold that is finished, or that was stopped at its time limit.

    Attributes:
        run: name of the run, for `fer_kit.oof`, `fer_kit.load_model` and `fer_kit.blend`.
        fold: the fold that was held out; () for all rows.
        folder: the folder of the fold, with log, weights and predictions.
        config: all settings of the run.
        result: the content of result.json, such as "oof_accuracy"; empty if the fold is not finished.
    """

    run: str
    fold: Fold
    folder: Path
    config: TrainConfig
    result: Mapping[str, Any]

    @property
    def finished(self) -> bool:
        """True if training is complete; if not, call `fer_kit.train` again with `resume=True` added."""
        return bool(self.result)

    @property
    def accuracy(self) -> float | None:
        """Accuracy on the held-out fold, 0 to 1; None if the fold is not finished, or if no fold was held out."""
        return self.result.get("oof_accuracy")

    @property
    def history(self) -> pd.DataFrame:
        """The content of metrics.jsonl: a DataFrame of one row per epoch with epoch, lr, train_loss, train_accuracy
        (0 to 1), seconds, images_per_second, and watch_loss and watch_accuracy if the recipe watches rows.

        Raises:
            FerKitError: the file is missing or damaged.
        """
        import pandas as pd

        file = self.folder / METRICS
        epochs, damage = read_epochs(file)
        if damage or not file.is_file():
            raise FerKitError(f"{file}: {damage or 'no such file'}; restore that file, or train this fold again")
        return pd.DataFrame(epochs)

    def __repr__(self) -> str:
        score = "not finished" if not self.finished else "full fit" if self.accuracy is None else f"{self.accuracy:.2%}"
        return f"TrainedFold('{self.run}', {fold_spec.in_words(self.fold)}, {score}, '{self.folder}')"


@naming_keywords
@check_types
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
    batch_size: int | None = None,
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
    stop_after: int | None = None,
    finish_at_limit: bool = False,
    save_seconds: float = 0.0,
    smoke: bool = False,
    wandb: str = follow.OFF,
) -> TrainedFold:
    """Train one fold of a recipe, predict the held-out rows and the test rows, and write a run folder.

    Trains in this process and prints one line per epoch. `fer-kit train` with the same options gives the same folder
    and the same results, bit for bit.

    Args:
        recipe: name of a recipe, such as "vgg_small", or "timm/NAME" for a network of timm.
        fold: the fold to hold out, counted from 0; "all" trains on all rows; (1, 3) holds out two folds.
        settings: changes to the recipe, {"epochs": 10, "lr": 1e-3}; needs a tag.
        model: your own network: an `nn.Module` class in an importable file, or "package.module:Class". The network
            maps normalised faces float32 (N, 1, 48, 48) to logits (N, 7). Needs a tag.
        targets: a file of soft targets from `fer-kit targets`; needs a tag.
        tag: suffix that names a changed run: "<recipe>-<tag>".
        seed: random seed; the run is named "<recipe>-seed<N>".
        accumulate: number of parts that each step's batch is split into, to save memory; needs a tag.
        batch_size: images per step, with learning rate, weight decay and weight average scaled to match; needs a tag.
        weights: initial weights: a file, the folder of a finished run, a Kaggle model, "hub" (timm's pretrained
            weights) or "none" (random). None uses the recipe's. Needs a tag.
        augment: a pipeline saved by albumentations, or "v3", in place of the recipe's augmentation; needs a tag.
        workers: number of processes that run `augment`; None starts one for each core, at most 16.
        data: folder with the competition's files; None searches FER_KIT_DATA, Kaggle's mounts and ./data.
        runs: folder of runs, which holds folds.csv.
        device: "auto", "cpu", "cuda" or "cuda:1".
        compile: compile the network with torch.compile.
        deterministic: on a GPU, repeat results bit for bit; slower.
        resume: continue after the last finished epoch; returns at once if the fold is finished.
        restart: delete the fold's unfinished training and start again.
        limit_minutes: stop after the last epoch that fits into this time.
        stop_after: stop after this epoch, with the schedule of the whole training; continue with `resume=True`.
        finish_at_limit: at that time leave out the remaining epochs and predict: the fold is finished.
        save_seconds: least time from one checkpoint to the next; 0 saves after every epoch.
        smoke: trial run: 512 rows, one epoch, or two where faces grow, named "<recipe>-smoke".
        wandb: "off", "offline" or "online": log to Weights & Biases.

    Returns:
        A `TrainedFold`, with `accuracy`, `history` and `folder`.

    Raises:
        FerKitError: an argument is out of range; data or folds are missing; the fold is finished, or unfinished and
            neither `resume` nor `restart` is given; the training failed (memory, disk, a loss that is not finite). The
            message says what to do.
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
            batch_size,
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
            stop_after=stop_after,
            finish_at_limit=finish_at_limit,
            save_seconds=save_seconds,
            smoke=smoke,
            wandb=wandb,
        )
    )
    from fer_kit.train import fold as fold_training  # loads torch

    fold_training.train_fold(resolved)
    folder = resolved.folder
    result = read_result(folder / finished_folder.RESULT) if finished_folder.is_finished(folder) else {}
    return TrainedFold(resolved.run, resolved.request.fold, folder, resolved.config, result)


def list_settings(settings: Mapping[str, Any] | Sequence[str]) -> tuple[str, ...]:
    """Settings as "name=value" strings, from a mapping or a sequence of such strings.

    Raises:
        FerKitError: `settings` is neither a mapping nor a sequence of strings, such as a single string.
    """
    if isinstance(settings, Mapping):
        return tuple(f"{name}={value}" for name, value in settings.items())
    listed = isinstance(settings, Sequence) and not isinstance(settings, str)
    if not listed or not all(isinstance(setting, str) for setting in settings):
        raise FerKitError(f"settings={settings!r}: give a mapping, e.g. settings={{'lr': 1e-3}}")
    return tuple(settings)


def with_setting(settings: tuple[str, ...], name: str, value: str) -> tuple[str, ...]:
    """`settings` with one more.

    Raises:
        FerKitError: `settings` gives a value of that name already.
    """
    if any(name_of(setting) == name for setting in settings):
        raise FerKitError(f"{name}={value} and settings with '{name}' both give a value; drop one of them")
    return (*settings, f"{name}={value}")


def parse_fold(fold: int | str | tuple[int, ...]) -> Fold:
    """The held-out folds for the keyword `fold`.

    Raises:
        FerKitError: `fold` is not a number from 0, "all", or a pair of numbers.
    """
    if isinstance(fold, str) and not fold:
        raise FerKitError("fold='' is empty; give a number from 0, 'all', or two numbers as (1, 3)")
    text = "+".join(map(str, fold)) if isinstance(fold, tuple) else str(fold)
    try:
        return fold_spec.parse(text or fold_spec.typed(fold_spec.ALL))
    except argparse.ArgumentTypeError:
        raise FerKitError(f"fold={fold!r}: give a number from 0, 'all', or two numbers as (1, 3)") from None


def name_of_class(model: Callable[..., Any]) -> str:
    """The name "package.module:Class" of a class or function that builds a network.

    Raises:
        FerKitError: no other process could import the class by that name, so that nobody could load the run again.
    """
    module, name = getattr(model, "__module__", ""), getattr(model, "__qualname__", "")
    if not name:
        raise FerKitError(f"model={model!r}: give the class of your network, not an instance")
    if module == "__main__" or not module.replace(".", "").replace("_", "").isalnum() or not name.isidentifier():
        raise FerKitError(
            f"model={name}: a class defined in a notebook, a script or a function cannot be imported later; move the "
            "class into a file, e.g. my_net.py, and import it from there"
        )
    if getattr(importlib.import_module(module), name, None) is not model:
        raise FerKitError(f"model={module}:{name}: {module} now holds another {name}; import the class again")
    return f"{module}:{name}"
