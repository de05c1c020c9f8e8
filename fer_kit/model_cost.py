"""What each network costs, counted once, so that a dry run can say it without loading torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Parameters, and the work of one forward pass of one image as one view.

    flops: 2 for each multiply-add of the convolutions and matrix products; norms, activations and pooling are left out.
    Where papers give "FLOPs" they often mean multiply-adds, which are half of these.
    """

    parameters: int
    flops: int

    def __str__(self) -> str:
        """`1.53 M parameters, 0.284 GFLOPs an image (2 for each multiply-add)`."""
        flops = f"{self.flops / 1e9:.3f} GFLOPs an image (2 for each multiply-add)"
        return f"{self.parameters / 1e6:.2f} M parameters, {flops}"


# Kept true by tests/test_model_cost.py, which counts them again with models.cost.measure.
COSTS: dict[tuple[str, float], Cost] = {  # by model and width_mult
    ("baseline_v1", 1.0): Cost(parameters=1_232_775, flops=65_029_888),
    ("baseline_v2", 1.0): Cost(parameters=1_397_575, flops=65_357_568),
    ("deep_v1", 1.0): Cost(parameters=717_991, flops=192_699_392),
    ("deep_v2", 1.0): Cost(parameters=559_911, flops=187_223_552),
    ("attention", 1.0): Cost(parameters=324_874, flops=171_340_800),
    ("residual", 1.0): Cost(parameters=1_528_143, flops=284_491_264),
    ("residual", 0.25): Cost(parameters=99_951, flops=18_036_608),
    ("vgg", 0.2): Cost(parameters=189_919, flops=40_444_144),
    ("vgg", 0.25): Cost(parameters=299_479, flops=59_067_136),
    ("vgg", 1.0): Cost(parameters=4_709_191, flops=936_979_456),
    ("wide", 1.0): Cost(parameters=4_313_639, flops=701_770_624),
    ("convnext", 1.0): Cost(parameters=1_882_311, flops=337_438_208),
    ("air", 1.0): Cost(parameters=1_093_335, flops=205_954_176),
    ("air", 0.75): Cost(parameters=617_847, flops=119_793_152),
}
