"""`TrainRequest`: all options of a training of one fold; `resolve` turns a request into a config and a run name.

The command line, kernels, sweeps and the Python API build the same request. `resolve` reads each file that a request
names (soft targets, augmentation pipeline, weights) once, and the training uses the content that was read.
"""

from __future__ import annotations

import dataclasses
import math
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_kit.batches import pipeline_file
from fer_kit.batches.pipeline_file import AugmentFile
from fer_kit.config import batch_size, recipes
from fer_kit.config.networks import OWN_NAME
from fer_kit.config.train_config import TrainConfig, override, refuse_unused
from fer_kit.errors import FerKitError
from fer_kit.folds.fold_spec import Fold, typed
from fer_kit.pretrained import source
from fer_kit.pretrained.source import Source
from fer_kit.runs import folders, soft_targets
from fer_kit.runs.soft_targets import SoftTargets
from fer_kit.track import follow

SMOKE_ROWS, SMOKE_BATCH = 512, 64
MOST_WORKERS = 256
PROGRAM = "python -m fer_kit.train"
WITH_VALUE: tuple[str, ...] = (
    "tag",
    "trial",
    "seed",
    "batch_size",
    "accumulate",
    "weights",
    "augment",
    "workers",
    "data",
)
WITH_VALUE += ("limit_minutes", "stop_after")
RESERVED_TAG = re.compile(r"(.*-)?(smoke|seed[0-9]+|trial[0-9]+)")  # the ends of names by --smoke, --seed, --trial


@dataclass(frozen=True)
class TrainRequest:
    """A request to train one fold. The fields are the options of `python -m fer_kit.train`.

    Attributes:
        fold: the fold to hold out, from 0; () trains on all rows, (1, 3) holds out two folds.
        settings: changes to the recipe, each as "name=value"; "targets=FILE" names a file of soft targets.
        accumulate: number of parts that each step's batch is split into, to save memory.
        batch_size: images per step; learning rate, weight decay and weight average are scaled with them.
        weights: a file, the folder of a run, "package:NAME", a Kaggle model, "hub" or "none"; None uses those of the
            recipe.
        augment: a pipeline file of albumentations or "v3", in place of the recipe's augmentation.
        workers: number of processes that run `augment`; None starts one for each core, at most 16.
        data: folder with the competition's files; None searches FER_KIT_DATA, Kaggle's mounts and ./data.
        stop_after: stop after this epoch, with the schedule of the whole training; None trains to the end.
        trial: number of a trial of a search; the run is named "...-trial<N>" and counts as a trial.
        finish_at_limit: at the time limit leave out the remaining epochs and predict, instead of stopping.
        save_seconds: least time from one checkpoint to the next; 0 saves after every epoch.
        command: the command line to record in env.json; None records the equivalent of the request.
    """

    fold: Fold
    recipe: str = recipes.DEFAULT
    settings: tuple[str, ...] = ()
    tag: str | None = None
    seed: int | None = None
    accumulate: int | None = None
    batch_size: int | None = None
    weights: str | None = None
    augment: str | None = None
    workers: int | None = None
    data: str | None = None
    runs: Path = Path("runs")
    device: str = "auto"
    compile: bool = False
    deterministic: bool = False
    resume: bool = False
    restart: bool = False
    limit_minutes: float | None = None
    stop_after: int | None = None
    trial: int | None = None
    finish_at_limit: bool = False
    save_seconds: float = 0.0
    smoke: bool = False
    wandb: str = follow.OFF
    command: str | None = None

    def options(self) -> list[str]:
        """The request as command-line arguments, without options at their defaults."""
        words = ["--fold", typed(self.fold), "--recipe", self.recipe]
        words += ["--set", *self.settings] if self.settings else []
        for name in WITH_VALUE:
            value = getattr(self, name)
            words += [] if value is None else [f"--{name.replace('_', '-')}", f"{value}"]
        for name in ("runs", "device", "wandb", "save_seconds"):
            value = getattr(self, name)
            words += [] if value == getattr(TrainRequest, name) else [f"--{name.replace('_', '-')}", f"{value}"]
        flags = ("compile", "deterministic", "resume", "restart", "finish_at_limit", "smoke")
        return words + [f"--{name.replace('_', '-')}" for name in flags if getattr(self, name)]

    @property
    def recorded_command(self) -> str:
        """The command line that env.json records."""
        return self.command or f"{PROGRAM} {shlex.join(self.options())}"


