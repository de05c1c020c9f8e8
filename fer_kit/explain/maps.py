"""Class activation maps of any network, and the attention maps of networks with CBAM."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from fer_kit.batches.augment import normalise
from fer_kit.competition import SIDE_PX
from fer_kit.engine.views import VIEWS
from fer_kit.errors import FerKitError, did_you_mean
from fer_kit.models.backbone import Backbone

SMALLEST_PX = 5  # least side of a map for the default layer; a map of 3×3 fields is too coarse
BATCH, LARGE_BATCH = 64, 8  # faces at a time; 8 for networks that enlarge the faces, whose maps are larger
STRONGEST = 8  # channels with the largest attention, whose mean activation is shown

Maps = NDArray[np.float32]  # (N, 48, 48)


@dataclass(frozen=True)
class Layer:
    """A layer whose output is a map of the face: its name in the network, height and width of the map.

    form: layout of the output, "BCHW" as in most networks, "BHWC" as in Swin, or "BNC", the patches of a transformer in
        one row behind `skip` tokens that are no patch (class token, registers).
    """

    name: str
    side: tuple[int, int]
    form: str = "BCHW"
    skip: int = 0

    def summed(self, values: Tensor) -> Tensor:
        """The layer's output, or anything of its shape, summed over channels: (B, 1, h, w)."""
        if self.form == "BCHW":
            return values.sum(1, keepdim=True)
        return values[:, self.skip :].sum(-1).reshape(len(values), 1, *self.side)


@dataclass(frozen=True)
class Attention:
    """One CBAM stage. spatial: (N, h, w) weights in (0, 1). channel: (N, C) weights in (0, 1).

    strongest: (N, h, w), mean activation of the channels that the attention raises most in each image.
    """

    name: str
    spatial: NDArray[np.float32] | None
    channel: NDArray[np.float32] | None
    strongest: NDArray[np.float32] | None


def inputs_of(images: NDArray[np.uint8]) -> Tensor:
    """uint8 faces (N, 48, 48) as network input: float32 (N, 1, 48, 48), normalised."""
    return normalise(torch.from_numpy(np.array(images))[:, None].float().div_(255.0))


def layers_with_maps(net: nn.Module) -> list[Layer]:
    """All modules whose output is a square map of at least 2×2 fields, in the order of execution."""
    found: list[Layer] = []
    skip = getattr(net.body, "num_prefix_tokens", None) if isinstance(net, Backbone) else None

    def hook(name: str) -> Callable[[nn.Module, object, object], None]:
        def look(module: nn.Module, given: object, output: object) -> None:
            if isinstance(output, Tensor) and (layer := layer_of(name, tuple(output.shape), skip)) is not None:
                found.append(layer)

        return look

    # inside an attention, square outputs are weights between places, not maps
    names = [name for name, _ in net.named_modules() if name and ".attn." not in name]
    with _hooks(net, {name: hook(name) for name in names}), torch.inference_mode():
        net.eval()(inputs_of(np.zeros((1, SIDE_PX, SIDE_PX), np.uint8)))
    return found


def layer_of(name: str, shape: tuple[int, ...], skip: int | None) -> Layer | None:
    """The layer with this output shape for one face if the output is a square map, as the face is; else None.

    skip: number of tokens of a transformer that are no patch; None for networks that are no transformer.
    """
    if len(shape) == 4 and shape[0] == 1 and shape[2] == shape[3] > 1:
        return Layer(name, (shape[2], shape[3]))
    if len(shape) == 4 and shape[0] == 1 and shape[1] == shape[2] > 1:
        return Layer(name, (shape[1], shape[2]), "BHWC")
    if len(shape) == 3 and shape[0] == 1 and skip is not None:
        side = math.isqrt(max(shape[1] - skip, 0))
        if side > 1 and side * side == shape[1] - skip:
            return Layer(name, (side, side), "BNC", skip)
    return None


def choose_layer(net: nn.Module, wanted: str | None = None) -> Layer:
    """The layer called `wanted`, else the last one whose map has at least `SMALLEST_PX` fields a side.

    After that layer the network pools or flattens. If a transformer predicts from its class token alone, it is the
    input of the last attention: after it the patches no longer influence the prediction.

    Raises:
        FerKitError: no such layer, or none that gives a map.
    """
    layers = layers_with_maps(net)
    if wanted is None:
        large = [layer for layer in layers if min(layer.side) >= SMALLEST_PX] or layers
        if not large:
            raise FerKitError(f"{type(net).__name__}: no layer gives a map of the face, so there is nothing to show")
        if large[-1].form == "BNC" and getattr(net.body, "global_pool", "") == "token":
            large = [layer for layer in large if re.search(r"blocks\.\d+\.norm1$", layer.name)] or large
        return large[-1]
    for layer in reversed(layers):
        if layer.name == wanted:
            return layer
    names = list(dict.fromkeys(layer.name for layer in layers))
    raise FerKitError(
        f"--layer {wanted}: no layer of {type(net).__name__} of that name gives a map of the face"
        f"{did_you_mean(wanted, names)}; there are: {', '.join(names)}"
    )


