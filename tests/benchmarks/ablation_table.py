"""The rows of the ablation: what each changes in the base, and which of them go with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fer_kit.config.train_config import TrainConfig, override
from fer_kit.errors import FerKitError, did_you_mean

BASE = "base"
# Widths at which modern networks do about the work of residual; channels come in eights, so narrow ones are off more.
EQUAL_WORK = {"residual": 1.0, "vgg": 0.5, "wide": 0.64, "convnext": 0.92}
START = "tests.benchmarks.start_networks:"
AUGMENT_OFF = ("flip_prob=0", "rotation_deg=0", "shift_frac=0", "scale_frac=0", "brightness_frac=0", "contrast_frac=0")


def table_of(base: TrainConfig) -> dict[str, tuple[str, ...]]:
    """Name → settings of each change to `base`; those that change nothing there, or do not go with it, are left out."""
    last = f"average_epochs={max(2, base.epochs // 4)}"
    changes: dict[str, tuple[str, ...]] = {
        "no-mixup": ("mixup_alpha=0",),
        "cutmix": ("mixup_alpha=0", "cutmix_alpha=1"),
        "mixup-or-cutmix": ("cutmix_alpha=1",),
        "no-label-smoothing": ("label_smoothing=0",),
        "no-weight-average": ("average_decay=0",),
        "last-epochs": ("average_decay=0", last),
        "sam": ("sam_rho=0.05",),
        "drop-path": ("drop_path_prob=0.1",),
        "clip": ("grad_clip_norm=1",),
        "soft-copies": ("soft_copies=true",),
        "drop-constant": ("drop_constant=true",),
        "balanced-sampler": ("sampler=balanced",),
        "balanced-weights": ("loss_weights=balanced",),
        "effective-weights": ("loss_weights=effective",),
        "focal": ("loss=focal",),
        "erasing": ("erase_prob=0.25",),
        "no-flip": ("flip_prob=0",),
        "no-augmentation": AUGMENT_OFF,
        "adamw": ("optimizer=adamw", "lr=2e-3", "weight_decay=0.05"),
        "sgd": ("optimizer=sgd", "lr=0.05", "weight_decay=5e-4"),
    }
    if base.model in EQUAL_WORK:
        scale = base.width_mult / EQUAL_WORK[base.model]
        changes |= {name: (f"model={name}", f"width_mult={scale * w:.3g}") for name, w in EQUAL_WORK.items()}
    if base.model == "air":
        changes |= of_air(base)
    return {name: settings for name, settings in changes.items() if fits(base, settings)}


def of_air(base: TrainConfig) -> dict[str, tuple[str, ...]]:
    """The ideas that `air` is made of, and the start-up ideas of airbench that it leaves out.

    Rows whose images or steps take another time have as many epochs as fit into the time of the base: 1.3 times as many
    for growing faces and 0.75 times for Muon.
    """
    changes: dict[str, tuple[str, ...]] = {
        "growing-faces": ("progressive_px=32", f"epochs={round(1.3 * base.epochs)}"),
        "random-flip": ("alternate_flip=false", "flip_prob=0.5"),
        "muon": ("optimizer=nmuon", "lr=4e-3", f"epochs={round(0.75 * base.epochs)}"),
    }
    names = {
        "whitened": "Whitened",
        "identity": "Identity",
        "fast-bias": "FastBias",
        "scaled-logits": "ScaledLogits",
        "whole-start": "Start",
    }
    return changes | {row: (f"model={START}{name}",) for row, name in names.items()}


def fits(base: TrainConfig, settings: Sequence[str]) -> bool:
    """Whether `settings` make another config of `base`."""
    try:
        return override(base, settings) != base
    except FerKitError:  # the base's network has no such part, or its schedule does not go with it
        return False


def chosen(table: Mapping[str, tuple[str, ...]], only: Sequence[str] | None) -> dict[str, tuple[str, ...]]:
    """The base and the rows of `table` that are asked for; all where `only` is None."""
    for name in only or ():
        if name not in table:
            raise FerKitError(f"--only {name}: no such row{did_you_mean(name, table)}; there are: {', '.join(table)}")
    return {BASE: (), **{name: table[name] for name in table if only is None or name in only}}
