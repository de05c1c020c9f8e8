"""The table of networks: one row a network, without torch, so that checks and dry runs are quick."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

TIMM_NAME = re.compile(r"timm/[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?")
# package.module:Class; a config adds @ and the first 16 digits of the sha256 of its source file
OWN_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(@[0-9a-f]{16})?", re.ASCII)
OWN_EXAMPLE = "package.module:Class"


@dataclass(frozen=True)
class Cost:
    """Number of parameters, and FLOPs of the forward pass of one image in one view.

    flops: 2 for each multiply-add of convolutions and matrix products, without norms, activations and pooling. Papers
    often call multiply-adds FLOPs, which are half of these.
    """

    parameters: int
    flops: int

    def __str__(self) -> str:
        """`1.53 M parameters, 0.284 GFLOPs an image (2 for each multiply-add)`."""
        flops = f"{self.flops / 1e9:.3f} GFLOPs an image (2 for each multiply-add)"
        return f"{self.parameters / 1e6:.2f} M parameters, {flops}"


@dataclass(frozen=True)
class Network:
    """One network for faces of 48 pixels.

    Attributes:
        path: "module:name" of the class or function that builds the network, imported when the network is built.
        costs: cost by width_mult, for the widths that recipes use.
        has_width: the class takes the keyword argument width_mult.
        has_drop_path: the class takes the keyword argument drop_path_prob.
        grows: the network takes faces smaller than 48 pixels, as `progressive_px` needs.
    """

    path: str
    costs: Mapping[float, Cost]
    has_width: bool = False
    has_drop_path: bool = False
    grows: bool = False


# tests/models/test_cost.py compares the costs with models.cost.measure.
NETWORKS: dict[str, Network] = {
    "baseline_v1": Network("fer_kit.models.networks.baseline:BaselineV1", {1.0: Cost(1_232_775, 65_029_888)}),
    "baseline_v2": Network("fer_kit.models.networks.baseline:BaselineV2", {1.0: Cost(1_397_575, 65_357_568)}),
    "deep_v1": Network("fer_kit.models.networks.deep:deep_v1", {1.0: Cost(717_991, 192_699_392)}),
    "deep_v2": Network("fer_kit.models.networks.deep:deep_v2", {1.0: Cost(559_911, 187_223_552)}),
    "attention": Network("fer_kit.models.networks.attention:Attention", {1.0: Cost(324_874, 171_340_800)}),
    "residual": Network(
        "fer_kit.models.networks.residual:Residual",
        {1.0: Cost(1_528_143, 284_491_264), 0.25: Cost(99_951, 18_036_608)},
        has_width=True,
        has_drop_path=True,
    ),
    "vgg": Network(
        "fer_kit.models.networks.vgg:Vgg",
        {
            0.2: Cost(189_919, 40_444_144),
            0.25: Cost(299_479, 59_067_136),
            0.5: Cost(1_184_167, 234_919_424),
            1.0: Cost(4_709_191, 936_979_456),
        },
        has_width=True,
        grows=True,
    ),
    "wide": Network(
        "fer_kit.models.networks.wide:Wide", {1.0: Cost(4_313_639, 701_770_624)}, has_width=True, has_drop_path=True
    ),
    "convnext": Network(
        "fer_kit.models.networks.convnext:ConvNext",
        {1.0: Cost(1_882_311, 337_438_208)},
        has_width=True,
        has_drop_path=True,
    ),
    "air": Network(
        "fer_kit.models.networks.air:Air",
        {0.75: Cost(617_847, 119_793_152), 1.0: Cost(1_093_335, 205_954_176), 2.0: Cost(4_352_423, 823_218_432)},
        has_width=True,
        grows=True,
    ),
}


def known_cost(model: str, width_mult: float) -> Cost | None:
    """The cost in the table; None for other widths, networks of timm and own networks."""
    network = NETWORKS.get(model)
    return None if network is None else network.costs.get(width_mult)
