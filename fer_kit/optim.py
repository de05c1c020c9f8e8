"""Optimizer and learning-rate schedule of a config, both timm's and torch's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from timm.optim import create_optimizer_v2, param_groups_layer_decay, param_groups_weight_decay
from timm.scheduler import CosineLRScheduler
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from fer_kit import transfer
from fer_kit.config import TrainConfig
from fer_kit.models.backbone import Backbone

WARMUP_FROM, COSINE_TO = 0.01, 0.001  # shares of the full rate where the warm-up starts and the cosine ends


def make_optimizer(net: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Adam, AdamW or SGD with Nesterov's correction, in the fused form; or Muon with Nesterov's, which has none.

    Muon makes the update of each weight matrix and convolution (out × in·3·3) orthogonal. Biases, norms and depthwise
    convolutions go by NAdamW at the same rate, as timm decides by shape. The weight decay of both is decoupled from the
    gradient, as in AdamW.
    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", kellerjordan.github.io/posts/muon,
    with the scale of Liu et al., "Muon is Scalable for LLM Training", arXiv 2502.16982.
    """
    kind, extra = config.optimizer, dict[str, Any]()
    if kind == "sgd":
        extra["momentum"] = config.momentum
        kind = "sgd" if config.momentum else "momentum"  # timm's name without Nesterov's, which needs some momentum
    if kind != "nmuon":
        extra["fused"] = True
    # A frozen part stays out of the classifier's groups: torch's fused SGD takes no group in which some have momentum.
    if config.head_lr_mult != 1.0 or config.layer_decay != 1.0 or config.freeze_epochs:
        extra["param_group_fn"] = lambda trunk: list(scaled_groups(net, trunk, config))
    optimizer: torch.optim.Optimizer = create_optimizer_v2(
        net.body if isinstance(net, Backbone) else net,  # timm's own knows which of its weights must not decay
        opt=kind,
        lr=config.lr,
        weight_decay=config.weight_decay,
        filter_bias_and_bn=not config.decay_norms,
        **extra,
    )
    if config.optimizer == "sgd" and config.momentum:
        # Fused SGD makes its buffers without filling them, and a first step that the scaler skips never does.
        for group in optimizer.param_groups:
            for weight in group["params"]:
                optimizer.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
    if config.schedule != "cosine":  # timm's cosine multiplies by lr_scale itself, at every step
        for group in optimizer.param_groups:
            group["lr"] *= group.get("lr_scale", 1.0)
    return optimizer


def scaled_groups(net: nn.Module, trunk: nn.Module, config: TrainConfig) -> Iterator[dict[str, Any]]:
    """Parameter groups with `lr_scale`: each layer's rate is `layer_decay` of that of the next, the classifier's is
    `head_lr_mult` times the last layer's. trunk: what of `net` holds its parameters.

    Layers are timm's. Source of the decay: Bao et al., "BEiT", ICLR 2022.
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
    modules = transfer.classifier(net)
    head = {id(p) for name, p in net.named_parameters() if transfer.belongs(name, modules)}
    for group in groups:
        scale = group.get("lr_scale", 1.0)
        parts = [p for p in group["params"] if id(p) not in head], [p for p in group["params"] if id(p) in head]
        for parameters, mult in zip(parts, (1.0, config.head_lr_mult), strict=True):
            if parameters:
                yield {**group, "params": parameters, "lr_scale": scale * mult}


@dataclass
class Schedule:
    """Sets the rate before each step (cosine: a pure function of the step) or after each epoch (plateau)."""

    optimizer: torch.optim.Optimizer
    cosine: CosineLRScheduler | None
    plateau: ReduceLROnPlateau | None

    def before_step(self, step: int) -> None:
        """step: from 0, over the whole run."""
        if self.cosine is not None:
            self.cosine.step_update(step)

    def after_epoch(self, watched_accuracy: float | None) -> None:
        """watched_accuracy: of this epoch; None where nothing is watched."""
        if self.plateau is not None and watched_accuracy is not None:
            self.plateau.step(watched_accuracy)

    @property
    def lr(self) -> float:
        """The rate in force, before layers and classifier scale it."""
        group = self.optimizer.param_groups[0]
        return float(group["lr"]) / float(group.get("lr_scale", 1.0))

    def state_dict(self) -> dict[str, Any]:
        """What the plateau remembers; cosine remembers nothing."""
        return {} if self.plateau is None else self.plateau.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The counterpart of `state_dict`."""
        if self.plateau is not None:
            self.plateau.load_state_dict(state)


def make_schedule(optimizer: torch.optim.Optimizer, config: TrainConfig, steps_an_epoch: int) -> Schedule:
    """The schedule of `config`; cosine (Loshchilov & Hutter, ICLR 2017) warms up linearly and ends near 0.

    The warm-up takes half of the steps at most: else a short trial would end at its highest rate.
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
