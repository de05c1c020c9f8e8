"""`TrainConfig`: the one frozen record that decides a run's numbers, and its typed overrides."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fer_kit.config_limits import (
    CHOICES,
    DEVICE_AUGMENT,
    DROP_PATH_MODELS,
    FILES,
    LATER,
    MODELS,
    NAMED_FILE,
    RANGES,
    TIMM_NAME,
    WIDTH_MODELS,
)
from fer_kit.errors import FerKitError, did_you_mean
from fer_kit.files import digest_of


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
    accumulate: int = 1  # batches a step; their gradients are averaged
    seed: int = 0
    limit_rows: int = 0  # train on this many rows only, for trials; 0 = all
    drop_constant: bool = False  # leave out images of one grey value
    soft_copies: bool = False  # identical images in the training rows share the mean of their labels as target

    weights: str = ""  # to start from: "hub", or NAME@ and the first 16 digits of the file's sha256; empty = random
    width_mult: float = 1.0  # channels of every layer, as a multiple of the network's own
    drop_path_prob: float = 0.0  # of the deepest block to be skipped in a step, rising from 0 with depth
    image_px: int = 0  # side that the network sees; 0 = the network's own
    progressive_px: int = 0  # side in the first epoch, growing to image_px in the last; 0 = image_px all along

    optimizer: str = "adam"
    lr: float = 1e-3
    weight_decay: float = 0.0
    decay_norms: bool = True  # weight decay on norms and biases too, as torch does by default
    momentum: float = 0.9  # sgd only, with Nesterov's correction
    head_lr_mult: float = 1.0  # rate of the classifier, as a multiple of lr
    layer_decay: float = 1.0  # each layer's rate, as a share of the one after it
    freeze_epochs: int = 0  # at the start, in which the classifier alone learns
    grad_clip_norm: float = 0.0  # of all gradients together; 0 = not clipped
    sam_rho: float = 0.0  # radius of sharpness-aware minimization, which takes two passes a step; 0 = none

    schedule: str = "constant"
    warmup_epochs: float = 0.0  # cosine only: linear from lr/100
    plateau_patience_epochs: int = 3
    plateau_factor: float = 0.5
    early_stop_epochs: int = 0  # epochs without a better watched accuracy; 0 = train all epochs
    watch_frac: float = 0.1  # of the training rows, cut off for early stopping and plateaus
    average_decay: float = 0.0  # exponential average of the weights, per step; 0 = none
    average_epochs: int = 0  # plain mean of the weights after each of the last epochs; 0 = none

    loss: str = "cross_entropy"
    focal_gamma: float = 2.0
    label_smoothing: float = 0.0
    loss_weights: str = "none"
    sampler: str = "shuffle"
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0  # with mixup_alpha too: one or the other for a batch, equally often
    targets: str = ""  # soft targets, NAME@ and the first 16 digits of the file's sha256; empty = labels alone
    targets_share: float = 0.5  # of a train row's target; the rest is its label

    flip_prob: float = 0.0
    alternate_flip: bool = False  # instead of flip_prob: each image is mirrored in every other epoch
    rotation_deg: float = 0.0  # each range is drawn from evenly, both ways around "unchanged"
    shift_frac: float = 0.0  # of the image side
    scale_frac: float = 0.0
    shear_deg: float = 0.0
    brightness_frac: float = 0.0
    contrast_frac: float = 0.0
    erase_prob: float = 0.0
    edges: str = "zeros"  # what a warp finds outside the image
    augment: str = ""  # an albumentations pipeline instead, NAME@ and 16 digits of the file's sha256; empty = none

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
        for name, option in FILES.items():
            value = getattr(self, name)
            if value and value != "hub" and not NAMED_FILE.fullmatch(value):
                raise FerKitError(
                    f"{name}='{value}' is no name of a file with a digest; give the file to "
                    f"python -m fer_kit.train as {option}"
                )
        self.check_pairs()
        self.check_model()

    def check_pairs(self) -> None:
        """Settings that contradict each other, or mean nothing without another."""
        if self.targets_share != LATER["targets_share"] and not self.targets:
            raise FerKitError(f"targets_share={self.targets_share} without targets; give --set targets=FILE too")
        if self.average_decay and self.average_epochs:
            raise FerKitError(
                f"average_decay={self.average_decay} and average_epochs={self.average_epochs} are two averages of the "
                "same weights; set one of them to 0"
            )
        if self.average_epochs > self.epochs:
            raise FerKitError(
                f"average_epochs={self.average_epochs} of epochs={self.epochs}: give no more than there are epochs"
            )
        if self.average_epochs and self.early_stop_epochs:
            raise FerKitError(
                f"average_epochs={self.average_epochs} with early_stop_epochs={self.early_stop_epochs}: which epochs "
                "are the last is known beforehand only where none stops early; set one of them to 0"
            )
        if self.progressive_px and self.image_px and not self.image_px > self.progressive_px:
            raise FerKitError(
                f"progressive_px={self.progressive_px} grows to image_px={self.image_px}; give a larger image_px"
            )
        if self.alternate_flip and self.flip_prob:
            raise FerKitError(
                f"alternate_flip=true with flip_prob={self.flip_prob} would mirror twice; set flip_prob=0"
            )
        warped = [name for name in DEVICE_AUGMENT if getattr(self, name)]
        if self.augment and warped:
            raise FerKitError(
                f"augment={self.augment} takes the place of {', '.join(warped)}; set "
                f"{' '.join(f'{name}=0' for name in warped)} too"
            )

    def check_model(self) -> None:
        """Settings that the network, or what it starts from, has no use for."""
        if self.freeze_epochs and not self.weights:
            raise FerKitError(
                f"freeze_epochs={self.freeze_epochs} would keep random weights as they are; give --weights, or "
                "--set freeze_epochs=0"
            )
        if self.width_mult != 1.0 and self.model not in WIDTH_MODELS:
            raise FerKitError(
                f"width_mult={self.width_mult}: {self.model} comes in one width; set width_mult=1, or take one of "
                f"{', '.join(WIDTH_MODELS)}"
            )
        if self.model in MODELS and self.image_px:
            raise FerKitError(
                f"image_px={self.image_px}: {self.model} is built for faces of 48 pixels; set image_px=0, or take "
                "--recipe timm/NAME"
            )
        if self.model in MODELS and self.progressive_px and self.augment:
            raise FerKitError(
                f"progressive_px={self.progressive_px} with augment={self.augment}: a pipeline is made for faces of 48 "
                "pixels; set progressive_px=0"
            )
        if self.model in MODELS and self.drop_path_prob and self.model not in DROP_PATH_MODELS:
            raise FerKitError(
                f"drop_path_prob={self.drop_path_prob}: {self.model} has no residual branch that could be left out; "
                f"set drop_path_prob=0, or take one of {', '.join(DROP_PATH_MODELS)}"
            )

    @property
    def watches(self) -> bool:
        """Whether a slice of the training rows is cut off and watched."""
        return self.early_stop_epochs > 0 or self.schedule == "plateau"

    @property
    def warps(self) -> bool:
        """Whether faces are turned, moved, scaled or sheared, which asks what lies beyond their edges."""
        return bool(self.rotation_deg or self.shift_frac or self.scale_frac or self.shear_deg)

    @property
    def digest(self) -> str:
        """sha256 over all fields; runs with the same digest differ in fold, data and device only."""
        return digest_of(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """The record as JSON values, in field order, without settings that came later and are not used.

        So that runs begun before there were such settings keep their digest.
        """
        record = dataclasses.asdict(self)
        return {name: value for name, value in record.items() if name not in LATER or value != LATER[name]}


TYPES: dict[str, type] = {
    field.name: {"str": str, "int": int, "float": float, "bool": bool}[str(field.type)]
    for field in dataclasses.fields(TrainConfig)
}


def check_field(name: str, value: Any) -> None:
    """Type, choice and range of one field; FerKitError with all three in words."""
    kind: Any = TYPES[name]
    if type(value) is not kind:
        raise FerKitError(f"{name}={value!r} is no {kind.__name__}; give {name} as {describe(name)}")
    if name == "model" and TIMM_NAME.fullmatch(value):
        return
    if name in CHOICES and value not in CHOICES[name]:
        allowed = CHOICES[name]
        raise FerKitError(f"{name}={value!r} is not one of {', '.join(allowed)}{did_you_mean(str(value), allowed)}")
    if name in RANGES:
        low, high = RANGES[name]
        if not low <= value <= high:  # nor is NaN between them
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


def override(config: TrainConfig, settings: Iterable[str], weights: str | None = None) -> TrainConfig:
    """`config` with `key=value` settings applied, and with `weights` where they are given, all at once.

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
    if weights is not None:
        changes["weights"] = weights
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
    missing = [name for name in TYPES if name not in record and name not in LATER]
    if missing:
        raise FerKitError(f"{where}: settings are missing ({', '.join(missing)}); start the run anew")
    try:
        return TrainConfig(**record)
    except FerKitError as error:
        raise FerKitError(f"{where}: {error}") from None
