"""Files of options: what `--config` of train takes, and how plans and spaces of a sweep are read.

    recipe = "vgg_small"
    tag = "best"
    [set]
    lr = 0.0031
    optimizer = "nmuon"

TOML or YAML. An option on the command line takes precedence over the file, and a setting of `--set` over that of `set`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fer_kit.errors import FerKitError, did_you_mean
from fer_kit.files import atomic

MOST_BYTES = 1 << 20
KINDS: Mapping[str, type] = {
    "recipe": str,
    "tag": str,
    "seed": int,
    "accumulate": int,
    "batch_size": int,
    "weights": str,
    "augment": str,
    "workers": int,
    "compile": bool,
    "deterministic": bool,
    "wandb": str,
}  # the keys of a file for `--config`, beside `set`
FILES = ("weights", "augment")  # options that name a file: relative to the file of options, if there is such a file


def read_table(path: Path, option: str) -> dict[str, Any]:
    """The keys and values in a TOML or YAML file; `option` names the file in errors.

    Raises:
        FerKitError: the file cannot be read, or holds no keys.
    """
    where = f"{option} {path}"
    if path.suffix not in (".toml", ".yaml", ".yml"):
        raise FerKitError(f"{where}: give a .toml, .yaml or .yml file")
    try:
        text = atomic.read_bytes(path, MOST_BYTES).decode("utf-8-sig")
        record: Any = tomllib.loads(text) if path.suffix == ".toml" else _yaml(text)
    except (OSError, ValueError, RecursionError) as error:
        reason = atomic.reason_of(error) if isinstance(error, OSError) else " ".join(str(error).split())
        raise FerKitError(f"{where}: cannot be read ({reason})") from None
    if not isinstance(record, dict):
        raise FerKitError(f"{where}: holds {type(record).__name__}, not keys with values")
    return record


def _yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(error) from None


def settings_of(value: Any, where: str) -> tuple[str, ...]:
    """`K=V` words from a table, or from a list of such words; `where` names the place in errors.

    Raises:
        FerKitError: `value` is neither.
    """
    if isinstance(value, dict) and all(type(one) in (str, int, float, bool) for one in value.values()):
        words = {name: str(one).lower() if isinstance(one, bool) else str(one) for name, one in value.items()}
        return tuple(f"{name}={word}" for name, word in words.items())
    if isinstance(value, list) and all(isinstance(one, str) and "=" in one for one in value):
        return tuple(value)
    raise FerKitError(f"{where} = {value!r}: give a table of settings, such as {{epochs = 60}}")


def read(path: Path, given: Sequence[str] = ()) -> dict[str, Any]:
    """The options in a file for `--config`, as defaults of the parser of train.

    given: the words of `--set` on the command line, which replace those of the same name in the file.

    Raises:
        FerKitError: the file cannot be read, or holds an unknown key or a value of the wrong type.
    """
    allowed = (*KINDS, "set")
    options: dict[str, Any] = {}
    for key, value in read_table(path, "--config").items():
        if key not in allowed:
            hint = did_you_mean(str(key), allowed)
            raise FerKitError(f"--config {path}: unknown key '{key}'{hint}; allowed are {', '.join(allowed)}")
        if key == "set":
            names = {word.partition("=")[0].strip() for word in given}
            words = settings_of(value, f"--config {path}: set")
            options[key] = [word for word in words if word.partition("=")[0].strip() not in names]
        elif type(value) is not KINDS[key]:
            raise FerKitError(f"--config {path}: {key} = {value!r} is not of type {KINDS[key].__name__}")
        elif key in FILES and (path.parent / str(value)).exists():
            options[key] = str(path.parent / str(value))
        else:
            options[key] = value
    return options
