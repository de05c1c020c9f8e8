"""The table of settings: each field of `Settings` is one row, and everything else derives from it.

A row holds type and default (as any dataclass field), range or choices, and what `row` lists. `TrainConfig` inherits
the fields; the checks, the JSON form, `fer-kit settings`, docs/settings.md and the dry run read `TABLE`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from fer_kit.config.networks import NETWORKS

Value = str | int | float | bool

NAMED_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}@[0-9a-f]{16}")  # a stem, and the start of the file's sha256
REQUIRED: Any = dataclasses.MISSING


def row(
    about: str,
    *,
    section: str = "",
    choices: tuple[str, ...] = (),
    limits: tuple[float, float] | None = None,
    neutral: Value | None = None,
    omitted_when_default: bool = False,
    used_when: tuple[str, ...] = (),
    file_option: str = "",
    replaced_by_pipeline: bool = False,
) -> dict[str, Any]:
    """The metadata of one setting.

    Args:
        about: one sentence; units and special values included.
        section: heading in listings; holds for the rows below, too.
        choices: allowed values of a text.
        limits: lowest and highest allowed number, both included.
        neutral: the value at which the setting changes nothing; None if it has an effect at every value.
        omitted_when_default: a record of the config leaves the default out. True for all settings added after the
            first runs, so that older configs keep their digests.
        used_when: conditions of which one must hold for the setting to have an effect: `name=value` or `name>0`,
            `name` alone for a text that is not empty; none: always.
        file_option: the option that takes the file, if the setting identifies a file by name and content.
        replaced_by_pipeline: part of the built-in augmentation, which `--augment` switches off.
    """
    return dict(locals())


def setting(default: Value, about: str, **options: Any) -> Any:
    """A dataclass field with a default and the metadata of `row`."""
    return field(default=default, metadata=row(about, **options))


@dataclass(frozen=True)
class Settings:
    """All settings with their defaults: everything that decides a run's numbers. Device and folders are options."""

    recipe: str = field(metadata=row("The recipe that the config starts from, chosen by `--recipe`.", section="Run"))
    model: str = field(
        metadata=row(
            "The network: one of the choices, `timm/NAME`, or `package.module:Class` for your own.",
            choices=tuple(NETWORKS),
        )
    )
    epochs: int = field(metadata=row("Passes over the training rows.", limits=(1, 10_000)))
    batch_size: int = setting(64, "Images in a batch.", limits=(2, 65_536))
    accumulate: int = setting(
        1,
        "Batches in an optimizer step; their gradients are averaged.",
        limits=(1, 1_024),
        neutral=1,
        omitted_when_default=True,
    )
    seed: int = setting(0, "Seed of all random draws.", limits=(0, 2**31 - 1))
    limit_rows: int = setting(
        0, "Train on this many rows only, for trials; 0 for all rows.", limits=(0, 10**9), neutral=0
    )
    drop_constant: bool = setting(
        False, "Leave out training images of one grey value.", neutral=False, omitted_when_default=True
    )
    soft_copies: bool = setting(
        False,
        "Give identical training images the mean of their labels as target.",
        neutral=False,
        omitted_when_default=True,
    )

    weights: str = setting(
        "",
        "Weights to start from: `hub`, or name and content of a file; empty for random weights.",
        section="Network",
        neutral="",
        omitted_when_default=True,
        file_option="--weights FILE",
    )
    width_mult: float = setting(
        1.0,
        "Channels of every layer, as a multiple of the network's own.",
        limits=(0.125, 8.0),
        neutral=1.0,
        omitted_when_default=True,
    )
    drop_path_prob: float = setting(
        0.0,
        "Probability of skipping the deepest residual branch in training; falls to 0 towards the first.",
        limits=(0.0, 0.9),
        neutral=0.0,
        omitted_when_default=True,
    )
    image_px: int = setting(
        0,
        "Side in pixels that a timm network sees; 0 for the network's own.",
        limits=(0, 1_024),
        neutral=0,
        omitted_when_default=True,
    )
    progressive_px: int = setting(
        0,
        "Side in pixels in the first epoch, growing to `image_px` (or 48) in the last; 0 for one size throughout.",
        limits=(0, 1_024),
        neutral=0,
        omitted_when_default=True,
    )

    optimizer: str = setting("adam", "The optimizer.", section="Optimizer", choices=("adam", "adamw", "sgd", "nmuon"))
    lr: float = setting(1e-3, "Learning rate, the highest one of the schedule.", limits=(0.0, 100.0))
    weight_decay: float = setting(
        0.0,
        "Weight decay; coupled in `adam` and `sgd`, decoupled in `adamw` and `nmuon`.",
        limits=(0.0, 10.0),
        neutral=0.0,
    )
    decay_norms: bool = setting(
        True, "Apply weight decay to norms and biases too, as torch does by default.", used_when=("weight_decay>0",)
    )
    momentum: float = setting(
        0.9, "Momentum of SGD, in Nesterov's form.", limits=(0.0, 1.0), used_when=("optimizer=sgd",)
    )
    head_lr_mult: float = setting(
        1.0,
        "Learning rate of the classifier, as a multiple of `lr`.",
        limits=(0.01, 1_000.0),
        neutral=1.0,
        omitted_when_default=True,
    )
    layer_decay: float = setting(
        1.0,
        "Learning rate of each layer, as a fraction of the rate of the next; timm networks only.",
        limits=(0.1, 1.0),
        neutral=1.0,
        omitted_when_default=True,
    )
    freeze_epochs: int = setting(
        0,
        "Epochs at the start in which only the classifier learns.",
        limits=(0, 10_000),
        neutral=0,
        omitted_when_default=True,
    )
    grad_clip_norm: float = setting(
        0.0,
        "Largest norm of all gradients together; 0 for no clipping.",
        limits=(0.0, 1_000.0),
        neutral=0.0,
        omitted_when_default=True,
    )
    sam_rho: float = setting(
        0.0,
        "Radius of sharpness-aware minimization, which takes two passes a step; 0 for none.",
        limits=(0.0, 10.0),
        neutral=0.0,
        omitted_when_default=True,
    )

    schedule: str = setting(
        "constant",
        "How the learning rate changes over the epochs.",
        section="Schedule",
        choices=("constant", "plateau", "cosine"),
    )
    warmup_epochs: float = setting(
        0.0,
        "Epochs in which the rate rises linearly from lr/100.",
        limits=(0.0, 1_000.0),
        neutral=0.0,
        used_when=("schedule=cosine",),
    )
    plateau_patience_epochs: int = setting(
        3,
        "Epochs without a better watched accuracy before the rate falls.",
        limits=(0, 10_000),
        used_when=("schedule=plateau",),
    )
    plateau_factor: float = setting(
        0.5, "What the rate is multiplied by at a plateau.", limits=(0.01, 0.99), used_when=("schedule=plateau",)
    )
    early_stop_epochs: int = setting(
        0,
        "Stop after this many epochs without a better watched accuracy; 0 to train all epochs.",
        limits=(0, 10_000),
        neutral=0,
    )
    watch_frac: float = setting(
        0.1,
        "Fraction of the training rows that is held out for early stopping and plateaus.",
        limits=(0.02, 0.5),
        used_when=("early_stop_epochs>0", "schedule=plateau"),
    )
    average_decay: float = setting(
        0.0,
        "Decay per step of the exponential moving average of the weights; 0 for no average.",
        limits=(0.0, 0.99999),
        neutral=0.0,
    )
    average_epochs: int = setting(
        0,
        "Average the weights after each of this many last epochs; 0 for no average.",
        limits=(0, 10_000),
        neutral=0,
        omitted_when_default=True,
    )

    loss: str = setting("cross_entropy", "The loss.", section="Loss", choices=("cross_entropy", "focal"))
    focal_gamma: float = setting(2.0, "Exponent of the focal loss.", limits=(0.0, 10.0), used_when=("loss=focal",))
    label_smoothing: float = setting(
        0.0, "Share of each target that is spread over all classes.", limits=(0.0, 0.9), neutral=0.0
    )
    loss_weights: str = setting(
        "none", "Weights of the classes in the loss.", choices=("none", "balanced", "effective"), neutral="none"
    )
    sampler: str = setting(
        "shuffle",
        "How an epoch's rows are drawn: each once, or all classes equally often.",
        choices=("shuffle", "balanced"),
    )
    mixup_alpha: float = setting(
        0.0, "Parameter of mixup's beta distribution; 0 for no mixup.", limits=(0.0, 10.0), neutral=0.0
    )
    cutmix_alpha: float = setting(
        0.0,
        "Parameter of CutMix's beta distribution; 0 for no CutMix. With mixup too, each batch takes one of both.",
        limits=(0.0, 10.0),
        neutral=0.0,
        omitted_when_default=True,
    )
    targets: str = setting(
        "",
        "Soft targets: name and content of a file; empty for labels alone.",
        neutral="",
        omitted_when_default=True,
        file_option="--set targets=FILE",
    )
    targets_share: float = setting(
        0.5,
        "Weight of the soft target in a training row's target; the rest is the label.",
        limits=(0.0, 1.0),
        omitted_when_default=True,
        used_when=("targets",),
    )

    flip_prob: float = setting(
        0.0,
        "Probability of mirroring a face.",
        section="Augmentation",
        limits=(0.0, 1.0),
        neutral=0.0,
        replaced_by_pipeline=True,
    )
    alternate_flip: bool = setting(
        False,
        "Mirror each face in every other epoch, instead of by chance.",
        neutral=False,
        omitted_when_default=True,
        replaced_by_pipeline=True,
    )
    rotation_deg: float = setting(
        0.0,
        "Largest rotation in degrees, drawn evenly both ways as in all ranges below.",
        limits=(0.0, 180.0),
        neutral=0.0,
        replaced_by_pipeline=True,
    )
    shift_frac: float = setting(
        0.0,
        "Largest shift, as a fraction of the image side.",
        limits=(0.0, 0.5),
        neutral=0.0,
        replaced_by_pipeline=True,
    )
    scale_frac: float = setting(
        0.0,
        "Largest change of the scale, as a fraction.",
        limits=(0.0, 0.9),
        neutral=0.0,
        replaced_by_pipeline=True,
    )
    shear_deg: float = setting(
        0.0, "Largest shear in degrees.", limits=(0.0, 60.0), neutral=0.0, replaced_by_pipeline=True
    )
    brightness_frac: float = setting(
        0.0,
        "Largest change of the brightness, as a fraction.",
        limits=(0.0, 1.0),
        neutral=0.0,
        replaced_by_pipeline=True,
    )
    contrast_frac: float = setting(
        0.0,
        "Largest change of the contrast, as a fraction.",
        limits=(0.0, 1.0),
        neutral=0.0,
        replaced_by_pipeline=True,
    )
    erase_prob: float = setting(
        0.0,
        "Probability of erasing a random rectangle.",
        limits=(0.0, 1.0),
        neutral=0.0,
        replaced_by_pipeline=True,
    )
    edges: str = setting(
        "zeros",
        "What rotation, shift, scale and shear find outside the image.",
        choices=("zeros", "border", "reflection"),
        used_when=("rotation_deg>0", "shift_frac>0", "scale_frac>0", "shear_deg>0"),
    )
    augment: str = setting(
        "",
        "An albumentations pipeline in place of the settings above: name and content of its file; empty for none.",
        neutral="",
        omitted_when_default=True,
        file_option="--augment FILE",
    )

    views: str = setting(
        "flip",
        "Test-time views of a face whose predictions are averaged.",
        section="Prediction and device",
        choices=("none", "flip", "flip_shifts", "ten_crops", "rotations"),
    )
    precision: str = setting(
        "auto",
        "Precision of the network's arithmetic; `auto` takes the fastest that the device has.",
        choices=("auto", "bf16", "fp16", "fp32"),
    )


