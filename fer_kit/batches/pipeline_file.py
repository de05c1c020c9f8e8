"""Files of augmentation pipelines, in the format of `albumentations.save`, and the built-in pipeline.

    {"__version__": …, "transform": {"__class_fullname__": "Compose", "p": 1.0, "transforms": [{…}, …]}}

A config names a pipeline by NAME@ and the first 16 digits of the sha256 of its file, so that the config does not depend
on a path. This module does not import albumentations; `fer_kit.batches.pipeline` checks the transforms.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_kit.config.networks import NETWORKS
from fer_kit.config.settings import NAMED_FILE, REPLACED_BY_PIPELINE, TABLE
from fer_kit.config.train_config import TrainConfig, shown
from fer_kit.errors import FerKitError, first_line
from fer_kit.files import atomic

SUFFIXES = (".json", ".yaml", ".yml")
MOST_BYTES, MOST_VALUES, MOST_DEPTH = 1 << 20, 100_000, 50  # limits for a file; pipelines have a few kilobytes
_SAVE_IT = "save a pipeline with albumentations.save(pipeline, FILE), or use a built-in pipeline"

# The augmentation of the study's deep_v3, which the recipe of that name has on the device. "Warp" and "Erase" take the
# options of albumentations' Affine and Erasing; `albumentations_v3` documents the differences. border_mode 0: black
# edges. Brightness and contrast are changed on floats, since uint8 truncates after each change: a face gets 1% darker.
V3: dict[str, Any] = {
    "transform": {
        "__class_fullname__": "Compose",
        "p": 1.0,
        "transforms": [
            {"__class_fullname__": "HorizontalFlip", "p": 0.5},
            {
                "__class_fullname__": "fer_kit.albumentations_v3.Warp",
                "p": 1.0,
                "rotate": [-15.0, 15.0],
                "translate_percent": [-0.1, 0.1],
                "scale": [0.9, 1.1],
                "keep_ratio": True,
                "shear": {"x": [-5.0, 5.0], "y": [0.0, 0.0]},
                "interpolation": 1,
                "border_mode": 0,
                "fill": 0,
            },
            {"__class_fullname__": "ToFloat", "p": 1.0, "max_value": 255.0},
            {
                "__class_fullname__": "ColorJitter",
                "p": 1.0,
                "brightness": [0.8, 1.2],
                "contrast": [0.8, 1.2],
                "saturation": [1.0, 1.0],
                "hue": [0.0, 0.0],
            },
            {
                "__class_fullname__": "fer_kit.albumentations_v3.Erase",
                "p": 0.1,
                "scale": [0.02, 0.33],
                "ratio": [0.3, 3.3],
                "fill": 0.5077,
            },
        ],
    }
}
BUILT_IN = {"v3": V3}


@dataclass(frozen=True, eq=False)
class AugmentFile:
    """The file of a pipeline.

    name: NAME@digits, as in a config. where: path or name of a built-in pipeline, for messages. content: the parsed
    file. written: its bytes, which the digits are the hash of.
    """

    name: str
    where: str
    content: dict[str, Any]
    written: bytes

    @property
    def file_name(self) -> str:
        """Name for a copy of the file; that of a built-in pipeline is made from its name."""
        return f"{self.where}.json" if self.where in BUILT_IN else Path(self.where).name


def text_of(content: dict[str, Any], yaml_wanted: bool = False) -> str:
    """The text of a pipeline's file, JSON or YAML."""
    if not yaml_wanted:
        return json.dumps(content, indent=2) + "\n"
    import yaml

    text: str = yaml.safe_dump(content, sort_keys=False, default_flow_style=None)
    return text


def open_file(typed: str) -> AugmentFile:
    """Read the pipeline of `--augment typed`, the name of a built-in pipeline or a file.

    Raises:
        FerKitError: the file does not exist, is not readable JSON or YAML, or is not a pipeline of albumentations.
    """
    if typed in BUILT_IN:
        written = text_of(BUILT_IN[typed]).encode()
        return AugmentFile(_named(typed, written), typed, BUILT_IN[typed], written)
    path = Path(typed)
    if path.suffix.lower() not in SUFFIXES:
        raise FerKitError(
            f"pipeline {typed}: allowed are files {', '.join(SUFFIXES)} and the built-in {', '.join(BUILT_IN)}; "
            f"{_SAVE_IT}"
        )
    try:
        written = atomic.read_bytes(path, MOST_BYTES)
    except FileNotFoundError:
        raise FerKitError(f"{path}: no such file; {_SAVE_IT} ({', '.join(BUILT_IN)})") from None
    except OSError as error:
        raise FerKitError(f"{path}: cannot be read ({error.strerror}); give another file to --augment") from None
    content = _parsed(path, written)
    _refuse_endless(path, content)
    transform = content.get("transform") if isinstance(content, dict) else None
    if not isinstance(transform, dict) or "__class_fullname__" not in transform:
        raise FerKitError(f"{path}: is not a pipeline of albumentations (no 'transform' with a class); {_SAVE_IT}")
    return AugmentFile(_named(path.stem, written), f"{path}", content, written)


def in_place(recipe: TrainConfig, file: AugmentFile) -> TrainConfig:
    """Replace the augmentation of `recipe` on the device by the pipeline."""
    nothing: dict[str, Any] = {name: TABLE[name].neutral for name in _replaced(recipe)}
    return dataclasses.replace(recipe, augment=file.name, **nothing)


def change_line(recipe: TrainConfig, file: AugmentFile) -> str:
    """Describe the changes of `in_place` in one line."""
    given_up = [f"{name}={shown(getattr(recipe, name))}" for name in _replaced(recipe)]
    instead = f"instead of the recipe's {', '.join(given_up)}" if given_up else "and nothing on the device"
    return f"augment  {file.name}, {instead}"


def _replaced(recipe: TrainConfig) -> list[str]:
    """The settings that a pipeline switches off: augmentation, and growing faces, since it takes faces of 48 pixels."""
    names = [name for name in REPLACED_BY_PIPELINE if getattr(recipe, name)]
    return [*names, "progressive_px"] if recipe.progressive_px and recipe.model in NETWORKS else names


def _named(stem: str, written: bytes) -> str:
    name = f"{stem}@{hashlib.sha256(written).hexdigest()[:16]}"
    if not NAMED_FILE.fullmatch(name):
        raise FerKitError(
            f"pipeline '{stem}': cannot be a name in a config; rename the file; allowed are letters, digits, "
            "'.', '_' and '-', with a letter or digit first"
        )
    return name


def _refuse_endless(path: Path, content: Any) -> None:
    """Refuse content in which YAML aliases make a value contain itself, or billions of values.

    Raises:
        FerKitError: the content has too many values or is nested too deeply.
    """
    level, values = [content], 0
    for _ in range(MOST_DEPTH):
        inside = (
            child
            for one in level
            if isinstance(one, dict | list)
            for child in (one.values() if isinstance(one, dict) else one)
        )
        level = list(itertools.islice(inside, MOST_VALUES))
        values += len(level)
        if not level:
            return
        if values >= MOST_VALUES:
            break
    raise FerKitError(f"{path}: has more than {MOST_VALUES:,} values or more than {MOST_DEPTH} levels; {_SAVE_IT}")


def _parsed(path: Path, written: bytes) -> Any:
    import yaml

    kind = "JSON" if path.suffix.lower() == ".json" else "YAML"
    try:
        return json.loads(written) if kind == "JSON" else yaml.safe_load(written)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise FerKitError(f"{path}: is not readable {kind} ({first_line(error)}); {_SAVE_IT}") from None
