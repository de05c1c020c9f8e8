"""The loop: one epoch of training, and prediction. Both read top to bottom; neither knows files or arguments."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from fer_kit import models
from fer_kit.batches.epoch import make_mix
from fer_kit.competition import SIDE_PX
from fer_kit.config.train_config import TrainConfig
from fer_kit.engine import averaging, device, optim, sam
from fer_kit.engine.device import Precision
from fer_kit.engine.face_network import FaceNetwork
from fer_kit.engine.losses import Loss
from fer_kit.errors import FerKitError
from fer_kit.models import fine_tuning
from fer_kit.models.backbone import Backbone
from fer_kit.pretrained.start import Start

PREDICT_BATCH = 256  # images that the network holds at a time, however many views there are
PREDICT_PX = 112  # side up to which it holds so many; of larger images as many pixels in all: 64 of 224 px, 0.7 GB of
# memory by timm's resnet50 in fp32, where 256 took more than 3 GB


@dataclass
class State:
    """All that a run carries from epoch to epoch, and that `checkpoints` saves and restores."""

    net: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: optim.Schedule
    scaler: torch.amp.GradScaler
    average: AveragedModel | None
    epoch: int = 0  # finished epochs
    step: int = 0  # finished optimizer steps
    best_epoch: int = 0  # of the best watched accuracy so far, from 1
    best_weights: dict[str, Tensor] | None = None  # of that epoch, kept where a recipe stops early
    seconds: float = 0.0  # spent in finished epochs
    history: list[dict[str, Any]] = field(default_factory=list)  # one record an epoch, as in metrics.jsonl
    compiled: Callable[[Tensor], Tensor] | None = None  # `net` as torch.compile runs it, for steps alone; not saved

    @property
    def averaged_net(self) -> nn.Module:
        """The network to predict with: the weight average where there is one."""
        network: nn.Module = self.net if self.average is None else self.average.module
        return network


class NotFiniteError(FerKitError):
    """Loss or weights became infinite or NaN; the message says in which step."""


def start(
    config: TrainConfig,
    precision: Precision,
    steps_an_epoch: int,
    *,
    weights: Start | None = None,
    compile_net: bool = False,
) -> State:
    """A fresh network, from `weights` where given, with its optimizer; draws from torch's global generator."""
    net = models.build(config)
    if weights is not None:
        weights.put_into(net)
    net = net.to(precision.device).to(memory_format=torch.channels_last)
    optimizer = optim.make_optimizer(net, config)
    schedule = optim.make_schedule(optimizer, config, steps_an_epoch)
    state = State(net, optimizer, schedule, precision.scaler(), averaging.make(net, config))
    state.compiled = device.compiled(net, precision.device) if compile_net else None
    return state


def train_epoch(
    state: State,
    batches: Iterable[tuple[Tensor, Tensor]],
    loss_of: Loss,
    config: TrainConfig,
    precision: Precision,
    on_step: Callable[[int, Tensor, Tensor], None] = lambda images, loss, hits: None,
) -> tuple[float, float]:
    """One epoch; mean loss and accuracy over its images, as the network was at each step.

    batches: images float32 (B, 1, 48, 48) and labels int64 (B,) or shares of classes float32 (B, 7). `on_step` gets,
    after each step, the images so far and the sums of loss and hits as tensors on the device: reading them waits for
    the device, so not every step.
    The accuracy of mixed images (see `batches.epoch.make_mix`) counts the label of the heavier of the two.

    Raises:
        NotFiniteError: the loss was not finite in some step, or the weights are not after the last one.
    """
    state.net.train()
    fine_tuning.begin_epoch(state.net, state.epoch, config)
    mix = make_mix(config)
    images, first = 0, state.step + 1
    sound = torch.zeros((), dtype=torch.int64, device=precision.device)  # steps before the first without a finite loss
    loss_sum = torch.zeros((), dtype=torch.float64, device=precision.device)
    hits = torch.zeros((), dtype=torch.int64, device=precision.device)
    for group in in_groups(batches, config.accumulate):
        state.schedule.before_step(state.step)
        mixed = [mix(x, labels) for x, labels in group]
        gradient = partial(backward, state, mixed, loss_of, precision)
        passed = sam.backward_nearby(state.net, config.sam_rho, gradient) if config.sam_rho else gradient()
        if config.grad_clip_norm:
            state.scaler.unscale_(state.optimizer)
            nn.utils.clip_grad_norm_(state.net.parameters(), config.grad_clip_norm)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.optimizer.zero_grad(set_to_none=True)
        state.step += 1
        averaging.after_step(state.average, config)
        for (_, targets), (loss, logits) in zip(mixed, passed, strict=True):
            images += len(targets)
            loss_sum += loss * len(targets)
            hits += (logits.argmax(1) == (targets.argmax(1) if targets.ndim == 2 else targets)).sum()
        sound += loss_sum.isfinite()  # a sum stays what it is once it is not; counted on the device, where none waits
        on_step(images, loss_sum, hits)
    state.epoch += 1
    averaging.after_epoch(state.average, state.net, config, state.epoch)
    refuse_not_finite(state, float(loss_sum) / images, first, int(sound))
    return float(loss_sum) / images, float(hits) / images


