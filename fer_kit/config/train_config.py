"""`TrainConfig`: the settings of a run, checked; its JSON form and digest; typed overrides.

The settings themselves are the rows of `fer_kit.config.settings`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fer_kit.config import suggest
from fer_kit.config.networks import NETWORKS, OWN_EXAMPLE, OWN_NAME, TIMM_NAME
from fer_kit.config.settings import NAMED_FILE, REPLACED_BY_PIPELINE, TABLE, Setting, Settings, deciding
from fer_kit.errors import FerKitError, did_you_mean
from fer_kit.files.atomic import digest_of


@dataclass(frozen=True)
class TrainConfig(Settings):
    """The settings of a run, checked. Device, folders and tracking are options and not part of the config.

    Raises:
        FerKitError: a value outside its range or choices, or two settings that contradict each other.
    """

    def __post_init__(self) -> None:
        for setting in TABLE.values():
            check_value(setting, getattr(self, setting.name))
        if self.lr == 0.0:
            raise FerKitError("lr=0.0 would train nothing; give a rate above 0, e.g. lr=1e-3")
        self.check_pairs()
        self.check_network()

    def check_pairs(self) -> None:
        """Refuse settings that contradict each other, or that have no effect without another setting."""
        if self.loss_weights != "none" and self.sampler == "balanced":
            raise FerKitError(
                f"loss_weights={self.loss_weights} with sampler=balanced corrects the class imbalance twice, so that "
                "the network predicts Disgust too often; set loss_weights=none or sampler=shuffle"
            )
        if self.targets_share != TABLE["targets_share"].default and not self.targets:
            raise FerKitError(
                f"targets_share={self.targets_share} has no effect without targets; drop it, or add --set targets=FILE"
            )
        if self.average_decay and self.average_epochs:
            raise FerKitError(
                f"average_decay={self.average_decay} and average_epochs={self.average_epochs} are two averages of the "
                "same weights; set one of them to 0"
            )
        if self.average_epochs > self.epochs:
            raise FerKitError(
                f"average_epochs={self.average_epochs} is more than epochs={self.epochs}; give at most {self.epochs}"
            )
        if self.average_epochs and self.early_stop_epochs:
            raise FerKitError(
                f"average_epochs={self.average_epochs} with early_stop_epochs={self.early_stop_epochs}: with early "
                "stopping the last epochs are not known beforehand; set one of them to 0"
            )
        if self.progressive_px and self.image_px and not self.image_px > self.progressive_px:
            raise FerKitError(
                f"progressive_px={self.progressive_px} grows to image_px={self.image_px}; give a larger image_px"
            )
        if self.alternate_flip and self.flip_prob:
            raise FerKitError(
                f"alternate_flip=true with flip_prob={self.flip_prob} would mirror faces twice; set flip_prob=0"
            )
        switched_on = [name for name in REPLACED_BY_PIPELINE if getattr(self, name)]
        if self.augment and switched_on:
            raise FerKitError(
                f"augment={self.augment} takes the place of {', '.join(switched_on)}; set "
                f"{' '.join(f'{name}={shown(TABLE[name].neutral)}' for name in switched_on)} too"
            )

    def check_network(self) -> None:
        """Refuse settings that the network or its initial weights cannot use.

        Networks of timm and own networks are checked when they are built.
        """
        if self.freeze_epochs and not self.weights:
            raise FerKitError(
                f"freeze_epochs={self.freeze_epochs} would freeze random weights; give --weights, or set "
                "freeze_epochs=0"
            )
        own, of_timm = bool(OWN_NAME.fullmatch(self.model)), bool(TIMM_NAME.fullmatch(self.model))
        network = NETWORKS.get(self.model)
        if self.width_mult != 1.0 and not (own or (network and network.has_width)):
            widths = [name for name, row in NETWORKS.items() if row.has_width]
            raise FerKitError(
                f"width_mult={self.width_mult}: the width of {self.model} is fixed; set width_mult=1, or model to "
                f"one of {', '.join(widths)}"
            )
        if self.image_px and not of_timm:
            raise FerKitError(
                f"image_px={self.image_px}: {self.model} takes faces of 48 pixels; set image_px=0, or take "
                "--recipe timm/NAME"
            )
        if self.progressive_px and network and self.augment:
            raise FerKitError(
                f"progressive_px={self.progressive_px} with augment={self.augment}: a pipeline takes faces of 48 "
                "pixels; set progressive_px=0"
            )
        if self.drop_path_prob and network and not network.has_drop_path:
            with_branches = [name for name, row in NETWORKS.items() if row.has_drop_path]
            raise FerKitError(
                f"drop_path_prob={self.drop_path_prob}: {self.model} has no residual branch to skip; set "
                f"drop_path_prob=0, or take one of {', '.join(with_branches)}"
            )

    @property
    def watches(self) -> bool:
        """Whether a fraction of the training rows is held out to watch (early stopping, plateau schedule)."""
        return TABLE["watch_frac"].is_used(self)

    @property
    def warps(self) -> bool:
        """Whether faces are rotated, shifted, scaled or sheared, so that pixels outside the image are needed."""
        return TABLE["edges"].is_used(self)

    @property
    def digest(self) -> str:
        """sha256 of the JSON form. Runs with the same digest can differ only in fold, data and device."""
        return digest_of(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON values, in the order of the table.

        Settings that were added after the first runs are left out at their defaults, so that older configs keep their
        digests.
        """
        record = dataclasses.asdict(self)
        return {name: value for name, value in record.items() if not _omitted(TABLE[name], value)}


