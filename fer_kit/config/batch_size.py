"""The images of an optimizer step: split into smaller batches to save memory, or changed together with the rates."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection
from typing import Any

from fer_kit.config.settings import TABLE
from fer_kit.config.train_config import TrainConfig
from fer_kit.errors import FerKitError

LOWEST, HIGHEST = TABLE["batch_size"].limits or (1, 1)


def split(config: TrainConfig, parts: int | None) -> TrainConfig:
    """`config` with the images of each step split into `parts` batches; unchanged for None.

    Raises:
        FerKitError: the images of a step cannot be split into `parts` equal batches of two or more.
    """
    if parts is None:
        return config
    images = config.batch_size * config.accumulate
    if not 1 <= parts <= images // 2 or images % parts:
        some = [str(count) for count in range(1, images // 2 + 1) if images % count == 0][:6]
        raise FerKitError(
            f"--accumulate {parts}: the {images} images of a step cannot be split into {parts} equal parts "
            f"of two or more; give one of {', '.join(some)}, or --set batch_size=… accumulate=…"
        )
    return dataclasses.replace(config, batch_size=images // parts, accumulate=parts)


def scale(config: TrainConfig, images: int | None, changed: Collection[str] = ()) -> TrainConfig:
    """`config` with `images` per step, and with learning rate, weight decay and weight average scaled to match.

    With k times as many images in a step, an epoch has a k-th of the steps. Per step,

    - the learning rate of `sgd` is k times as high (Goyal et al., "Accurate, Large Minibatch SGD", 2017), that of
      `adam`, `adamw` and `nmuon` √k times (Malladi et al., "On the SDEs and Scaling Rules for Adaptive Gradient
      Algorithms", NeurIPS 2022);
    - the decoupled weight decay of `adamw` and `nmuon` is √k times as high, so that rate × decay grows with k (Wang and
      Aitchison, "How to Set AdamW's Weight Decay as You Scale Model and Dataset Size", ICML 2025);
    - the weight average keeps average_decay to the power of k (Busbridge et al., "How to Scale Your EMA", NeurIPS
      2023).

    Args:
        images: images per step; None leaves `config` unchanged.
        changed: settings that the user has chosen; they are kept.

    Raises:
        FerKitError: `images` is out of range, or the user changes `batch_size` or `accumulate` too.
    """
    if images is None:
        return config
    both = sorted({"batch_size", "accumulate"} & set(changed))
    if both:
        raise FerKitError(f"--batch-size {images} with --set {both[0]}=…: both give the images of a step; drop one")
    if not LOWEST <= images <= HIGHEST:
        raise FerKitError(f"--batch-size {images}: give {LOWEST:g} to {HIGHEST:g} images per step")
    factor = images / (config.batch_size * config.accumulate)
    rate_factor = factor if config.optimizer == "sgd" else math.sqrt(factor)
    values = {"lr": config.lr * rate_factor}
    if config.optimizer in ("adamw", "nmuon"):
        values["weight_decay"] = config.weight_decay * math.sqrt(factor)
    if config.average_decay:
        values["average_decay"] = config.average_decay**factor
    kept: dict[str, Any] = {name: rounded(value) for name, value in values.items() if name not in changed}
    return dataclasses.replace(config, batch_size=images, accumulate=1, **kept)


def rounded(value: float) -> float:
    """`value` with six significant digits, so that configs show short numbers."""
    return float(f"{value:.6g}")