@dataclass(frozen=True, eq=False)
class ResolvedRequest:
    """A request together with the config, the run's name, and the content of the files that the request names.

    Attributes:
        recipe: the unchanged recipe.
        config: the recipe with the request's changes.
        run: name of the run folder.
        folder: the folder of the fold.
    """

    request: TrainRequest
    recipe: TrainConfig
    config: TrainConfig
    run: str
    folder: Path
    pipeline: AugmentFile | None = None
    weights: Source | None = None
    targets: SoftTargets | None = None

    @property
    def discards_old(self) -> bool:
        """Whether an earlier training in the folder is deleted. A smoke run always starts again."""
        return self.request.restart or self.request.smoke


def resolve(request: TrainRequest) -> ResolvedRequest:
    """Check `request`, read the files that it names, and derive the config and the run's name.

    Raises:
        FerKitError: an unknown recipe or setting, a changed recipe without a tag, a file that cannot be read, an
            option outside its range, or two options that exclude each other.
    """
    check_options(request)
    named = [soft_targets.named(setting) for setting in request.settings]
    settings = [setting for setting, _ in named]
    recipe = recipes.get(request.recipe)
    pipeline = None if request.augment is None else pipeline_file.open_file(request.augment)
    require_tag(request)
    run = folders.run_name(request.recipe, tag_of(request))
    weights = find_weights(request, run)
    if weights is not None and weights.name != recipe.weights and request.tag is None and not request.smoke:
        raise FerKitError(f"--weights {request.weights} changes the recipe; name the changed run with --tag NAME")
    base = recipe if pipeline is None else pipeline_file.in_place(recipe, pipeline)
    config = override(base, settings, weights=None if weights is None else weights.name)
    if config.model.startswith(source.TIMM) and not (recipe.weights or config.weights or weights):
        ways = f"--weights {source.HUB}, FILE or {source.NONE}"
        raise FerKitError(f"--set model={config.model} does not say which weights to start from; add {ways}")
    refuse_unused(base, config, (name_of(setting) for setting in settings))
    if OWN_NAME.fullmatch(config.model):
        config = for_own_network(config, {name_of(setting) for setting in settings})
    config = batch_size.scale(config, request.batch_size, {name_of(setting) for setting in settings})
    config = with_seed(batch_size.split(config, request.accumulate), request)
    if request.smoke:
        config = for_smoke_run(config)
    targets = next((read for _, read in named if read is not None), None)
    folder = folders.fold_folder(request.runs, run, request.fold)
    return ResolvedRequest(request, recipe, config, run, folder, pipeline, weights, targets)


def check_options(request: TrainRequest) -> None:
    """Refuse options outside their range, and options that exclude each other."""
    if request.workers is not None and (request.augment is None or not 0 <= request.workers <= MOST_WORKERS):
        why = "workers run only the pipeline of --augment" if request.augment is None else f"give 0 to {MOST_WORKERS}"
        raise FerKitError(f"--workers {request.workers}: {why}")
    if request.smoke and request.resume:
        raise FerKitError("--smoke with --resume: a smoke run always starts again; drop one of them")
    if request.resume and request.restart:
        raise FerKitError("--resume with --restart: a training either continues or starts again; drop one of them")
    if request.wandb not in follow.MODES:
        raise FerKitError(f"--wandb {request.wandb}: give one of {', '.join(follow.MODES)}")
    if request.limit_minutes is not None and not request.limit_minutes > 0:
        raise FerKitError(f"--limit-minutes {request.limit_minutes:g}: give a number above 0")
    if request.stop_after is not None and request.stop_after < 1:
        raise FerKitError(f"--stop-after {request.stop_after}: give the number of an epoch, 1 or more")
    if request.trial is not None and request.trial < 0:
        raise FerKitError(f"--trial {request.trial}: give 0 or more")
    if not 0 <= request.save_seconds < math.inf:
        raise FerKitError(f"--save-seconds {request.save_seconds:g}: give 0 (after every epoch) or more seconds")


