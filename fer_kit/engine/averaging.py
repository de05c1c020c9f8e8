"""Averages of the weights, both in torch's `AveragedModel`: exponential over the steps, plain over the last epochs."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn

from fer_kit.config.train_config import TrainConfig
from fer_kit.engine.device import Precision

WARMUP_POWER = 2 / 3


class Tensors:
    """The parameters and buffers of a network, found once, so that a step needs no walk through its modules.

    A buffer is looked up by its name each time, since a module may replace its buffer by another tensor.
    """

    def __init__(self, net: nn.Module) -> None:
        self.parameters = list(net.parameters())
        self.floating: list[tuple[dict[str, Tensor | None], str]] = []
        self.counters: list[tuple[dict[str, Tensor | None], str]] = []  # of batches
        seen: set[int] = set()
        for module in net.modules():
            for name, buffer in module._buffers.items():
                if buffer is not None and id(buffer) not in seen:
                    seen.add(id(buffer))
                    (self.floating if buffer.is_floating_point() else self.counters).append((module._buffers, name))

    def lists(self) -> tuple[list[Tensor], list[Tensor]]:
        """Parameters and buffers of floating point; the other buffers."""
        floating = [*self.parameters, *(buffers[name] for buffers, name in self.floating)]
        counters = [buffers[name] for buffers, name in self.counters]
        return floating, counters  # type: ignore[return-value]  # none of them is None


class ExponentialAverage(AveragedModel):
    """An exponential average of a network's weights and BatchNorm statistics."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net, use_buffers=True)
        self.tensors = Tensors(self.module), Tensors(net)

    def step(self, decay: float) -> None:
        """Take in the weights of the network after an optimizer step.

        The decay after n steps is 1 - (1 + n)^(-2/3) until that reaches `decay`, so that early weights are forgotten:
        the warm-up of timm's ModelEmaV3, whose results these are bit for bit. timm's class collects the tensors anew at
        each step, and AveragedModel's own update copies its count to the device, which waits for a GPU.
        """
        (averaged, average_counters), (weights, counters) = (tensors.lists() for tensors in self.tensors)
        steps = int(self.n_averaged)  # it is on the CPU
        with torch.no_grad():
            if steps:
                share = 1.0 - min(decay, 1 - (1 + steps) ** -WARMUP_POWER)
                torch._foreach_lerp_(averaged, weights, share)
            else:
                torch._foreach_copy_(averaged, weights)  # takes the first as they are
            if counters:
                torch._foreach_copy_(average_counters, counters)
        self.n_averaged += 1


def make(net: nn.Module, config: TrainConfig) -> AveragedModel | None:
    """The average that `config` asks for, before the first weights went into it; None where it asks for none."""
    if config.average_decay:
        return ExponentialAverage(net)
    return AveragedModel(net) if config.average_epochs else None


def after_step(average: AveragedModel | None, config: TrainConfig) -> None:
    """Take the weights after an optimizer step into an exponential average; a plain one waits for the epoch's end."""
    if isinstance(average, ExponentialAverage):
        average.step(config.average_decay)


def after_epoch(average: AveragedModel | None, net: nn.Module, config: TrainConfig, epoch: int) -> None:
    """Take the weights after `epoch` (from 1) into the plain average, if it is one of the last."""
    if average is not None and config.average_epochs and epoch > config.epochs - config.average_epochs:
        average.update_parameters(net)


def restore(average: AveragedModel, weights: dict[str, Tensor], count: int) -> None:
    """Put the `weights` of an average of `count` networks back."""
    average.module.load_state_dict(weights)
    average.n_averaged.fill_(count)


def renew_statistics(average: AveragedModel, images: Iterable[Tensor], precision: Precision) -> None:
    """Measure the batch-norm statistics of averaged weights on training batches float32 (B, 1, H, W).

    The mean of several networks has activations of its own, which no running statistic has seen (Izmailov et al.,
    "Averaging Weights Leads to Wider Optima and Better Generalization", UAI 2018).
    """
    with precision.autocast():
        update_bn(images, average)
