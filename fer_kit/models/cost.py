"""Counts what a network costs, by building it without memory for its weights."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from fer_kit import models
from fer_kit.competition import SIDE_PX
from fer_kit.config.networks import Cost
from fer_kit.config.train_config import TrainConfig


def measure(config: TrainConfig) -> Cost:
    """Parameters and FLOPs of the network of `config` for one face of 48 pixels; weights are neither drawn nor read."""
    with torch.device("meta"):
        net = models.build(config).eval()
        face = torch.empty(1, 1, SIDE_PX, SIDE_PX)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        net(face)
    return Cost(sum(p.numel() for p in net.parameters()), counter.get_total_flops())


def timm_names(pattern: str) -> list[str]:
    """Networks of timm that fit a pattern with * and ?, in timm's order; a name with its weights' tag fits too."""
    from timm import list_models

    found: list[str] = list_models(pattern) or list_models(pattern, pretrained=True)
    return found
