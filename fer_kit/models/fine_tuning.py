"""Fine-tuning by epochs: which part of the network is trained, and the size of the faces it gets."""

from __future__ import annotations

from torch import nn

from fer_kit.config import growth
from fer_kit.config.train_config import TrainConfig
from fer_kit.errors import FerKitError
from fer_kit.models.backbone import Backbone


def classifier(net: nn.Module) -> tuple[str, ...]:
    """Names of the modules that give the logits: timm's classifier, else the last module that has weights."""
    if isinstance(net, Backbone):
        return tuple(f"body.{name}" for name in net.classifier)
    last = [name for name, module in net.named_modules() if next(module.parameters(recurse=False), None) is not None]
    return (last[-1],)


def belongs(name: str, modules: tuple[str, ...]) -> bool:
    """True if the parameter or module `name` is one of `modules`, or inside one of them."""
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def check(config: TrainConfig, net: nn.Module) -> None:
    """Check that `net` supports the fine-tuning settings of `config`.

    Raises:
        FerKitError: freeze_epochs, head_lr_mult, layer_decay or progressive_px cannot be used with `net`.
    """
    if (config.freeze_epochs or config.head_lr_mult != 1.0) and not classifier(net):
        raise FerKitError(
            f"freeze_epochs={config.freeze_epochs} head_lr_mult={config.head_lr_mult}: timm does not name the "
            f"classifier of {config.model}; set freeze_epochs=0 and head_lr_mult=1"
        )
    if config.layer_decay != 1.0 and not isinstance(net, Backbone):
        raise FerKitError(
            f"layer_decay={config.layer_decay}: {config.model} is not a network of timm, and only these have an order "
            "of layers; set layer_decay=1"
        )
    if config.progressive_px:
        check_progressive(config, net)


def check_progressive(config: TrainConfig, net: nn.Module) -> None:
    """Check that `net` takes images of every size from `progressive_px` on.

    Raises:
        FerKitError: the network takes images of one size only, or `progressive_px` is out of range.
    """
    if growth.grows(config):
        growth.check(config)
        return
    if not isinstance(net, Backbone) or net.fixed_size:
        raise FerKitError(
            f"progressive_px={config.progressive_px}: {config.model} takes images of one size; set progressive_px=0"
        )
    if not net.image_px > config.progressive_px:
        raise FerKitError(
            f"progressive_px={config.progressive_px}: must be smaller than the {net.image_px} px of {config.model}; "
            "give fewer pixels, or a larger image_px"
        )
    for px in sorted({px_of_epoch(net, epoch, config) for epoch in range(config.epochs)}):
        net.try_size(px)


def begin_epoch(net: nn.Module, epoch: int, config: TrainConfig) -> None:
    """Freeze or unfreeze layers and set the image size for `epoch` (from 0).

    Call this function after `net.train()`, before the first step of the epoch. The result depends on the epoch alone,
    so a resumed run continues as if it had not been stopped.
    """
    if config.freeze_epochs:
        freeze(net, epoch < config.freeze_epochs)
    if config.progressive_px and isinstance(net, Backbone):
        net.px = px_of_epoch(net, epoch, config)


def freeze(net: nn.Module, frozen: bool) -> None:
    """Freeze (or unfreeze) all modules but the classifier.

    Frozen modules get no gradients, and their batch norm and dropout work as in prediction. If the classifier is
    trained first, fine-tuning distorts the features less (Kumar et al., "Fine-Tuning can Distort Pretrained Features
    and Underperform Out-of-Distribution", ICLR 2022).
    """
    learning = classifier(net)
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(not frozen or belongs(name, learning))
    for name, module in net.named_modules():
        if name:  # the network itself stays in training mode, since `Backbone.forward` chooses the size by this mode
            module.training = not frozen or belongs(name, learning)


def px_of_epoch(net: Backbone, epoch: int, config: TrainConfig) -> int:
    """`growth.side_of_epoch` for a network of timm."""
    return growth.side_of_epoch(epoch, config, net.image_px, net.stride_px)
