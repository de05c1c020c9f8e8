"""What fine-tuning asks of an epoch: which part of the network learns, and how large it sees the faces."""

from __future__ import annotations

from torch import nn

from fer_kit.config import TrainConfig
from fer_kit.config_limits import GROWING_MODELS, OWN_STRIDE_PX
from fer_kit.errors import FerKitError
from fer_kit.labels import SIDE_PX
from fer_kit.models.backbone import Backbone


def classifier(net: nn.Module) -> tuple[str, ...]:
    """Names of the modules that give the logits: timm's, or the last one of ours that has weights."""
    if isinstance(net, Backbone):
        return tuple(f"body.{name}" for name in net.classifier)
    last = [name for name, module in net.named_modules() if next(module.parameters(recurse=False), None) is not None]
    return (last[-1],)


def belongs(name: str, modules: tuple[str, ...]) -> bool:
    """Whether the parameter or module `name` is one of `modules` or inside of one."""
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def check(config: TrainConfig, net: nn.Module) -> None:
    """Raise FerKitError where `config` asks for what fine-tuning of `net` cannot give."""
    if (config.freeze_epochs or config.head_lr_mult != 1.0) and not classifier(net):
        raise FerKitError(f"{config.model}: timm does not say which part is the classifier; set freeze_epochs=0 and "
                          "head_lr_mult=1")  # fmt: skip
    if config.layer_decay != 1.0 and not isinstance(net, Backbone):
        raise FerKitError(
            f"layer_decay={config.layer_decay}: only networks of timm know the order of their layers, {config.model} "
            "is none; set layer_decay=1"
        )
    if config.progressive_px:
        check_progressive(config, net)


def check_progressive(config: TrainConfig, net: nn.Module) -> None:
    """Raise FerKitError unless `net` takes images of every size from `progressive_px` on."""
    if config.model in GROWING_MODELS:
        if not OWN_STRIDE_PX <= config.progressive_px < SIDE_PX:
            raise FerKitError(
                f"progressive_px={config.progressive_px} grows to the {SIDE_PX} px of {config.model}; give "
                f"{OWN_STRIDE_PX} to {SIDE_PX - 1}"
            )
        return
    if not isinstance(net, Backbone) or net.fixed_size:
        raise FerKitError(
            f"progressive_px={config.progressive_px}: {config.model} takes images of one size; set progressive_px=0"
        )
    if not net.image_px > config.progressive_px:
        raise FerKitError(
            f"progressive_px={config.progressive_px} grows to the {net.image_px} px of {config.model}; give fewer, or "
            "a larger image_px"
        )
    for px in sorted({px_of_epoch(net, epoch, config) for epoch in range(config.epochs)}):
        net.try_size(px)


def begin_epoch(net: nn.Module, epoch: int, config: TrainConfig) -> None:
    """Freeze or thaw, and set the image size, for `epoch` (from 0); after `net.train()`, before its first step.

    A pure function of the epoch, so that a resumed run goes on as it would have.
    """
    if config.freeze_epochs:
        freeze(net, epoch < config.freeze_epochs)
    if config.progressive_px and isinstance(net, Backbone):
        net.px = px_of_epoch(net, epoch, config)


def freeze(net: nn.Module, frozen: bool) -> None:
    """All but the classifier: without gradients and, batch-norm statistics and dropout too, as in prediction.

    A network that begins with a trained classifier distorts its features less (Kumar et al., "Fine-Tuning can Distort
    Pretrained Features and Underperform Out-of-Distribution", ICLR 2022).
    """
    learning = classifier(net)
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(not frozen or belongs(name, learning))
    for name, module in net.named_modules():
        if name:  # the network itself stays in training: it decides on the size
            module.training = not frozen or belongs(name, learning)


def px_of_epoch(net: Backbone, epoch: int, config: TrainConfig) -> int:
    """`side_of_epoch` for a network of timm."""
    return side_of_epoch(epoch, config, net.image_px, net.stride_px)


def side_of_epoch(epoch: int, config: TrainConfig, full_px: int, stride_px: int) -> int:
    """The side in `epoch` (from 0): even steps from `progressive_px` to the full size, in multiples of the stride.

    The first size is rounded too, the last is not. Source: Tan and Le, "EfficientNetV2", ICML 2021; there the
    regularisation grows with the size, here it stays.
    """
    if epoch >= config.epochs - 1:
        return full_px
    share = epoch / (config.epochs - 1)
    px = config.progressive_px + share * (full_px - config.progressive_px)
    return min(max(round(px / stride_px), 1) * stride_px, full_px)
