"""Save and load the weights of a network (model.safetensors)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from fer_kit.errors import FerKitError, first_line
from fer_kit.files import atomic

ABOUT = "about"  # key of the header of a file of one network
PACKED = "fer_kit_packed"  # the same of a packed file (fer_kit.predict.packed)


def weights_of(module: torch.nn.Module) -> dict[str, Tensor]:
    """Copy the parameters and buffers of a network."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def save_weights(path: Path, module: torch.nn.Module, about: dict[str, Any]) -> None:
    """Write the weights of a network to `path` as safetensors, with `about` as JSON in the header."""
    weights = {name: tensor.contiguous().cpu().clone() for name, tensor in module.state_dict().items()}
    header = {ABOUT: json.dumps(about, sort_keys=True)}  # one key, since the order of several changes between runs
    with atomic.replacing(path) as file:
        file.write(safetensors.torch.save(weights, header))


def read_about(path: Path, key: str = ABOUT) -> dict[str, Any]:
    """Read what `save_weights` (or, with key `PACKED`, a packer) stored beside the tensors; empty for other files.

    The header may come from an untrusted source: `atomic.parse_json` says what JSON is refused.

    Raises:
        FerKitError: the file is not safetensors.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(key, "")
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise FerKitError(
            f"{path}: not a readable file of weights ({first_line(error)}); restore or download the file again"
        ) from None
    try:
        about = atomic.parse_json(text)
    except (ValueError, RecursionError):
        return {}
    return about if isinstance(about, dict) else {}


def load_weights(path: Path, module: torch.nn.Module) -> None:
    """Load weights that `save_weights` wrote.

    Raises:
        FerKitError: the file is not safetensors, or has the weights of another network.
    """
    try:
        module.load_state_dict(safetensors.torch.load_file(path))
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:
        raise FerKitError(f"{path}: not the weights of {type(module).__name__} ({first_line(error)})") from None