def refuse_not_finite(state: State, loss: float, first: int, sound: int) -> None:
    """Raise NotFiniteError unless mean loss and weights are finite after an epoch from step `first` on.

    sound: how many of its steps came before the first whose loss was not. The weights count, too: what the last step
    did to them no loss of this epoch has seen, and they would be saved.
    """
    steps = f"of its {state.step - first + 1}"
    if not math.isfinite(loss):
        when = f"step {first + sound}, number {sound + 1} {steps}"
        raise NotFiniteError(f"the loss of epoch {state.epoch} is {loss}, not finite since {when}")
    values = [value for value in state.net.state_dict().values() if value.is_floating_point()]
    if not torch.stack([value.isfinite().all() for value in values]).all():
        when = f"step {state.step}, the last {steps} in epoch {state.epoch}"
        raise NotFiniteError(f"the weights are not finite after {when}")


def in_groups(batches: Iterable[tuple[Tensor, Tensor]], size: int) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """The batches of each step: `size` of them, the last step maybe fewer."""
    remaining = iter(batches)
    while group := list(islice(remaining, size)):
        yield group


def backward(
    state: State, batches: Sequence[tuple[Tensor, Tensor]], loss_of: Loss, precision: Precision
) -> list[tuple[Tensor, Tensor]]:
    """Add the gradient of the mean loss over all images of a step's batches; loss and logits (B, 7) of each batch."""
    net = state.net if state.compiled is None else state.compiled
    weight_sums = [loss_of.weight_sum(targets) for _, targets in batches]
    passed = []
    for (inputs, targets), weight_sum in zip(batches, weight_sums, strict=True):
        with precision.autocast():
            logits = net(inputs).float()  # (B, 7)
            loss = loss_of(logits, targets)
        state.scaler.scale(loss * (weight_sum / sum(weight_sums))).backward()
        passed.append((loss.detach(), logits.detach()))
    return passed


@torch.inference_mode()
def predict(
    net: nn.Module,
    images: Tensor,
    view_set: str,
    precision: Precision,
    on_batch: Callable[[int], object] = lambda images: None,
) -> NDArray[np.float32]:
    """Logits (N, 7) of uint8 images (N, 48, 48) on the device, mean over the test-time views of a set.

    `on_batch` gets the number of images of each batch once it is predicted.
    """
    network = FaceNetwork(net, view_set).eval()
    logits = []
    with precision.autocast():
        for rows in images.split(predict_batch(net)):
            logits.append(network(rows))
            on_batch(len(rows))
    result: NDArray[np.float32] = torch.cat(logits).cpu().numpy()
    return result


def predict_batch(net: nn.Module) -> int:
    """How many images `net` holds at a time in `predict`: fewer where it sees them larger than `PREDICT_PX`."""
    side = net.image_px if isinstance(net, Backbone) else SIDE_PX
    return max(1, min(PREDICT_BATCH, PREDICT_BATCH * PREDICT_PX**2 // side**2))
