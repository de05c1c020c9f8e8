"""Files of pretrained weights: read without running code in them, wrappers and prefixes taken off."""

from __future__ import annotations

import argparse
import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from timm.models import clean_state_dict
from torch import Tensor

from fer_kit.errors import FerKitError

# where training scripts keep the state dict in what they save, an average of the weights first
WRAPPERS = ("state_dict_ema", "model_ema", "ema_state_dict", "state_dict", "model")
SHOWN = 8  # names in a message

Tensors = dict[str, Tensor]


def read(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """A file's tensors by name, wrappers and prefixes taken off; and what it says of the run of ours that wrote it.

    Raises:
        FerKitError: it cannot be read, holds code, or no tensors by name.
    """
    about: dict[str, Any] = {}
    try:
        if path.suffix == ".safetensors":
            with safetensors.safe_open(path, framework="pt") as file:
                about = json.loads((file.metadata() or {}).get("about", "{}"))
            content: Any = safetensors.torch.load_file(path)
        else:
            # timm's own checkpoints hold their arguments in a Namespace; of old files torch warns before it refuses
            with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings(action="ignore"):
                content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise FerKitError(
            f"{path}: holds code or objects beside tensors{unsafe_names(path)}, and a pickle can run anything, so it "
            "is not loaded; save its state dict alone, best as safetensors"
        ) from None
    except Exception as error:  # torch and safetensors raise many kinds for a damaged file
        raise FerKitError(f"{path}: not a file of weights that can be read ({first_line(error)})") from None
    for key in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    found = content if isinstance(content, dict) else {}
    tensors = {name: value for name, value in found.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if not tensors:
        inside = ", ".join(map(str, list(found)[:SHOWN])) or type(content).__name__
        raise FerKitError(f"{path}: no tensors by name in it; it holds: {inside}")
    return dict(clean_state_dict(tensors)), about if isinstance(about, dict) else {}


def unsafe_names(path: Path) -> str:
    """What a pickle would have imported, as ` (os.system)`; nothing where that cannot be told."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    except Exception:  # only for the message: the file is refused anyway
        return ""
    return f" ({', '.join(names[:SHOWN])})" if names else ""


def first_line(error: Exception) -> str:
    """The start of an error's text, or its kind where it has none."""
    text = " ".join(str(error).split())
    return text[:200] if text else type(error).__name__
