"""What each setting of `TrainConfig` may be: choices, ranges, neutral values, names of files."""

from __future__ import annotations

import re

MODELS = ("baseline_v1", "baseline_v2", "deep_v1", "deep_v2", "attention", "residual", "vgg", "wide", "convnext", "air")
DROP_PATH_MODELS = ("residual", "wide", "convnext")  # of ours, those with residual branches
WIDTH_MODELS = ("residual", "vgg", "wide", "convnext", "air")  # those that are not the study's
GROWING_MODELS = ("vgg", "air")  # of ours, those that take faces of fewer than 48 pixels in training
OWN_STRIDE_PX = 8  # such sides are multiples of it: each of three poolings halves them
CHOICES = {
    "model": MODELS,
    "optimizer": ("adam", "adamw", "sgd", "nmuon"),
    "schedule": ("constant", "plateau", "cosine"),
    "loss": ("cross_entropy", "focal"),
    "loss_weights": ("none", "balanced", "effective"),
    "sampler": ("shuffle", "balanced"),
    "edges": ("zeros", "border", "reflection"),
    "views": ("none", "flip", "flip_shifts", "ten_crops", "rotations"),
    "precision": ("auto", "bf16", "fp16", "fp32"),
}
# field: (lowest, highest); the bounds themselves are allowed
RANGES: dict[str, tuple[float, float]] = {
    "epochs": (1, 10_000),
    "batch_size": (2, 65_536),
    "accumulate": (1, 1_024),
    "seed": (0, 2**31 - 1),
    "limit_rows": (0, 10**9),
    "width_mult": (0.125, 8.0),
    "drop_path_prob": (0.0, 0.9),
    "image_px": (0, 1_024),
    "progressive_px": (0, 1_024),
    "lr": (0.0, 100.0),
    "weight_decay": (0.0, 10.0),
    "momentum": (0.0, 1.0),
    "head_lr_mult": (0.01, 1_000.0),
    "layer_decay": (0.1, 1.0),
    "freeze_epochs": (0, 10_000),
    "grad_clip_norm": (0.0, 1_000.0),
    "sam_rho": (0.0, 10.0),
    "warmup_epochs": (0.0, 1_000.0),
    "plateau_patience_epochs": (0, 10_000),
    "plateau_factor": (0.01, 0.99),
    "early_stop_epochs": (0, 10_000),
    "watch_frac": (0.02, 0.5),
    "average_decay": (0.0, 0.99999),
    "average_epochs": (0, 10_000),
    "focal_gamma": (0.0, 10.0),
    "label_smoothing": (0.0, 0.9),
    "mixup_alpha": (0.0, 10.0),
    "cutmix_alpha": (0.0, 10.0),
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

# Settings that came after the first runs, with the value at which they change nothing. A record names them only where
# they are used.
LATER: dict[str, str | int | float | bool] = {
    "targets": "",
    "targets_share": 0.5,
    "accumulate": 1,
    "drop_constant": False,
    "soft_copies": False,
    "weights": "",
    "width_mult": 1.0,
    "drop_path_prob": 0.0,
    "image_px": 0,
    "progressive_px": 0,
    "head_lr_mult": 1.0,
    "layer_decay": 1.0,
    "freeze_epochs": 0,
    "grad_clip_norm": 0.0,
    "sam_rho": 0.0,
    "average_epochs": 0,
    "cutmix_alpha": 0.0,
    "augment": "",
    "alternate_flip": False,
}

# settings that name a file by its content, and the option that takes the file
FILES = {"targets": "--set targets=FILE", "weights": "--weights FILE", "augment": "--augment FILE"}
NAMED_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}@[0-9a-f]{16}")
TIMM_NAME = re.compile(r"timm/[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?")
DEVICE_AUGMENT = (
    "flip_prob",
    "rotation_deg",
    "shift_frac",
    "scale_frac",
    "shear_deg",
    "brightness_frac",
    "contrast_frac",
    "erase_prob",
)
