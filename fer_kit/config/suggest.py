"""Which setting somebody means who writes another name for it, or writes it as an option."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from fer_kit.config.settings import TABLE

# Names in other programs (torch, timm, Keras, transformers), where difflib alone would not find the setting.
SYNONYMS = {
    "learning_rate": "lr",
    "learningrate": "lr",
    "wd": "weight_decay",
    "l2": "weight_decay",
    "bs": "batch_size",
    "batch": "batch_size",
    "num_epochs": "epochs",
    "n_epochs": "epochs",
    "max_epochs": "epochs",
    "num_train_epochs": "epochs",
    "gradient_accumulation_steps": "accumulate",
    "grad_accum_steps": "accumulate",
    "accumulation_steps": "accumulate",
    "random_seed": "seed",
    "random_state": "seed",
    "arch": "model",
    "backbone": "model",
    "network": "model",
    "architecture": "model",
    "opt": "optimizer",
    "scheduler": "schedule",
    "sched": "schedule",
    "lr_scheduler": "schedule",
    "warmup": "warmup_epochs",
    "patience": "early_stop_epochs",
    "early_stopping": "early_stop_epochs",
    "ema": "average_decay",
    "ema_decay": "average_decay",
    "model_ema_decay": "average_decay",
    "swa": "average_epochs",
    "criterion": "loss",
    "gamma": "focal_gamma",
    "smoothing": "label_smoothing",
    "class_weights": "loss_weights",
    "class_weight": "loss_weights",
    "mixup": "mixup_alpha",
    "cutmix": "cutmix_alpha",
    "clip_grad": "grad_clip_norm",
    "grad_clip": "grad_clip_norm",
    "max_grad_norm": "grad_clip_norm",
    "gradient_clip_val": "grad_clip_norm",
    "img_size": "image_px",
    "image_size": "image_px",
    "input_size": "image_px",
    "stochastic_depth": "drop_path_prob",
    "drop_path_rate": "drop_path_prob",
    "hflip": "flip_prob",
    "horizontal_flip": "flip_prob",
    "degrees": "rotation_deg",
    "reprob": "erase_prob",
    "tta": "views",
    "amp": "precision",
    "dtype": "precision",
}


def setting_named(name: str) -> str | None:
    """The setting that `name` is another spelling of; None if no setting is similar."""
    plain = name.strip("- ").lower().replace("-", "_")
    if is_exact(plain):
        return SYNONYMS.get(plain, plain)
    close = difflib.get_close_matches(plain, TABLE, n=1)
    return close[0] if close else None


def is_exact(name: str) -> bool:
    """Whether `name` is a setting or a known synonym, apart from case and dashes."""
    plain = name.strip("- ").lower().replace("-", "_")
    return plain in TABLE or plain in SYNONYMS


def did_you_mean(name: str) -> str:
    """`" (did you mean 'lr'?)"` for `learning_rate`; "" if no setting is similar."""
    found = setting_named(name)
    return f" (did you mean '{found}'?)" if found else ""


def as_settings(unknown: Sequence[str], options: Iterable[str]) -> str:
    """What to write for unknown words `--lr 0.1`: `; write --set lr=0.1 --tag NAME`; "" if one is no setting.

    options: the options that the command has. One that is more similar than any setting is meant instead.
    """
    known = list(options)
    written = []
    for number, word in enumerate(unknown):
        if not word.startswith("--"):
            continue
        option, equals, value = word.partition("=")
        name = setting_named(option.lstrip("-"))
        if name is None or f"--{name}" in known:  # `--recip`: recipe is an option, and no setting can change it
            return ""
        bare = [one.lstrip("-") for one in known]
        close = difflib.get_close_matches(option.lstrip("-"), [*bare, name], n=1)
        if close and close[0] in bare and not is_exact(option):
            return ""
        following = unknown[number + 1] if number + 1 < len(unknown) else "…"
        written.append(f"{name}={value if equals else '…' if following.startswith('--') else following}")
    return f"; write --set {' '.join(written)} --tag NAME" if written else ""
