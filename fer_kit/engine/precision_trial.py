"""A short trial of bf16 against float32 on a CPU, for networks with depthwise or grouped convolutions."""

from __future__ import annotations

import time

import torch
from torch import nn
from torch.nn import functional as F

from fer_kit import models
from fer_kit.competition import NUM_CLASSES, SIDE_PX
from fer_kit.config.networks import NETWORKS
from fer_kit.config.train_config import TrainConfig
from fer_kit.engine import heap
from fer_kit.engine.device import Precision

BATCH, BATCH_48_PX, ROUNDS, MOST_SECONDS = 8, 64, 3, 10.0  # CPU time of all rounds together, checked after each
GROUPED = 0.2  # a higher share of grouped convolutions is tried; vgg has one in the classifier, which decides nothing
GAIN = 0.95  # fp32 must take at most this share of the time of bf16: the results of both differ a little


def faster(config: TrainConfig, chosen: Precision) -> tuple[Precision, str]:
    """The faster of bf16 and fp32 for the network of `config`, and a line for the log; `chosen` and "" without a trial.

    Most layers are faster in bf16, but oneDNN has no fast bf16 kernels for grouped convolutions on many CPUs: a step of
    EfficientNet-Lite0 took 1.5 times as long in bf16. The trial draws nothing from torch's global generator.
    """
    if chosen.device.type != "cpu" or chosen.name != "bf16" or config.precision != "auto":
        return chosen, ""
    with torch.random.fork_rng(devices=[]):
        with torch.device("meta" if config.model in NETWORKS else "cpu"):  # others may read values while they are built
            if not has_grouped(models.build(config)):
                return chosen, ""
        net = models.build(config).to(memory_format=torch.channels_last).train()
        most = BATCH_48_PX if config.model in NETWORKS else BATCH
        faces = torch.randn(min(most, config.batch_size), 1, SIDE_PX, SIDE_PX)
        bf16, fp32 = step_seconds(net, faces, [chosen, Precision("fp32", chosen.device)])
    name = "fp32" if fp32 < GAIN * bf16 else "bf16"
    speeds = f"{len(faces) / fp32:,.1f} images per CPU second in fp32, {len(faces) / bf16:,.1f} in bf16"
    return Precision(name, chosen.device), f"precision: {name}, tried for its grouped convolutions: {speeds}"


def has_grouped(net: nn.Module) -> bool:
    """True if many convolutions work on groups of channels, as depthwise convolutions do."""
    groups = [layer.groups for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    return sum(group > 1 for group in groups) > GROUPED * len(groups)


def step_seconds(net: nn.Module, faces: torch.Tensor, precisions: list[Precision], rounds: int = ROUNDS) -> list[float]:
    """CPU seconds of a forward and a backward pass in each precision: the least of `rounds`, after one to warm up.

    CPU time, and not time on the wall: other programs on the machine change the latter.
    """
    heap.keep_freed_memory()
    labels = torch.arange(len(faces)) % NUM_CLASSES
    least = [float("inf")] * len(precisions)
    began = time.process_time()
    for number in range(1 + rounds):
        for place, precision in enumerate(precisions):
            started = time.process_time()
            with precision.autocast():
                loss = F.cross_entropy(net(faces).float(), labels)
            loss.backward()
            if number:
                least[place] = min(least[place], time.process_time() - started)
        if number and time.process_time() - began > MOST_SECONDS:
            break
    return least
