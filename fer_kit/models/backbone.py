"""Networks of timm for grey faces: one input channel, faces rescaled and resized on the device."""

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
    """A network of timm: normalised grey faces float32 (B, 1, 48, 48) → logits (B, 7).

    `batches.augment` normalises the faces. This class converts them to the mean and standard deviation that the
    pretrained weights expect (averaged over the three channels, since a grey image has the same value in each), and
    resizes them to the input size of the network with its interpolation, on the device and on one channel. The first
    convolution takes one channel; timm sums its pretrained weights over the three colours. The sum is exact if mean
    and standard deviation are equal for all colours. Those of ImageNet differ, which shifts each channel by a constant
    of at most a fifth of its standard deviation.

    Args:
        name: timm's name, without `timm/`. A tag of pretrained weights, e.g. `resnet50.a1_in1k`, chooses mean,
            standard deviation and size of these weights.
        image_px: side of the image that the network takes; 0 = the default of the network.
        drop_path_prob: probability of stochastic depth in the deepest block; rises linearly from 0 with depth.

    Raises:
        FerKitError: this version of timm has no such network, or the network does not support the size or stochastic
            depth.
    """

    body: nn.Module

    def __init__(self, name: str, *, image_px: int = 0, drop_path_prob: float = 0.0) -> None:
        super().__init__()
        given = config_of(name)
        own_px = int(given["input_size"][-1])
        self.name = name
        self.fixed_size = bool(given.get("fixed_input_size"))
        self.image_px = image_px or own_px
        self.px = self.image_px  # side while training; `fer_kit.models.fine_tuning` changes it
        self.interpolation = "bilinear" if given.get("interpolation") == "bilinear" else "bicubic"
        mean, spread = (sum(given[key]) / len(given[key]) for key in ("mean", "std"))
        self.scale, self.shift = PIXEL_STD / spread, (PIXEL_MEAN - mean) / spread
        self.options: dict[str, Any] = {}  # for timm.create_model, beside channels and classes
        if drop_path_prob:
            self.options["drop_path_rate"] = drop_path_prob
        if image_px and self.fixed_size:
            self.options["img_size"] = image_px
        self.body = self.create(num_classes=NUM_CLASSES)
        for name in self.classifier:
            head = self.body.get_submodule(name)
            for p in head.parameters():
                nn.init.zeros_(p)
        if drop_path_prob and not any(getattr(module, "drop_prob", 0.0) for module in self.body.modules()):
            raise FerKitError(_no_drop_path(name, drop_path_prob))
        if self.image_px != own_px:
            self.try_size(self.image_px)

    def create(self, **options: Any) -> nn.Module:
        """Build timm's network for one input channel, with this size and drop path; `options` of `timm.create_model`.

        Raises:
            FerKitError: the network does not support the size, stochastic depth or one input channel.
        """
        try:
            return timm.create_model(self.name, in_chans=1, **self.options, **options)
        except TypeError as error:  # the class of the network has no such argument
            if "drop_path_rate" in str(error):
                raise FerKitError(_no_drop_path(self.name, self.options["drop_path_rate"])) from None
            if "img_size" in str(error):
                raise FerKitError(self._no_size(self.image_px, error)) from None
            raise FerKitError(
                f"{PREFIX}{self.name} cannot be built ({error}); choose another network of timm"
            ) from None
        except (AssertionError, ValueError) as error:  # timm's networks refuse a size by these
            if "img_size" not in self.options:
                raise
            raise FerKitError(self._no_size(self.image_px, error)) from None

    def try_size(self, px: int) -> None:
        """Run an image of `px` × `px` pixels through the network.

        Raises:
            FerKitError: the network does not take images of this size.
        """
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
            f"{PREFIX}{self.name} does not take images of {px} pixels ({first_line(error)}); its default is "
            f"image_px={own}"
        )

    @property
    def classifier(self) -> tuple[str, ...]:
        """Names of the modules inside `body` that give the logits."""
        return names_of(record_of(self.body).get("classifier"))

    @property
    def first_convolutions(self) -> tuple[str, ...]:
        """Names of the modules inside `body` that take the image."""
        return names_of(record_of(self.body).get("first_conv"))

    @property
    def stride_px(self) -> int:
        """Side of the image divided by the side of the last feature map; image sizes should be multiples of it."""
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
    """The pretrained_cfg of a network that timm built; see `config_of`."""
    record: Any = body.pretrained_cfg
    return dict(record)


def names_of(value: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """Convert a value of timm's pretrained_cfg, which is None, a name or several names, to a tuple of names."""
    return (value,) if isinstance(value, str) else tuple(value or ())


def config_of(name: str) -> dict[str, Any]:
    """timm's pretrained_cfg of network `name`: input_size, mean, std, interpolation, classifier, first_conv.

    Raises:
        FerKitError: timm has no such network, or no weights with the tag in `name`.
    """
    known = timm.list_models()
    network, _, tag = name.partition(".")
    if network not in known:
        raise FerKitError(
            f"model={PREFIX}{network}: timm {timm.__version__} has no network '{network}'"
            f"{did_you_mean(network, known)}; fer-kit recipes 'timm/*' lists the {len(known):,} networks"
        )
    tags = [full.partition(".")[2] for full in timm.list_models(f"{network}.*", pretrained=True)]
    if tag and tag not in tags:
        raise FerKitError(
            f"model={PREFIX}{name}: timm {timm.__version__} has no weights '{tag}' of {network}"
            f"{did_you_mean(tag, tags)}; available tags: {', '.join(tags) or 'none'}"
        )
    return dict(timm.get_pretrained_cfg(name).to_dict())


def _no_drop_path(name: str, prob: float) -> str:
    return f"drop_path_prob={prob}: {PREFIX}{name} does not support stochastic depth in timm; set drop_path_prob=0"
