"""The networks: (B, 1, 48, 48) grey faces in, (B, 7) logits out."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from fer_kit.errors import FerKitError, did_you_mean
from fer_kit.models.attention import Attention
from fer_kit.models.baseline import BaselineV1, BaselineV2
from fer_kit.models.deep import deep_v1, deep_v2
from fer_kit.models.residual import Residual

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "baseline_v1": BaselineV1,
    "baseline_v2": BaselineV2,
    "deep_v1": deep_v1,
    "deep_v2": deep_v2,
    "attention": Attention,
    "residual": Residual,
}


def build(name: str) -> nn.Module:
    """A freshly initialised network; draws from torch's global generator.

    Raises:
        FerKitError: there is no network of that name.
    """
    if name not in NETWORKS:
        raise FerKitError(f"no network '{name}'{did_you_mean(name, NETWORKS)}; there are: {', '.join(NETWORKS)}")
    return NETWORKS[name]()
