"""Results of the recipes on FER2013, for listings. tests/config/test_results.py compares them with the records."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """The result of a recipe on FER2013; the records are in tests/benchmarks/records/real_faces.

    Attributes:
        folds: number of folds trained, of five; each group of twins is in one fold.
        oof_accuracy: accuracy on the out-of-fold rows of these folds, 0 to 1.
        minutes_an_epoch: mean over these folds, on `device`.
        epochs: number of epochs trained; with early stopping the mean over these folds.
    """

    folds: int
    oof_accuracy: float
    minutes_an_epoch: float
    epochs: float
    device: str


# CPU milliseconds of a training image (forward and backward pass) on one thread, in the precision that `auto` takes
# there; tests/benchmarks/records/bench_recipe_time.json.
CPU_MS_ON = "one thread of an AMD EPYC with AVX-512 BF16"
CPU_MS: dict[str, float] = {
    "baseline_v1": 0.915,
    "baseline_v2": 0.97,
    "deep_v1": 2.21,
    "deep_v2": 1.91,
    "deep_v3": 2.01,
    "attention": 2.26,
    "residual": 3.15,
    "residual_tiny": 0.643,
    "vgg_tiny": 0.789,
    "vgg_small": 0.875,
    "vgg_medium": 2.39,
    "air_small": 1.45,
    "air": 2.09,
    "air_large": 6.74,
    "vgg": 9.05,
    "wide": 5.88,
    "convnext": 7.34,
    "timm/resnet50": 94.7,
    "timm/efficientnet_b0": 77.4,
    "timm/convnextv2_nano": 109.0,
    "timm/vit_small_patch16_224": 114.0,
    "timm/swin_tiny_patch4_window7_224": 108.0,
    "timm/vit_base_patch16_clip_224": 388.0,
    "timm/vit_large_patch14_clip_224": 1700.0,
    "timm/tf_efficientnet_lite0": 17.2,
}

# The same without bf16: fp32 on one thread of an AMD EPYC with AVX2, own recipes; bench_recipe_time_fp32.json.
CPU_FP32_MS: dict[str, float] = {
    "baseline_v1": 3.74,
    "baseline_v2": 3.22,
    "deep_v1": 9.38,
    "deep_v2": 7.92,
    "deep_v3": 8.11,
    "attention": 9.67,
    "residual": 12.4,
    "residual_tiny": 1.11,
    "vgg_tiny": 2.05,
    "vgg_small": 2.73,
    "vgg_medium": 11.3,
    "air_small": 5.24,
    "air": 8.34,
    "air_large": 32.1,
    "vgg": 46.9,
    "wide": 27.1,
    "convnext": 27.0,
}

_AMD, _INTEL = "AMD EPYC, 2 cores", "Intel Xeon, 2 cores"
RESULTS: dict[str, Result] = {
    "baseline_v1": Result(5, 0.5100, 0.59, 13.8, _AMD),
    "baseline_v2": Result(1, 0.5536, 0.61, 49, _AMD),
    "deep_v1": Result(5, 0.5604, 1.47, 10.4, _AMD),
    "deep_v2": Result(1, 0.5876, 1.67, 24, _AMD),
    "deep_v3": Result(1, 0.6287, 1.38, 30, _AMD),
    "attention": Result(5, 0.6189, 1.54, 29.6, _AMD),
    "residual": Result(1, 0.6510, 2.29, 40, _AMD),
    "residual_tiny": Result(5, 0.6191, 0.67, 20, _AMD),
    "vgg_tiny": Result(5, 0.6415, 1.15, 20, _AMD),
    "air_small": Result(1, 0.6595, 1.64, 42, _AMD),
    "air": Result(5, 0.6735, 0.64, 50, _AMD),
    "vgg_medium": Result(2, 0.6742, 0.90, 50, _AMD),
    "vgg_small": Result(5, 0.6584, 0.58, 47, _INTEL),
}


@dataclass(frozen=True)
class SoftResult:
    """The result of a recipe that was trained with out-of-fold predictions of earlier runs as soft targets.

    Attributes:
        folds: number of folds trained, of five.
        oof_accuracy: as in `Result`.
    """

    folds: int
    oof_accuracy: float


ON_SOFT_TARGETS: dict[str, SoftResult] = {
    "vgg_medium": SoftResult(5, 0.6907),
    "air": SoftResult(5, 0.6898),
    "air_large": SoftResult(5, 0.6990),
}
