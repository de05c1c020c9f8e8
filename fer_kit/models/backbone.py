"""Any network of timm, fed with the pipeline's grey faces: rescaled and enlarged on the device, one channel in."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fer_kit.competition import NUM_CLASSES, PIXEL_MEAN, PIXEL_STD, SIDE_PX
from fer_kit.errors import FerKitError, did_you_mean, first_line

PREFIX = "timm/"


class Backbone(nn.Module):
    """A timm network as one of ours: normalised grey faces (B, 1, 48, 48) → logits (B, 7).

    The faces come normalised by `batches.augment`. They are brought to the mean and spread that the network
    was trained with (of its three channels the mean, since a grey image has the same value in each) and enlarged to
    its own size by its own interpolation, on the device and on one channel. The first convolution takes that one
    channel; pretrained weights are summed over the three (timm's own conversion). That is the same sum where mean and
    spread are the same for all three; ImageNet's differ, by which each channel is off by a constant of at most a fifth
    of its spread.

    Args:
        name: of timm, without `timm/`; with a tag of pretrained weights, e.g. `resnet50.a1_in1k`, mean, spread and
            size are those of these weights.
        image_px: side that the network sees; 0 = its own.
        drop_path_prob: stochastic depth, of the deepest block; rises from 0 with depth.

    Raises:
        FerKitError: no such network in this timm, or it takes no such size or no stochastic depth.
    """

    body: nn.Module

    def __init__(self, name: str, *, image_px: int = 0, drop_path_prob: float = 0.0) -> None:
        super().__init__()
        given = config_of(name)
        own_px = int(given["input_size"][-1])
        self.name = name
        self.fixed_size = bool(given.get("fixed_input_size"))
        self.image_px = image_px or own_px
        self.px = self.image_px  # while training; `fer_kit.models.fine_tuning` lets it grow
        self.interpolation = "bilinear" if given.get("interpolation") == "bilinear" else "bicubic"
        mean, spread = (sum(given[key]) / len(given[key]) for key in ("mean", "std"))
        self.scale, self.shift = PIXEL_STD / spread, (PIXEL_MEAN - mean) / spread
        self.options: dict[str, Any] = {}  # for timm.create_model, beside channels and classes
        if drop_path_prob:
            self.options["drop_path_rate"] = drop_path_prob
        if image_px and self.fixed_size:
            self.options["img_size"] = image_px
        self.body = self.create(num_classes=NUM_CLASSES)
        if drop_path_prob and not any(getattr(module, "drop_prob", 0.0) for module in self.body.modules()):
            raise FerKitError(_no_drop_path(name, drop_path_prob))
        if self.image_px != own_px:
            self.try_size(self.image_px)

    def create(self, **options: Any) -> nn.Module:
        """The timm network of this size and depth, with one channel in; `options` as of `timm.create_model`.

        Raises:
            FerKitError: the network takes no such size, no stochastic depth, or cannot be built with one channel.
        """
        try:
            return timm.create_model(self.name, in_chans=1, **self.options, **options)
        except TypeError as error:  # an argument that the network's class does not have
            if "drop_path_rate" in str(error):
                raise FerKitError(_no_drop_path(self.name, self.options["drop_path_rate"])) from None
            if "img_size" in str(error):
                raise FerKitError(self._no_size(self.image_px, error)) from None
            raise FerKitError(f"{PREFIX}{self.name}: not built ({error}); choose another network of timm") from None
        except (AssertionError, ValueError) as error:  # how timm's networks refuse a size
            if "img_size" not in self.options:
                raise
            raise FerKitError(self._no_size(self.image_px, error)) from None

    def try_size(self, px: int) -> None:
        """Raise FerKitError unless an image of `px` pixels a side passes through."""
        training = self.body.training
        try:
            with torch.no_grad():
                self.body.eval()(torch.zeros(1, 1, px, px))
        except (RuntimeError, AssertionError, ValueError, IndexError) as error:
            raise FerKitError(self._no_size(px, error)) from None
        finally:
            self.body.train(training)

    def _no_size(self, px: int, error: Exception) -> str:
        own = config_of(self.name)["input_size"][-1]
        return (
            f"{PREFIX}{self.name} takes no images of {px} pixels ({first_line(error)}); its own size is image_px={own}"
        )

    @property
    def classifier(self) -> tuple[str, ...]:
        """Names of the modules that give the logits, as timm names them inside of `body`."""
        return names_of(record_of(self.body).get("classifier"))

    @property
    def first_convolutions(self) -> tuple[str, ...]:
        """Names of the modules of `body` that see the image first."""
        return names_of(record_of(self.body).get("first_conv"))

    @property
    def stride_px(self) -> int:
        """Pixels of the image to one of the last map: sizes are best a multiple of it."""
        info = getattr(self.body, "feature_info", None) or [{}]
        return max(int(stage.get("reduction", 32)) for stage in info)

    def forward(self, x: Tensor) -> Tensor:
        px = self.px if self.training else self.image_px
        x = x * self.scale + self.shift  # (B, 1, 48, 48)
        if px != SIDE_PX:
            antialias = px < SIDE_PX
            x = F.interpolate(x, (px, px), mode=self.interpolation, align_corners=False, antialias=antialias)
        return self.body(x)  # (B, 7)


def record_of(body: nn.Module) -> dict[str, Any]:
    """What timm keeps with a network that it built: see `config_of`."""
    record: Any = body.pretrained_cfg
    return dict(record)


def names_of(value: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """Names in a pretrained_cfg of timm, which are none, one, or several."""
    return (value,) if isinstance(value, str) else tuple(value or ())


def config_of(name: str) -> dict[str, Any]:
    """timm's record of network `name` and its weights: input_size, mean, std, interpolation, classifier, first_conv.

    Raises:
        FerKitError: timm has no such network, or no such weights of it.
    """
    known = timm.list_models()
    network, _, tag = name.partition(".")
    if network not in known:
        raise FerKitError(
            f"no network '{network}' in timm {timm.__version__}{did_you_mean(network, known)}; it has {len(known):,}, "
            "listed by timm.list_models()"
        )
    tags = [full.partition(".")[2] for full in timm.list_models(f"{network}.*", pretrained=True)]
    if tag and tag not in tags:
        raise FerKitError(
            f"timm {timm.__version__} knows no weights '{tag}' of {network}{did_you_mean(tag, tags)}; there are: "
            f"{', '.join(tags) or 'none'}"
        )
    return dict(timm.get_pretrained_cfg(name).to_dict())


def _no_drop_path(name: str, prob: float) -> str:
    return f"drop_path_prob={prob}: {PREFIX}{name} has no residual branches that timm can drop; set drop_path_prob=0"
