"""Read files of pretrained weights without running code in them; wrappers and prefixes are removed."""

from __future__ import annotations

from fer_kit.models import timm_alone  # noqa: F401 (before timm)

# isort: split

import argparse
import pickle
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from timm.models import clean_state_dict
from torch import Tensor

from fer_kit.errors import FerKitError, first_line
from fer_kit.models import unpickle
from fer_kit.models.weights import PACKED, read_about

# Keys under which training scripts save the state dict. Averaged weights come first.
WRAPPERS = (
    *("state_dict_ema", "model_ema", "ema_state_dict", "model_ema_state_dict", "ema"),
    *("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights"),
)
MOST_WRAPPERS = 3  # around each other, e.g. {"model": {"state_dict": …}}
AVERAGE_COUNTER = "n_averaged"  # of torch's AveragedModel, beside `module.…`
SHOWN = 8  # names in a message
BEGINNING_BYTES = 24
SAVED_BY_TORCH = (b"PK\x03\x04", b"\x80")  # a zip file, or a pickle of older versions
LFS_POINTER = b"version https://git-lfs"

Tensors = dict[str, Tensor]


class WeightsFile(NamedTuple):
    """The content of a weights file.

    tensors: by name, without wrappers. about: what fer_kit stored beside the tensors (run, model, data_digest, and,
    where the file names them, fold and folds_digest); empty for files of other programs. in_order: whether the tensors
    stand in the order of the network that was saved; safetensors sorts them. key: where in the file the tensors were
    found, e.g. `model_ema`; "" without a wrapper.
    """

    tensors: Tensors
    about: dict[str, Any]
    in_order: bool = True
    key: str = ""


def read(path: Path) -> WeightsFile:
    """Read the tensors of a file by name, without wrappers, `module.` and `_orig_mod.`.

    Raises:
        FerKitError: the file cannot be read, contains code, has no named tensors, or has values that are not finite.
    """
    begins = beginning(path)
    if not begins.startswith(SAVED_BY_TORCH) and not is_safetensors(begins):
        raise FerKitError(f"{path}: is neither safetensors nor a file of torch.save; {what_it_is(begins)}")
    try:
        if is_safetensors(begins):
            content: Any = safetensors.torch.load_file(path)
        else:
            # Checkpoints of timm's train.py hold their arguments in a Namespace. torch warns about old files before
            # it refuses them. The file is opened here because newer versions of torch trust the suffix of a path.
            allowed = torch.serialization.safe_globals([argparse.Namespace])
            with path.open("rb") as opened, allowed, warnings.catch_warnings(action="ignore"):
                content = unpickle.load(opened, path)
    except pickle.UnpicklingError:
        raise FerKitError(
            f"{path}: contains code or objects beside tensors{unsafe_names(path)}; unpickling them could run any "
            "program, so the file is not loaded; save only its state dict, preferably as safetensors"
        ) from None
    except FerKitError:
        raise
    except Exception as error:  # torch and safetensors raise many kinds of errors for a damaged file
        raise FerKitError(f"{path}: not a readable file of weights ({first_line(error)})") from None
    tensors, key = tensors_in(content)
    if not tensors:
        inside = ", ".join(map(str, list(content)[:SHOWN])) if isinstance(content, dict) else ""
        raise FerKitError(
            f"{path}: contains no named tensors; give a file of the state dict, alone or under a key such as "
            f"state_dict or model; the file contains: {inside or type(content).__name__}"
        )
    floats = {name: value for name, value in tensors.items() if value.is_floating_point()}
    broken = next((name for name, value in floats.items() if not value.float().isfinite().all()), None)
    if broken is not None:
        raise FerKitError(
            f"{path}: {broken} has values that are not finite; give weights of a training that did not diverge"
        )
    about = _about_packed(path) or read_about(path) if is_safetensors(begins) else _about_checkpoint(content)
    return WeightsFile(without_parallel(tensors), about, not is_safetensors(begins), key)


def _about_packed(path: Path) -> dict[str, Any]:
    """What a packed file says of its network; empty for other files. Its fold is unknown."""
    header = read_about(path, PACKED)
    networks = header.get("networks")
    if not isinstance(networks, list) or not networks or not isinstance(networks[0], dict):
        return {}
    return {"run": header.get("name"), "model": networks[0].get("model"), "data_digest": header.get("data_digest")}


def _about_checkpoint(content: dict[str, Any]) -> dict[str, Any]:
    """What the checkpoint of an unfinished fold (last.pt) says of its data, not of its fold; empty for other files."""
    identity = content.get("identity")
    if not isinstance(identity, dict) or "data_digest" not in identity:
        return {}
    return {"run": "a checkpoint", "data_digest": identity["data_digest"], "folds_digest": identity.get("folds_digest")}


def tensors_in(content: Any, depth: int = 0) -> tuple[Tensors, str]:
    """The named tensors of `content` or of a key of `WRAPPERS`, and that key. Averages that hold no weights are passed
    over.
    """
    if not isinstance(content, dict) or depth > MOST_WRAPPERS:
        return {}, ""
    for key in WRAPPERS:
        tensors, inner = tensors_in(content.get(key), depth + 1)
        if tensors:
            return tensors, f"{key}.{inner}" if inner else key
    tensors = {name: value for name, value in content.items() if isinstance(name, str) and is_plain(value)}
    return (tensors, "") if any(value.ndim for value in tensors.values()) else ({}, "")


def without_parallel(tensors: Tensors) -> Tensors:
    """Remove `module.` and `_orig_mod.` at the beginning of names, and the counter of torch's AveragedModel."""
    if any(name.startswith("module.") for name in tensors):
        tensors = {name: value for name, value in tensors.items() if name != AVERAGE_COUNTER}
    while (cleaned := dict(clean_state_dict(tensors))).keys() != tensors.keys():
        tensors = cleaned
    return tensors


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
