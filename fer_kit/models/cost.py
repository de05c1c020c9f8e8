"""Count parameters and FLOPs of a network, built on the meta device, without memory for its weights."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from fer_kit import models
from fer_kit.competition import SIDE_PX
from fer_kit.config.networks import Cost
from fer_kit.config.train_config import TrainConfig


def measure(config: TrainConfig) -> Cost:
    """Parameters, and FLOPs for one face of 48 pixels, of the network of `config`; no weights are drawn or read."""
    with torch.device("meta"):
        net = models.build(config).eval()
        face = torch.empty(1, 1, SIDE_PX, SIDE_PX)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        net(face)
    return Cost(sum(p.numel() for p in net.parameters()), counter.get_total_flops())


def timm_names(pattern: str) -> list[str]:
    """Networks of timm that match a pattern with * and ?, in timm's order; the pattern may have a tag of weights."""
    from timm import list_models

    found: list[str] = list_models(pattern) or list_models(pattern, pretrained=True)
    return found