def _omitted(setting: Setting, value: Any) -> bool:
    return setting.omitted_when_default and value == setting.default


def check_value(setting: Setting, value: Any) -> None:
    """Refuse a value of another type, or outside the range or choices of `setting`.

    Raises:
        FerKitError: the message says what is allowed.
    """
    name = setting.name
    kind: Any = setting.kind
    if type(value) is not kind:
        raise FerKitError(f"{name}={value!r} is not of type {kind.__name__}; give {setting.allowed()}")
    if name == "model" and (TIMM_NAME.fullmatch(value) or OWN_NAME.fullmatch(value)):
        return
    if setting.choices and value not in setting.choices:
        others = f", timm/NAME or {OWN_EXAMPLE}" if name == "model" else ""
        allowed = ", ".join(setting.choices) + others
        raise FerKitError(f"{name}={value!r} is not one of {allowed}{did_you_mean(value, setting.choices)}")
    if setting.limits is not None:
        low, high = setting.limits
        if not low <= value <= high:  # refuses NaN, too
            raise FerKitError(f"{name}={value!r} is out of range; give {setting.allowed()}")
    if setting.file_option and value not in ("", "hub") and not NAMED_FILE.fullmatch(value):
        raise FerKitError(
            f"{name}='{value}' is not NAME@ and 16 digits of the file's sha256; give the file itself to fer-kit train "
            f"as {setting.file_option}"
        )


def parse_value(setting: Setting, text: str) -> Any:
    """`text` as the type of `setting`, strictly: no `1.5` for an int, no `yes` for a bool."""
    kind = setting.kind
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        return kind(text)
    except (ValueError, KeyError):
        name, allowed = setting.name, setting.allowed()
        raise FerKitError(f"--set {name}={text}: '{text}' is not of type {kind.__name__}; give {allowed}") from None


def override(config: TrainConfig, settings: Iterable[str], weights: str | None = None) -> TrainConfig:
    """`config` with the changes `name=value`, and with `weights` if given. All changes are checked together.

    Raises:
        FerKitError: a setting without `=`, an unknown or repeated name, the name `recipe`, or a value of the wrong type
            or outside its range.
    """
    changes: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        name = name.strip()
        if not equals:
            raise FerKitError(f"--set {setting}: '=' is missing; write a setting as NAME=VALUE, e.g. --set lr=1e-4")
        if name == "recipe":
            raise FerKitError("--set recipe=…: choose the recipe with --recipe, and name a changed run with --tag")
        if name not in TABLE:
            hint = suggest.did_you_mean(name)
            raise FerKitError(f"--set {name}: no such setting{hint}; `fer-kit settings` lists all {len(TABLE)}")
        if name in changes:
            raise FerKitError(f"--set {name} is given twice; drop one of them")
        changes[name] = parse_value(TABLE[name], text.strip())
    if weights is not None:
        changes["weights"] = weights
    return dataclasses.replace(config, **changes)


def from_json(record: Any, where: str) -> TrainConfig:
    """The config of a JSON record made by `to_json`. `where` names the file in errors.

    Raises:
        FerKitError: the record is not an object, has unknown or missing settings, or a value outside its range.
    """
    if not isinstance(record, Mapping):
        raise FerKitError(f"{where}: a config is a JSON object, not {type(record).__name__}; was the file edited?")
    for name in record:
        if name not in TABLE:
            raise FerKitError(f"{where}: unknown setting '{name}'{suggest.did_you_mean(str(name))}; remove it")
    missing = [name for name, row in TABLE.items() if name not in record and not row.omitted_when_default]
    if missing:
        raise FerKitError(f"{where}: settings are missing ({', '.join(missing)}); start the run again")
    try:
        return TrainConfig(**record)
    except FerKitError as error:
        raise FerKitError(f"{where}: {error}") from None


def refuse_unused(recipe: TrainConfig, config: TrainConfig, names: Iterable[str]) -> None:
    """Refuse changes without effect, with which the run would repeat the recipe under another name.

    Raises:
        FerKitError: one of the settings `names` differs from the recipe's value, and `config` does not use the setting.
    """
    for name in names:
        row, value = TABLE[name], getattr(config, name)
        if value == getattr(recipe, name) or row.is_used(config):
            continue
        state = {other: getattr(config, other) for other in map(deciding, row.used_when)}
        found = ", ".join(f"{other}={shown(value)}" for other, value in state.items())
        raise FerKitError(f"--set {name}={shown(value)} has no effect while {found}; drop it, or add {row.needed()}")


def used(config: TrainConfig, recipe: TrainConfig) -> Iterator[tuple[str, Any, Any]]:
    """Yield name, value and the recipe's value of each setting that affects the run or differs from the recipe.

    A setting has no effect at its neutral value, or if another setting switches it off.
    """
    for name, row in TABLE.items():
        value, before = getattr(config, name), getattr(recipe, name)
        if value != before or (row.is_used(config) and (row.neutral is None or value != row.neutral)):
            yield name, value, before


def shown(value: Any) -> str:
    """A value as written on the command line: `false`, `0.1`, `1`."""
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