def require_tag(request: TrainRequest) -> None:
    """Refuse a changed recipe without a tag: its run would have the same name as the unchanged recipe's.

    A tag that reads as the suffix of another option is refused, too.
    """
    if request.tag == "":
        raise FerKitError("--tag '' is empty; give a name, or leave the option out")
    if request.tag is not None and RESERVED_TAG.fullmatch(request.tag):
        raise FerKitError(
            f"--tag {request.tag}: only --smoke, --seed and --trial give names that end so; choose another tag"
        )
    if request.smoke or request.tag is not None:
        return
    changes = {"set": " ".join(request.settings), "augment": request.augment, "accumulate": request.accumulate}
    for option, value in {**changes, "batch-size": request.batch_size}.items():
        if value:
            raise FerKitError(f"--{option} {value} changes the recipe; name the changed run with --tag NAME")


def tag_of(request: TrainRequest) -> str | None:
    """The suffix of the run's name after the recipe: tag, seed, trial and "smoke"; None without any of them."""
    parts = [
        request.tag,
        None if request.seed is None else f"seed{request.seed}",
        None if request.trial is None else f"trial{request.trial}",
        "smoke" if request.smoke else None,
    ]
    return "-".join(part for part in parts if part is not None) or None


def name_of(setting: str) -> str:
    """The name in "name=value"."""
    return setting.partition("=")[0].strip()


def find_weights(request: TrainRequest, run: str) -> Source | None:
    """The weights that `--weights` names; None without the option, to use the recipe's weights."""
    if request.weights is None:
        return None
    if request.resume:
        folder = folders.fold_folder(request.runs, run, request.fold)
        return source.resumed(request.weights, request.fold, folder)
    return source.find(request.weights, request.fold)


def with_seed(config: TrainConfig, request: TrainRequest) -> TrainConfig:
    """`config` with the seed of `--seed`, if given.

    Raises:
        FerKitError: the seed is given by `--set seed=…`, too.
    """
    if request.seed is None:
        return config
    if any(name_of(setting) == "seed" for setting in request.settings):
        raise FerKitError(f"--seed {request.seed} and --set seed=… both give a seed; drop one of them")
    return dataclasses.replace(config, seed=request.seed)


def for_own_network(config: TrainConfig, changed: set[str]) -> TrainConfig:
    """`config` with the digest of the own network's source file, and without the recipe's width and drop path.

    changed: names of the settings that the request changes; these are kept.

    Raises:
        FerKitError: the network cannot be imported, or has no source file.
    """
    from fer_kit.models import own  # loads torch, as the network does

    neutral: dict[str, Any] = {"width_mult": 1.0, "drop_path_prob": 0.0}
    kept = {name: value for name, value in neutral.items() if name not in changed}
    return dataclasses.replace(config, model=own.with_digest(config.model), **kept)


def watched_for(config: TrainConfig) -> str:
    """What a config watches rows for: `watched for early stopping and the plateau schedule`."""
    stop = ["early stopping"] if config.early_stop_epochs else []
    plateau = ["the plateau schedule"] if config.schedule == "plateau" else []
    return f"watched for {' and '.join(stop + plateau)}"


def for_smoke_run(config: TrainConfig) -> TrainConfig:
    """`config` reduced to a few rows and one epoch, or two where the faces grow: the smallest and the full size."""
    epochs = 2 if config.progressive_px else 1
    return dataclasses.replace(
        config,
        epochs=epochs,
        limit_rows=SMOKE_ROWS,
        batch_size=min(config.batch_size, SMOKE_BATCH),
        warmup_epochs=min(config.warmup_epochs, epochs / 2),
        average_epochs=min(config.average_epochs, epochs),
        freeze_epochs=0,  # otherwise the smoke run would train only the classifier
    )
