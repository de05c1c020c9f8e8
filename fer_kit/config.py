"""`TrainConfig`: the one frozen record that decides a run's numbers, and its typed overrides."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fer_kit.errors import FerKitError, did_you_mean
from fer_kit.files import digest_of

MODELS = ("baseline_v1", "baseline_v2", "deep_v1", "deep_v2", "attention", "residual")
CHOICES = {
    "model": MODELS,
    "optimizer": ("adam", "adamw", "sgd"),
    "schedule": ("constant", "plateau", "cosine"),
    "loss": ("cross_entropy", "focal"),
    "loss_weights": ("none", "balanced", "effective"),
    "sampler": ("shuffle", "balanced"),
    "edges": ("zeros", "border", "reflection"),
    "views": ("none", "flip"),
    "precision": ("auto", "bf16", "fp16", "fp32"),
}
# field: (lowest, highest); the bounds themselves are allowed
RANGES: dict[str, tuple[float, float]] = {
    "epochs": (1, 10_000),
    "batch_size": (2, 65_536),
    "seed": (0, 2**31 - 1),
    "limit_rows": (0, 10**9),
    "lr": (0.0, 100.0),
    "weight_decay": (0.0, 10.0),
    "momentum": (0.0, 1.0),
    "warmup_epochs": (0.0, 1_000.0),
    "plateau_patience_epochs": (0, 10_000),
    "plateau_factor": (0.01, 0.99),
    "early_stop_epochs": (0, 10_000),
    "watch_frac": (0.02, 0.5),
    "average_decay": (0.0, 0.99999),
    "focal_gamma": (0.0, 10.0),
    "label_smoothing": (0.0, 0.9),
    "mixup_alpha": (0.0, 10.0),
    "targets_share": (0.0, 1.0),
    "flip_prob": (0.0, 1.0),
    "rotation_deg": (0.0, 180.0),
    "shift_frac": (0.0, 0.5),
    "scale_frac": (0.0, 0.9),
    "shear_deg": (0.0, 60.0),
    "brightness_frac": (0.0, 1.0),
    "contrast_frac": (0.0, 1.0),
    "erase_prob": (0.0, 1.0),
}

NEUTRAL = {"targets": "", "targets_share": 0.5}  # came later; left out of records where there are no targets
TARGETS_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}@[0-9a-f]{16}")


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a run's numbers. Device, folders and tracking are options beside it.

    Raises:
        FerKitError: a value outside its range or choices, or two settings that exclude each other.
    """

    recipe: str
    model: str
    epochs: int
    batch_size: int = 64
    seed: int = 0
    limit_rows: int = 0  # train on this many rows only, for trials; 0 = all

    optimizer: str = "adam"
    lr: float = 1e-3
    weight_decay: float = 0.0
    decay_norms: bool = True  # weight decay on norms and biases too, as torch does by default
    momentum: float = 0.9  # sgd only, with Nesterov's correction

    schedule: str = "constant"
    warmup_epochs: float = 0.0  # cosine only: linear from lr/100
    plateau_patience_epochs: int = 3
    plateau_factor: float = 0.5
    early_stop_epochs: int = 0  # epochs without a better watched accuracy; 0 = train all epochs
    watch_frac: float = 0.1  # of the training rows, cut off for early stopping and plateaus
    average_decay: float = 0.0  # exponential average of the weights, per step; 0 = none

    loss: str = "cross_entropy"
    focal_gamma: float = 2.0
    label_smoothing: float = 0.0
    loss_weights: str = "none"
    sampler: str = "shuffle"
    mixup_alpha: float = 0.0
    targets: str = ""  # soft targets, NAME@ and the first 16 digits of the file's sha256; empty = labels alone
    targets_share: float = 0.5  # of a train row's target; the rest is its label

    flip_prob: float = 0.0
    rotation_deg: float = 0.0  # each range is drawn from evenly, both ways around "unchanged"
    shift_frac: float = 0.0  # of the image side
    scale_frac: float = 0.0
    shear_deg: float = 0.0
    brightness_frac: float = 0.0
    contrast_frac: float = 0.0
    erase_prob: float = 0.0
    edges: str = "zeros"  # what a warp finds outside the image

    views: str = "flip"  # test-time views, averaged
    precision: str = "auto"  # the fastest that the device has

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check_field(field.name, getattr(self, field.name))
        if self.lr == 0.0:
            raise FerKitError("lr=0.0 would train nothing; give a rate above 0, e.g. lr=1e-3")
        if self.loss_weights != "none" and self.sampler == "balanced":
            raise FerKitError(
                f"loss_weights={self.loss_weights} with sampler=balanced corrects the imbalance twice, and trains a "
                "network that answers Disgust; set loss_weights=none or sampler=shuffle"
            )

        if self.targets and not TARGETS_NAME.fullmatch(self.targets):
            raise FerKitError(
                f"targets='{self.targets}' is no name of targets with a digest; give the file to "
                "python -m fer_kit.train as --set targets=FILE"
            )
        if self.targets_share != NEUTRAL["targets_share"] and not self.targets:
            raise FerKitError(f"targets_share={self.targets_share} without targets; give --set targets=FILE too")

    @property
    def watches(self) -> bool:
        """Whether a slice of the training rows is cut off and watched."""
        return self.early_stop_epochs > 0 or self.schedule == "plateau"

    @property
    def digest(self) -> str:
        """sha256 over all fields; runs with the same digest differ in fold, data and device only."""
        return digest_of(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """The record as JSON values, in field order, without the settings of `NEUTRAL` where they are not used.

        So that runs begun before there were such settings keep their digest.
        """
        record = dataclasses.asdict(self)
        return record if self.targets else {name: record[name] for name in record if name not in NEUTRAL}


TYPES: dict[str, type] = {
    field.name: {"str": str, "int": int, "float": float, "bool": bool}[str(field.type)]
    for field in dataclasses.fields(TrainConfig)
}


def check_field(name: str, value: Any) -> None:
    """Type, choice and range of one field; FerKitError with all three in words."""
    kind: Any = TYPES[name]
    if type(value) is not kind:
        raise FerKitError(f"{name}={value!r} is no {kind.__name__}; give {name} as {describe(name)}")
    if name in CHOICES and value not in CHOICES[name]:
        allowed = CHOICES[name]
        raise FerKitError(f"{name}={value!r} is not one of {', '.join(allowed)}{did_you_mean(str(value), allowed)}")
    if name in RANGES:
        low, high = RANGES[name]
        if not (math.isfinite(value) and low <= value <= high):
            raise FerKitError(f"{name}={value!r} is out of range; give {describe(name)}")


def describe(name: str) -> str:
    """What a field takes, in words: `a float from 0.0 to 1.0`."""
    if name in CHOICES:
        return "one of " + ", ".join(CHOICES[name])
    article = "an" if TYPES[name] is int else "a"
    words = {str: "text", bool: "true or false"}.get(TYPES[name], f"{article} {TYPES[name].__name__}")
    return words + (" from {} to {}".format(*RANGES[name]) if name in RANGES else "")


def parse_value(name: str, text: str) -> Any:
    """`text` as the type of field `name`, strictly: no `1.5` for an int, no `yes` for a bool."""
    kind = TYPES[name]
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        return kind(text)
    except (ValueError, KeyError):
        raise FerKitError(f"--set {name}={text}: '{text}' is no {kind.__name__}; give {describe(name)}") from None


def override(config: TrainConfig, settings: Iterable[str]) -> TrainConfig:
    """`config` with `key=value` settings applied.

    Raises:
        FerKitError: no `=`, an unknown or fixed key, a repeated key, a value of the wrong type or range.
    """
    changes: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        name = name.strip()
        if not equals:
            raise FerKitError(f"--set {setting}: there is no '='; write --set lr=1e-4")
        if name == "recipe":
            raise FerKitError("--set recipe=…: the recipe is chosen by --recipe; the changed run is named by --tag")
        if name not in TYPES:
            raise FerKitError(
                f"--set {name}: no such setting{did_you_mean(name, TYPES)}; there are: {', '.join(TYPES)}"
            )
        if name in changes:
            raise FerKitError(f"--set {name} is given twice; keep one")
        changes[name] = parse_value(name, text.strip())
    return dataclasses.replace(config, **changes)


def from_json(record: Any, where: str) -> TrainConfig:
    """The config in a JSON record as `to_json` made it; `where` names the file in errors.

    Raises:
        FerKitError: not an object, an unknown or missing key, a bad value.
    """
    if not isinstance(record, Mapping):
        raise FerKitError(f"{where}: a config is a JSON object, not {type(record).__name__}; was the file edited?")
    for name in record:
        if name not in TYPES:
            raise FerKitError(f"{where}: unknown setting '{name}'{did_you_mean(str(name), TYPES)}; remove it")
    missing = [name for name in TYPES if name not in record and name not in NEUTRAL]
    if missing:
        raise FerKitError(f"{where}: settings are missing ({', '.join(missing)}); start the run anew")
    try:
        return TrainConfig(**record)
    except FerKitError as error:
        raise FerKitError(f"{where}: {error}") from None
