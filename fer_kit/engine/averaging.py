"""Averages of the weights, as torch's `AveragedModel`: exponential over the steps, or equal over the last epochs."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn

from fer_kit.config.train_config import TrainConfig
from fer_kit.engine.device import Precision

WARMUP_POWER = 2 / 3


class Tensors:
    """The parameters and buffers of a network, collected once, so that a step need not traverse the modules.

    Buffers are looked up by name at each step, because a module may replace a buffer by another tensor.
    """

    def __init__(self, net: nn.Module) -> None:
        self.parameters = list(net.parameters())
        self.floating: list[tuple[dict[str, Tensor | None], str]] = []
        self.counters: list[tuple[dict[str, Tensor | None], str]] = []  # num_batches_tracked of batch norm
        seen: set[int] = set()
        for module in net.modules():
            for name, buffer in module._buffers.items():
                if buffer is not None and id(buffer) not in seen:
                    seen.add(id(buffer))
                    (self.floating if buffer.is_floating_point() else self.counters).append((module._buffers, name))

    def lists(self) -> tuple[list[Tensor], list[Tensor]]:
        """Two lists: parameters and floating-point buffers; the other buffers."""
        floating = [*self.parameters, *(buffers[name] for buffers, name in self.floating)]
        counters = [buffers[name] for buffers, name in self.counters]
        return floating, counters  # type: ignore[return-value]  # none of them is None


class ExponentialAverage(AveragedModel):
    """An exponential average of a network's weights and BatchNorm statistics."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net, use_buffers=True)
        self.tensors = Tensors(self.module), Tensors(net)

    def step(self, decay: float) -> None:
        """Add the weights of the network after an optimizer step to the average.

        After n steps the decay is min(decay, 1 - (1 + n)^(-2/3)), so that early weights lose their influence. This is
        the warm-up of timm's ModelEmaV3, with the same results bit for bit. timm's class is slower because it collects
        the tensors at each step, and AveragedModel's own update copies its counter to the device, which synchronises
        the GPU.
        """
        (averaged, average_counters), (weights, counters) = (tensors.lists() for tensors in self.tensors)
        steps = int(self.n_averaged)  # a CPU tensor
        with torch.no_grad():
            if steps:
                share = 1.0 - min(decay, 1 - (1 + steps) ** -WARMUP_POWER)
                torch._foreach_lerp_(averaged, weights, share)
            else:
                torch._foreach_copy_(averaged, weights)  # the first weights are copied
            if counters:
                torch._foreach_copy_(average_counters, counters)
        self.n_averaged += 1


def make(net: nn.Module, config: TrainConfig) -> AveragedModel | None:
    """A new, still empty average of the kind that `config` sets; None if it sets none."""
    if config.average_decay:
        return ExponentialAverage(net)
    return AveragedModel(net) if config.average_epochs else None


def after_step(average: AveragedModel | None, config: TrainConfig) -> None:
    """After an optimizer step: update an exponential average. An average over epochs is updated by `after_epoch`."""
    if isinstance(average, ExponentialAverage):
        average.step(config.average_decay)


def after_epoch(average: AveragedModel | None, net: nn.Module, config: TrainConfig, epoch: int) -> None:
    """After `epoch` (from 1): update the average over the last `average_epochs` epochs, if the epoch is one of them."""
    if average is not None and config.average_epochs and epoch > config.epochs - config.average_epochs:
        average.update_parameters(net)


def restore(average: AveragedModel, weights: dict[str, Tensor], count: int) -> None:
    """Restore an average from its saved `weights` and the number of networks in the average."""
    average.module.load_state_dict(weights)
    average.n_averaged.fill_(count)


def renew_statistics(average: AveragedModel, images: Iterable[Tensor], precision: Precision) -> None:
    """Recompute the batch-norm statistics of averaged weights on training batches float32 (B, 1, H, W).

    The activations of the averaged network differ from those of each network in the average, so that no running
    statistics match them. Source: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better
    Generalization", UAI 2018.
    """
    with precision.autocast():
        update_bn(images, average)
