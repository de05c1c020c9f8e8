"""Networks that map grey faces (B, 1, 48, 48) to logits (B, 7); `fer_kit.config.networks` lists them."""

from __future__ import annotations

import importlib

from torch import nn

from fer_kit.config.networks import NETWORKS, OWN_NAME, TIMM_NAME
from fer_kit.config.train_config import TrainConfig
from fer_kit.models import timm_alone  # noqa: F401 (before timm)
from fer_kit.models.own import build_own


def build(config: TrainConfig) -> nn.Module:
    """Build the network of `config` with random weights, drawn from torch's global generator.

    Raises:
        FerKitError: timm has no such network, a network of your own cannot be imported or does not give logits for
            faces, or the network cannot be built with these settings.
    """
    if TIMM_NAME.fullmatch(config.model):
        from fer_kit.models.backbone import Backbone  # imports all networks of timm, which takes seconds

        name = config.model.removeprefix("timm/")
        return Backbone(name, image_px=config.image_px, drop_path_prob=config.drop_path_prob)
    if OWN_NAME.fullmatch(config.model):
        return build_own(config)
    row = NETWORKS[config.model]
    module, _, attribute = row.path.partition(":")
    options = {"width_mult": config.width_mult} if row.has_width else {}
    if row.has_drop_path:
        options["drop_path_prob"] = config.drop_path_prob
    net: nn.Module = getattr(importlib.import_module(module), attribute)(**options)
    return net
