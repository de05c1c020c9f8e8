"""Settings that a run would never read: a changed one gives a run of another name with the same bits."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fer_kit.config.train_config import TrainConfig
from fer_kit.errors import FerKitError

# by setting: whether a config reads it, and what would make it so
READ: dict[str, tuple[Callable[[TrainConfig], bool], str]] = {
    "warmup_epochs": (lambda config: config.schedule == "cosine", "schedule=cosine"),
    "plateau_patience_epochs": (lambda config: config.schedule == "plateau", "schedule=plateau"),
    "plateau_factor": (lambda config: config.schedule == "plateau", "schedule=plateau"),
    "watch_frac": (lambda config: config.watches, "early_stop_epochs=5 or schedule=plateau"),
    "momentum": (lambda config: config.optimizer == "sgd", "optimizer=sgd"),
    "focal_gamma": (lambda config: config.loss == "focal", "loss=focal"),
    "edges": (lambda config: config.warps, "one of rotation_deg, shift_frac, scale_frac, shear_deg"),
}


def refuse(recipe: TrainConfig, config: TrainConfig, names: Iterable[str]) -> None:
    """Raise FerKitError where one of the settings `names` differs from the recipe's, and `config` does not read it."""
    for name in names:
        if name not in READ or getattr(config, name) == getattr(recipe, name):
            continue
        reads, needed = READ[name]
        if not reads(config):
            raise FerKitError(
                f"--set {name}={getattr(config, name)}: the run would not read it, and just have another name; leave "
                f"it out, or set {needed} too"
            )