@dataclass(frozen=True)
class Setting:
    """One row of the table; see `row` for the fields that are not explained here.

    kind: str, int, float or bool. default: `REQUIRED` if there is none.
    """

    name: str
    kind: type
    default: Any
    about: str
    section: str
    choices: tuple[str, ...]
    limits: tuple[float, float] | None
    neutral: Value | None
    omitted_when_default: bool
    used_when: tuple[str, ...]
    file_option: str
    replaced_by_pipeline: bool

    def allowed(self) -> str:
        """The allowed values in words: `a float from 0.0 to 1.0`."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        article = "an" if self.kind is int else "a"
        words = {str: "text", bool: "true or false"}.get(self.kind, f"{article} {self.kind.__name__}")
        return words + ("" if self.limits is None else f" from {self.limits[0]} to {self.limits[1]}")

    def is_used(self, config: Settings) -> bool:
        """Whether `config` makes the setting have an effect, given another value than the neutral one."""
        return not self.used_when or any(holds(condition, config) for condition in self.used_when)

    def needed(self) -> str:
        """The conditions in words: `early_stop_epochs>0 or schedule=plateau`."""
        return " or ".join(self.used_when)


def deciding(condition: str) -> str:
    """The setting that a condition of `used_when` looks at."""
    return re.split("[=>]", condition)[0]


def holds(condition: str, config: Settings) -> bool:
    """Whether a condition of `used_when` is true of `config`."""
    name, equals, value = condition.partition("=")
    if equals:
        return bool(getattr(config, name) == value)
    return bool(getattr(config, deciding(condition)))  # above 0, or not empty


def _rows() -> Iterator[Setting]:
    kinds = {"str": str, "int": int, "float": float, "bool": bool}
    section = ""
    for found in dataclasses.fields(Settings):
        section = found.metadata["section"] or section
        options = {**found.metadata, "section": section}
        yield Setting(found.name, kinds[str(found.type)], found.default, **options)


TABLE: dict[str, Setting] = {found.name: found for found in _rows()}
REPLACED_BY_PIPELINE = tuple(name for name, found in TABLE.items() if found.replaced_by_pipeline)
