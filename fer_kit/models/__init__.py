"""The networks: (B, 1, 48, 48) grey faces in, (B, 7) logits out."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from fer_kit import timm_alone  # noqa: F401 (before timm)
from fer_kit.config import TrainConfig
from fer_kit.config_limits import TIMM_NAME
from fer_kit.models.air import Air
from fer_kit.models.attention import Attention
from fer_kit.models.baseline import BaselineV1, BaselineV2
from fer_kit.models.convnext import ConvNext
from fer_kit.models.deep import deep_v1, deep_v2
from fer_kit.models.residual import Residual
from fer_kit.models.vgg import Vgg
from fer_kit.models.wide import Wide

NETWORKS: dict[str, Callable[[TrainConfig], nn.Module]] = {
    "baseline_v1": lambda config: BaselineV1(),
    "baseline_v2": lambda config: BaselineV2(),
    "deep_v1": lambda config: deep_v1(),
    "deep_v2": lambda config: deep_v2(),
    "attention": lambda config: Attention(),
    "residual": lambda config: Residual(width_mult=config.width_mult, drop_path_prob=config.drop_path_prob),
    "vgg": lambda config: Vgg(width_mult=config.width_mult),
    "wide": lambda config: Wide(width_mult=config.width_mult, drop_path_prob=config.drop_path_prob),
    "convnext": lambda config: ConvNext(width_mult=config.width_mult, drop_path_prob=config.drop_path_prob),
    "air": lambda config: Air(width_mult=config.width_mult),
}


def build(config: TrainConfig) -> nn.Module:
    """The network of `config`, freshly initialised; draws from torch's global generator.

    Raises:
        FerKitError: timm has no such network, or it cannot be built as asked.
    """
    if TIMM_NAME.fullmatch(config.model):
        from fer_kit.models.backbone import Backbone  # imports all networks of timm, which takes seconds

        name = config.model.removeprefix("timm/")
        return Backbone(name, image_px=config.image_px, drop_path_prob=config.drop_path_prob)
    return NETWORKS[config.model](config)
