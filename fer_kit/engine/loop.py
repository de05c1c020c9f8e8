"""The loop: one epoch of training, and prediction. Neither reads files or command-line options."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from fer_kit import models
from fer_kit.batches.epoch import in_groups, make_mix
from fer_kit.competition import SIDE_PX
from fer_kit.config.train_config import TrainConfig
from fer_kit.engine import averaging, device, heap, optim, sam
from fer_kit.engine.device import Precision
from fer_kit.engine.face_network import FaceNetwork
from fer_kit.engine.losses import Loss
from fer_kit.errors import FerKitError
from fer_kit.models import fine_tuning
from fer_kit.models.backbone import Backbone
from fer_kit.pretrained.start import Start

PREDICT_BATCH = 256  # images per batch in predictions, for any number of views
PREDICT_PX = 112  # largest side with full batches; batches of larger images have the same number of pixels: 64 images
# of 224 px, which take 0.7 GB with timm's resnet50 in fp32, whereas 256 took more than 3 GB


@dataclass
class State:
    """The state of a training, which `checkpoints` saves and restores."""

    net: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: optim.Schedule
    scaler: torch.amp.GradScaler
    average: AveragedModel | None
    epoch: int = 0  # finished epochs
    step: int = 0  # finished optimizer steps
    best_epoch: int = 0  # of the best watched accuracy so far, from 1
    best_weights: dict[str, Tensor] | None = None  # of that epoch, for recipes with early stopping
    seconds: float = 0.0  # spent in finished epochs
    history: list[dict[str, Any]] = field(default_factory=list)  # one record an epoch, as in metrics.jsonl
    compiled: Callable[[Tensor], Tensor] | None = None  # `net` compiled, for training steps only; not saved

    @property
    def averaged_net(self) -> nn.Module:
        """The network to predict with: the average of the weights if `config` sets one, otherwise `net`."""
        network: nn.Module = self.net if self.average is None else self.average.module
        return network


class NotFiniteError(FerKitError):
    """Loss or weights became infinite or NaN; the message names the step."""


def start(
    config: TrainConfig,
    precision: Precision,
    steps_an_epoch: int,
    *,
    weights: Start | None = None,
    compile_net: bool = False,
) -> State:
    """The state before the first epoch: network, optimizer, schedule and average.

    weights: initial weights; None draws random weights from torch's global generator.
    """
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
    """Train one epoch; return mean loss and accuracy over its images, each measured before the image's own step.

    The accuracy on mixed images (see `batches.epoch.make_mix`) counts the label with the larger weight.

    Args:
        batches: images float32 (B, 1, 48, 48) with labels int64 (B,) or class probabilities float32 (B, 7).
        on_step: called after each step with the number of images so far, and the sums of loss and hits as tensors on
            the device. Reading a tensor waits for the device, so do not read them at every step.

    Raises:
        NotFiniteError: the loss of a step is not finite, or the weights after the last step are not.
    """
    _keep_memory(precision)
    state.net.train()
    fine_tuning.begin_epoch(state.net, state.epoch, config)
    mix = make_mix(config)
    images, first = 0, state.step + 1
    sound = torch.zeros((), dtype=torch.int64, device=precision.device)  # steps with a finite loss_sum
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
        sound += loss_sum.isfinite()  # a sum stays infinite or NaN; counted on the device, without waiting
        on_step(images, loss_sum, hits)
    state.epoch += 1
    averaging.after_epoch(state.average, state.net, config, state.epoch)
    refuse_not_finite(state, float(loss_sum) / images, first, int(sound))
    return float(loss_sum) / images, float(hits) / images


def refuse_not_finite(state: State, loss: float, first: int, sound: int) -> None:
    """Raise NotFiniteError unless mean loss and weights are finite after an epoch that began with step `first`.

    The weights are checked because no loss of this epoch depends on the last update.

    sound: number of steps before the first loss that is not finite.
    """
    steps = f"of its {state.step - first + 1}"
    if not math.isfinite(loss):
        when = f"step {first + sound}, number {sound + 1} {steps}"
        raise NotFiniteError(f"the loss of epoch {state.epoch} is {loss}, not finite since {when}")
    values = [value for value in state.net.state_dict().values() if value.is_floating_point()]
    if not torch.stack([value.isfinite().all() for value in values]).all():
        when = f"step {state.step}, the last {steps} in epoch {state.epoch}"
        raise NotFiniteError(f"the weights are not finite after {when}")


def backward(
    state: State, batches: Sequence[tuple[Tensor, Tensor]], loss_of: Loss, precision: Precision
) -> list[tuple[Tensor, Tensor]]:
    """Add the gradient of the mean loss over the images of all batches of a step; return each batch's loss and logits
    (B, 7).
    """
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
    """Predict logits (N, 7) of uint8 images (N, 48, 48) on the device, averaged over test-time views.

    Args:
        view_set: a key of `engine.views.VIEWS`.
        on_batch: called after each batch with its number of images.
    """
    _keep_memory(precision)
    network = FaceNetwork(net, view_set).eval()
    logits = []
    with precision.autocast():
        for rows in images.split(predict_batch(net)):
            logits.append(network(rows))
            on_batch(len(rows))
    result: NDArray[np.float32] = torch.cat(logits).cpu().numpy()
    return result


def _keep_memory(precision: Precision) -> None:
    if precision.device.type == "cpu":
        heap.keep_freed_memory()


def predict_batch(net: nn.Module) -> int:
    """Number of images per batch in `predict`: fewer for networks with inputs larger than `PREDICT_PX`."""
    side = net.image_px if isinstance(net, Backbone) else SIDE_PX
    return max(1, min(PREDICT_BATCH, PREDICT_BATCH * PREDICT_PX**2 // side**2))
