"""Images that grow during a training: their side in each epoch, and the work of an epoch. Without torch."""

from __future__ import annotations

from fer_kit.competition import SIDE_PX
from fer_kit.config.networks import NETWORKS
from fer_kit.config.train_config import TrainConfig
from fer_kit.errors import FerKitError

STRIDE_PX = 8  # sides of growing faces are multiples of 8, because three poolings halve them


def grows(config: TrainConfig) -> bool:
    """True if the network is one of fer_kit that takes faces of fewer than 48 pixels."""
    return config.model in NETWORKS and NETWORKS[config.model].grows


def check(config: TrainConfig) -> None:
    """Check `progressive_px` of a network for which `grows` is true.

    Raises:
        FerKitError: `progressive_px` is out of range.
    """
    if config.progressive_px and not STRIDE_PX <= config.progressive_px < SIDE_PX:
        raise FerKitError(
            f"progressive_px={config.progressive_px}: the faces grow to the {SIDE_PX} px of {config.model}; give "
            f"{STRIDE_PX} to {SIDE_PX - 1}"
        )


def side_of_epoch(epoch: int, config: TrainConfig, full_px: int, stride_px: int = STRIDE_PX) -> int:
    """Side of the image in pixels in `epoch` (from 0).

    The side grows linearly from `progressive_px` to the full size, rounded to multiples of the stride; the full size
    itself is not rounded. Source: Tan and Le, "EfficientNetV2", ICML 2021. In the paper the regularisation grows with
    the size; here the regularisation is constant.
    """
    if epoch >= config.epochs - 1:
        return full_px
    share = epoch / (config.epochs - 1)
    px = config.progressive_px + share * (full_px - config.progressive_px)
    return min(max(round(px / stride_px), 1) * stride_px, full_px)


def work_of_epochs(config: TrainConfig) -> list[float]:
    """The work of each epoch, as a part of an epoch at full size: the number of pixels decides."""
    if not config.progressive_px:
        return [1.0] * config.epochs
    full_px = config.image_px or SIDE_PX
    return [(side_of_epoch(epoch, config, full_px) / full_px) ** 2 for epoch in range(config.epochs)]
