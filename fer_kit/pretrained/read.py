"""Read files of pretrained weights without running code in them; wrappers and prefixes are removed."""

from __future__ import annotations

from fer_kit.models import timm_alone  # noqa: F401 (before timm)

# isort: split

import argparse
import pickle
import warnings
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from timm.models import clean_state_dict
from torch import Tensor

from fer_kit.errors import FerKitError, first_line
from fer_kit.models.weights import read_about

# Keys under which training scripts save the state dict. Averaged weights come first.
WRAPPERS = ("state_dict_ema", "model_ema", "ema_state_dict", "state_dict", "model")
SHOWN = 8  # names in a message
BEGINNING_BYTES = 24
SAVED_BY_TORCH = (b"PK\x03\x04", b"\x80")  # a zip file, or a pickle of older versions
LFS_POINTER = b"version https://git-lfs"

Tensors = dict[str, Tensor]


def read(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Read the tensors of a file by name, without wrappers and prefixes, and what fer_kit stored beside them.

    Raises:
        FerKitError: the file cannot be read, contains code, has no named tensors, or has values that are not finite.
    """
    begins = beginning(path)
    if not begins.startswith(SAVED_BY_TORCH) and not is_safetensors(begins):
        raise FerKitError(f"{path}: is neither safetensors nor a file of torch.save; {what_it_is(begins)}")
    about = read_about(path) if is_safetensors(begins) else {}
    try:
        if is_safetensors(begins):
            content: Any = safetensors.torch.load_file(path)
        else:
            # Checkpoints of timm's train.py hold their arguments in a Namespace. torch warns about old files before
            # it refuses them. The file is opened here because newer versions of torch trust the suffix of a path.
            allowed = torch.serialization.safe_globals([argparse.Namespace])
            with path.open("rb") as opened, allowed, warnings.catch_warnings(action="ignore"):
                content = torch.load(opened, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise FerKitError(
            f"{path}: contains code or objects beside tensors{unsafe_names(path)}; unpickling them could run any "
            "program, so the file is not loaded; save only its state dict, preferably as safetensors"
        ) from None
    except Exception as error:  # torch and safetensors raise many kinds of errors for a damaged file
        raise FerKitError(f"{path}: not a readable file of weights ({first_line(error)})") from None
    for key in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    found = content if isinstance(content, dict) else {}
    tensors = {name: value for name, value in found.items() if isinstance(name, str) and is_plain(value)}
    if not tensors:
        inside = ", ".join(map(str, list(found)[:SHOWN])) or type(content).__name__
        raise FerKitError(f"{path}: contains no named tensors; the file contains: {inside}")
    floats = {name: value for name, value in tensors.items() if value.is_floating_point()}
    broken = next((name for name, value in floats.items() if not value.float().isfinite().all()), None)
    if broken is not None:
        raise FerKitError(
            f"{path}: {broken} has values that are not finite; give weights of a training that did not diverge"
        )
    return dict(clean_state_dict(tensors)), about


def is_plain(value: Any) -> bool:
    """True if `value` is a dense tensor with values (not on the meta device)."""
    return isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"


def beginning(path: Path) -> bytes:
    """Read the first bytes of a file; they tell the format, while the suffix may be wrong.

    Raises:
        FerKitError: the file cannot be opened.
    """
    try:
        with path.open("rb") as file:
            return file.read(BEGINNING_BYTES)
    except OSError as error:
        raise FerKitError(f"{path}: cannot be read ({error.strerror or error})") from None


def is_safetensors(begins: bytes) -> bool:
    """True if the bytes begin like safetensors: the length of a JSON object in 8 bytes, then the object."""
    return begins[8:9] == b"{"


def what_it_is(begins: bytes) -> str:
    """Say what a file without weights contains, and what to do about the file."""
    if begins.startswith(LFS_POINTER):
        return "the file is a pointer of Git LFS; get the content with git lfs pull"
    if not begins:
        return "the file is empty; download the file again"
    return f"the file begins with {begins!r}; check that the download is not a web page, then download the file again"


def unsafe_names(path: Path) -> str:
    """The names that a pickle would import, as ` (os.system)`; empty if unknown."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    except Exception:  # only for the message: the file is refused anyway
        return ""
    return f" ({', '.join(names[:SHOWN])})" if names else ""
