"""Small networks of timm and files of their weights, written by timm itself; nothing is downloaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
from torch import nn

from fer_kit.config import recipes
from fer_kit.config.train_config import TrainConfig, override

RESNET, VIT, CONVNEXT = "timm/test_resnet", "timm/test_vit", "timm/test_convnext"
SMALL = ("image_px=32", "batch_size=32", "epochs=2", "precision=fp32")


def small(model: str, *settings: str) -> TrainConfig:
    """The recipe of a test network at 32 pixels; `settings` on top."""
    given = {setting.partition("=")[0]: setting for setting in (*SMALL, *settings)}
    return override(recipes.get(model), given.values())


def rgb(name: str, seed: int = 0, **options: Any) -> nn.Module:
    """timm's own network of three channels and 1000 classes, as its authors publish it."""
    torch.manual_seed(seed)
    net = timm.create_model(name.removeprefix("timm/"), **options)
    for value in net.state_dict().values():  # batch-norm statistics too: fresh ones are all alike
        if value.is_floating_point() and value.ndim == 1:
            value.add_(torch.rand_like(value) * 0.1)
    return net.eval()


def safetensors_file(path: Path, net: nn.Module, about: dict[str, Any] | None = None) -> Path:
    header = None if about is None else {"about": json.dumps(about)}
    safetensors.torch.save_file({name: value.contiguous() for name, value in net.state_dict().items()}, path, header)
    return path


def hub_cache(folder: Path, name: str, net: nn.Module | None) -> Path:
    """What the hub's client leaves on disk after it has fetched timm's weights of `name`, tag included."""
    repository = folder / f"models--timm--{name}"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    if net is not None:
        safetensors_file(snapshot / "model.safetensors", net)
    return folder
