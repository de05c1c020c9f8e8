"""Packed networks: one file with the networks of a fold or run and their configs, apart from any folder of runs.

The file is safetensors with weights in float16, and a JSON header that says how to build the networks. Reading it runs
no code from the file: networks of your own, whose code is elsewhere, cannot be packed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from fer_kit import models
from fer_kit.config.networks import OWN_NAME
from fer_kit.config.train_config import TrainConfig, from_json
from fer_kit.engine.face_network import FaceNetwork
from fer_kit.errors import FerKitError, first_line
from fer_kit.files import atomic
from fer_kit.models.weights import PACKED, load_weights
from fer_kit.predict.combine import MeanOfNetworks
from fer_kit.runs.finished_folder import WEIGHTS
from fer_kit.runs.training_record import read_config

SUFFIX = ".safetensors"
SCHEMA = 1
MOST_BYTES, MOST_NETWORKS = 1 << 30, 50


@dataclass(frozen=True)
class Packed:
    """A packed file. about: its header, with name, configs and what the packer recorded. network: faces → logits."""

    path: Path
    about: dict[str, Any]
    network: MeanOfNetworks

    @property
    def name(self) -> str:
        """The name of the run or fold that was packed."""
        return str(self.about["name"])


def write(path: Path, name: str, folds: Sequence[Path], about: dict[str, Any]) -> None:
    """Pack the networks of finished fold folders, whose mean is the prediction.

    Args:
        path: the new file, ending in `SUFFIX`.
        name: name of the run or fold.
        folds: folders with config.json and model.safetensors.
        about: further values for the header, such as commit and scores.

    Raises:
        FerKitError: a network is your own code, or a weight is too large for float16.
    """
    if path.suffix != SUFFIX:
        raise FerKitError(f"--out {path}: a packed network ends in {SUFFIX}; give another name")
    configs, tensors = [], {}
    for number, folder in enumerate(folds):
        config = read_config(folder)
        _refuse_own(config, f"{folder}")
        configs.append(config.to_json())
        net = models.build(config)
        load_weights(folder / WEIGHTS, net)
        for key, value in net.state_dict().items():
            tensors[f"{number}.{key}"] = half(value, f"{folder}: {key}")
    header = {"schema": SCHEMA, "name": name, "networks": configs, **about}
    with atomic.replacing(path) as file:
        file.write(safetensors.torch.save(tensors, {PACKED: json.dumps(header, sort_keys=True)}))


def half(value: Tensor, where: str) -> Tensor:
    """A copy of `value`, floating-point numbers as float16.

    Raises:
        FerKitError: a number is too large.
    """
    if not value.is_floating_point():
        return value.contiguous().clone()
    small = value.half().contiguous().clone()
    if not small.isfinite().all():
        raise FerKitError(f"{where} has values beyond 65,504, the largest of float16; export as onnx or torch instead")
    return small


def read(path: Path) -> Packed:
    """Read a packed file onto the CPU.

    Raises:
        FerKitError: the file is missing, damaged or too large, is no packed network, or is of a later version.
    """
    if not path.is_file():
        raise FerKitError(f"{path}: no such file")
    if path.stat().st_size > MOST_BYTES:
        raise FerKitError(f"{path}: {path.stat().st_size:,} bytes; a packed network has at most {MOST_BYTES:,}")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(PACKED, "")
        about = atomic.parse_json(text) if text else None
        tensors = safetensors.torch.load_file(path) if text else {}
    except (OSError, ValueError, RecursionError, safetensors.SafetensorError) as error:
        raise FerKitError(f"{path}: not a packed network ({first_line(error)}); get the file again") from None
    if not isinstance(about, dict):
        raise FerKitError(
            f"{path}: weights without their config; name the run that they belong to, or pack it with: "
            "fer-kit export RUN --format package --out FILE.safetensors"
        )
    return Packed(path, about, MeanOfNetworks(_networks(path, about, tensors)))


def _networks(path: Path, about: dict[str, Any], tensors: dict[str, Tensor]) -> list[FaceNetwork]:
    """The networks of a packed file, with their weights."""
    if about.get("schema") != SCHEMA:
        raise FerKitError(f"{path}: schema {about.get('schema')!r}, this version reads {SCHEMA}; update fer_kit")
    configs = about.get("networks")
    if (
        not isinstance(configs, list)
        or not 1 <= len(configs) <= MOST_NETWORKS
        or not isinstance(about.get("name"), str)
    ):
        raise FerKitError(f"{path}: its header lacks a name or 1 to {MOST_NETWORKS} networks; get the file again")
    found = []
    for number, record in enumerate(configs):
        config = from_json(record, f"{path}")
        _refuse_own(config, f"{path}")
        net = models.build(config)
        prefix = f"{number}."
        weights = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        floats = {key: value.float() if value.is_floating_point() else value for key, value in weights.items()}
        try:
            net.load_state_dict(floats)
        except RuntimeError as error:
            raise FerKitError(f"{path}: not the weights of {config.model} ({first_line(error)})") from None
        if not all(torch.isfinite(value).all() for value in floats.values() if value.is_floating_point()):
            raise FerKitError(f"{path}: has weights that are not finite; get the file again")
        found.append(FaceNetwork(net, config.views))
    return found


def _refuse_own(config: TrainConfig, where: str) -> None:
    if OWN_NAME.fullmatch(config.model):
        raise FerKitError(
            f"{where}: model={config.model} is your own code, which a packed file cannot hold; export it as "
            "onnx or torch"
        )