def class_maps(
    net: nn.Module,
    layer: Layer,
    images: NDArray[np.uint8],
    classes: NDArray[np.int64],
    views: str = "none",
    method: str = "hirescam",
    on_batch: Callable[[int], object] = lambda images: None,
) -> Maps:
    """Class activation maps: the contribution of each place in face i to the logit of class `classes[i]`.

    Negative contributions are set to 0. The maps of the test-time `views` are transformed back and averaged, like the
    predictions.

    Args:
        images: uint8 (N, 48, 48).
        classes: int64 (N,).
        views: name of the test-time views.
        method: "hirescam" or "gradcam".
        on_batch: called with the number of faces of each finished batch.

    Returns:
        float32 (N, 48, 48), in units of the logit.

    Sources: Selvaraju et al., "Grad-CAM", ICCV 2017; Draelos and Carin, "HiResCAM", arXiv 2011.08891. For a network
    with global average pooling and one dense layer both methods are equal. captum computes gradients and activations.

    Raises:
        FerKitError: "gradcam" is used for a layer whose output is not "BCHW"; captum would average over wrong axes.
    """
    from captum.attr import LayerGradCam, LayerGradientXActivation

    if method == "gradcam" and layer.form != "BCHW":
        raise FerKitError(
            f"--method gradcam: the output of layer {layer.name} has layout {layer.form}, and gradcam needs BCHW; use "
            "--method hirescam"
        )
    module = net.get_submodule(layer.name)
    maps = []
    size = LARGE_BATCH if isinstance(net, Backbone) else BATCH
    for rows in range(0, len(images), size):
        x, target = inputs_of(images[rows : rows + size]), torch.from_numpy(classes[rows : rows + size])
        total = torch.zeros(len(x), 1, SIDE_PX, SIDE_PX)
        for view in VIEWS[views]:
            seen = view.see(x)
            if method == "gradcam":
                raw = LayerGradCam(net, module).attribute(seen, target)
            else:
                raw = layer.summed(LayerGradientXActivation(net, module).attribute(seen, target))
            total += view.undo(upsampled(raw.detach().clamp_(min=0)))
        maps.append(total[:, 0] / len(VIEWS[views]))
        on_batch(len(x))
    return torch.cat(maps).numpy() if maps else np.zeros((0, SIDE_PX, SIDE_PX), np.float32)


def upsampled(maps: Tensor) -> Tensor:
    """Maps (B, 1, h, w) resized to the face, (B, 1, 48, 48)."""
    return F.interpolate(maps, (SIDE_PX, SIDE_PX), mode="bilinear", align_corners=False)


def has_attention(net: nn.Module) -> bool:
    """True if the network has CBAM."""
    return bool(_attention_modules(net))


@torch.inference_mode()
def attention(net: nn.Module, images: NDArray[np.uint8]) -> list[Attention]:
    """The attention of each CBAM stage for uint8 faces (N, 48, 48), in the order of the stages."""
    seen: dict[str, list[Tensor]] = {}

    def keep(key: str, squash: bool, given_too: bool) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def look(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
            seen.setdefault(key, []).append((given[0] if given_too else output.sigmoid() if squash else output).clone())

        return look

    hooks: dict[str, Callable[..., None]] = {}
    stages = _attention_modules(net)
    for stage, kinds in stages.items():
        for kind, name in kinds.items():
            gated = hasattr(net.get_submodule(name), "gate")  # timm's; ours ends in a bare sigmoid
            hooks[f"{name}.gate" if gated else f"{name}.conv"] = keep(f"{stage} {kind}", not gated, False)
            if kind == "channel":
                hooks[name] = keep(f"{stage} given", False, True)
    with _hooks(net, hooks):
        net.eval()
        for rows in range(0, len(images), BATCH):
            net(inputs_of(images[rows : rows + BATCH]))
    return [_attention_of(stage, {key: torch.cat(parts) for key, parts in seen.items()}) for stage in stages]


def _attention_of(stage: str, seen: dict[str, Tensor]) -> Attention:
    spatial, channel, given = (seen.get(f"{stage} {kind}") for kind in ("spatial", "channel", "given"))
    weights = None if channel is None else channel.flatten(1)  # (N, C)
    strongest = None
    if weights is not None and given is not None:
        best = weights.topk(min(STRONGEST, weights.shape[1])).indices  # (N, 8)
        strongest = given[torch.arange(len(given))[:, None], best].mean(1).numpy()
    return Attention(
        stage,
        None if spatial is None else spatial[:, 0].numpy(),
        None if weights is None else weights.numpy(),
        strongest,
    )


def _attention_modules(net: nn.Module) -> dict[str, dict[str, str]]:
    """For each stage, by the name of its parent module: the names of its "channel" and "spatial" modules."""
    kinds = {"ChannelAttn": "channel", "SpatialAttention": "spatial", "SpatialAttn": "spatial"}
    found: dict[str, dict[str, str]] = {}
    for name, module in net.named_modules():
        if (kind := kinds.get(type(module).__name__)) is not None:
            found.setdefault(name.rpartition(".")[0], {})[kind] = name
    return found


@contextlib.contextmanager
def _hooks(net: nn.Module, hooks: dict[str, Callable[..., None]]) -> Iterator[None]:
    """Forward hooks by module name, removed at the end."""
    handles = [net.get_submodule(name).register_forward_hook(hook) for name, hook in hooks.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
