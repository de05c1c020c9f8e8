"""The optimizer and the learning-rate schedule of a config, built from timm and torch."""

from __future__ import annotations

from fer_kit.models import timm_alone  # noqa: F401 (before timm)

# isort: split

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from timm.optim import create_optimizer_v2, param_groups_layer_decay, param_groups_weight_decay
from timm.scheduler import CosineLRScheduler
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from fer_kit.config.train_config import TrainConfig
from fer_kit.models import fine_tuning
from fer_kit.models.backbone import Backbone

WARMUP_FROM, COSINE_TO = 0.01, 0.001  # as fractions of the full rate


def make_optimizer(net: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Adam, AdamW or SGD with Nesterov momentum, in torch's fused form; or Muon with Nesterov momentum, not fused.

    Muon orthogonalises the update of each weight matrix and of each convolution, as a matrix (out, in·3·3). Biases,
    norms and depthwise convolutions are trained by NAdamW with the same rate; timm decides this by shape. The weight
    decay of both is decoupled from the gradient, as in AdamW.
    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", kellerjordan.github.io/posts/muon,
    with the scale of Liu et al., "Muon is Scalable for LLM Training", arXiv 2502.16982.
    """
    kind, extra = config.optimizer, dict[str, Any]()
    if kind == "sgd":
        extra["momentum"] = config.momentum
        kind = "sgd" if config.momentum else "momentum"  # timm's name for SGD without Nesterov
    if kind != "nmuon":
        extra["fused"] = True
    # If other layers are frozen at first, the classifier gets its own groups: torch's fused SGD fails on a group in
    # which only some parameters have a momentum buffer.
    if config.head_lr_mult != 1.0 or config.layer_decay != 1.0 or config.freeze_epochs:
        extra["param_group_fn"] = lambda trunk: list(scaled_groups(net, trunk, config))
    optimizer: torch.optim.Optimizer = create_optimizer_v2(
        net.body if isinstance(net, Backbone) else net,  # timm's network lists weights without decay
        opt=kind,
        lr=config.lr,
        weight_decay=config.weight_decay,
        filter_bias_and_bn=not config.decay_norms,
        **extra,
    )
    if config.optimizer == "sgd" and config.momentum:
        # Fused SGD allocates momentum buffers uninitialised; if the scaler skips the first step, they are never filled.
        for group in optimizer.param_groups:
            for weight in group["params"]:
                optimizer.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
    if config.schedule != "cosine":  # timm's cosine applies lr_scale at every step
        for group in optimizer.param_groups:
            group["lr"] *= group.get("lr_scale", 1.0)
    return optimizer


def scaled_groups(net: nn.Module, trunk: nn.Module, config: TrainConfig) -> Iterator[dict[str, Any]]:
    """Parameter groups with `lr_scale`, for `layer_decay` and `head_lr_mult`.

    The rate of each layer is `layer_decay` times the rate of the next layer; the classifier's rate is `head_lr_mult`
    times the rate of the last layer. timm defines the layers. Source of the layer decay: Bao et al., "BEiT", ICLR 2022.

    trunk: the module that holds the parameters of `net`.
    """
    kept: set[str] = getattr(trunk, "no_weight_decay", set)()  # tokens and position embeddings of transformers
    options: dict[str, Any] = {"weight_decay": config.weight_decay, "no_weight_decay_list": kept}
    groups: list[dict[str, Any]]
    if config.layer_decay != 1.0:
        rates = {"layer_decay": config.layer_decay, "weight_decay_exclude_1d": not config.decay_norms}
        groups = param_groups_layer_decay(trunk, **options, **rates)
    elif config.decay_norms:
        groups = [{"params": list(trunk.parameters()), "weight_decay": config.weight_decay}]
    else:
        groups = param_groups_weight_decay(trunk, **options)
    modules = fine_tuning.classifier(net)
    head = {id(p) for name, p in net.named_parameters() if fine_tuning.belongs(name, modules)}
    for group in groups:
        scale = group.get("lr_scale", 1.0)
        parts = [p for p in group["params"] if id(p) not in head], [p for p in group["params"] if id(p) in head]
        for parameters, mult in zip(parts, (1.0, config.head_lr_mult), strict=True):
            if parameters:
                yield {**group, "params": parameters, "lr_scale": scale * mult}


@dataclass
class Schedule:
    """Sets the learning rate: before each step (cosine, a pure function of the step) or after each epoch (plateau)."""

    optimizer: torch.optim.Optimizer
    cosine: CosineLRScheduler | None
    plateau: ReduceLROnPlateau | None

    def before_step(self, step: int) -> None:
        """Set the rate of step `step`, counted from 0 over the whole run."""
        if self.cosine is not None:
            self.cosine.step_update(step)

    def after_epoch(self, watched_accuracy: float | None) -> None:
        """Report the epoch's accuracy on the watched rows to the plateau schedule; None if no rows are watched."""
        if self.plateau is not None and watched_accuracy is not None:
            self.plateau.step(watched_accuracy)

    @property
    def lr(self) -> float:
        """The current rate, before `layer_decay` and `head_lr_mult` scale it."""
        group = self.optimizer.param_groups[0]
        return float(group["lr"]) / float(group.get("lr_scale", 1.0))

    def state_dict(self) -> dict[str, Any]:
        """The state of the plateau schedule; empty for the others, which have no state."""
        return {} if self.plateau is None else self.plateau.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        if self.plateau is not None:
            self.plateau.load_state_dict(state)


def make_schedule(optimizer: torch.optim.Optimizer, config: TrainConfig, steps_an_epoch: int) -> Schedule:
    """The schedule of `config`. Cosine (Loshchilov & Hutter, ICLR 2017) has a linear warm-up and ends near 0.

    The warm-up takes at most half of the steps: otherwise a short trial would end at the highest rate.
    """
    if config.schedule == "plateau":
        patience = config.plateau_patience_epochs
        return Schedule(optimizer, None, ReduceLROnPlateau(optimizer, "max", config.plateau_factor, patience))
    if config.schedule == "constant":
        return Schedule(optimizer, None, None)
    steps = config.epochs * steps_an_epoch
    warmup = min(round(config.warmup_epochs * steps_an_epoch), steps // 2)
    cosine = CosineLRScheduler(
        optimizer,
        t_initial=max(steps - warmup, 2),
        lr_min=config.lr * COSINE_TO,
        warmup_t=warmup,
        warmup_lr_init=config.lr * WARMUP_FROM,
        warmup_prefix=True,
        t_in_epochs=False,
    )
    return Schedule(optimizer, cosine, None)
