"""Convert the tensors of a weights file for a network; keys that do not fit are listed in the error."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from fer_kit.config.networks import TIMM_NAME
from fer_kit.config.train_config import TrainConfig
from fer_kit.errors import FerKitError, first_line
from fer_kit.models import fine_tuning
from fer_kit.models.backbone import Backbone
from fer_kit.pretrained.read import Tensors

HEADS = ("head", "fc", "classifier", "head.fc")  # names of the classifier in files that do not use timm's names
SHOWN = 8  # keys of each kind in a message


def fitted(config: TrainConfig, net: nn.Module, tensors: Tensors, trained: Mapping[str, Any], path: Path) -> Tensors:
    """Convert `tensors` to the names and shapes of `net`: one input channel, resized position embeddings.

    The classifier is left out unless fer_kit trained the weights.

    Args:
        trained: what a run of fer_kit stored beside its tensors; empty for files of other programs.
        path: the file, for error messages.

    Raises:
        FerKitError: the tensors belong to another network, or keys are missing, unexpected or of another shape. The
            message lists the keys.
    """
    model = trained.get("model")
    if model is not None and network_of(str(model)) != network_of(config.model):
        raise FerKitError(
            f"{path}: the file has weights of {model}, but the network is {config.model}; choose a file of the same "
            "network, or the recipe of that network"
        )
    inner = net.body if isinstance(net, Backbone) else net
    own = inner.state_dict()
    tensors = without_prefix(tensors, own)
    if {name: value.shape for name, value in tensors.items()} == {name: value.shape for name, value in own.items()}:
        inner.load_state_dict(tensors)
    elif isinstance(net, Backbone):
        inner = through_timm(net, tensors, path)
    else:
        raise FerKitError(f"{path}: not the weights of {config.model}: {differences(tensors, own)}")
    if isinstance(net, Backbone) and not trained:
        return without_classifier(net, inner)
    prefix = "body." if isinstance(net, Backbone) else ""
    return {prefix + name: value for name, value in inner.state_dict().items()}


def network_of(model: str) -> str:
    """`model` without the parts that may differ between weights of one network.

    These parts are timm's tag of pretrained weights, and the digest of the source file of a network of your own.
    """
    return model.partition(".")[0] if TIMM_NAME.fullmatch(model) else model.partition("@")[0]


def through_timm(net: Backbone, tensors: Tensors, path: Path) -> nn.Module:
    """Let timm load the tensors into a network with as many classes as the file has.

    timm translates old names, sums the first convolution over the colours and resizes position embeddings.

    Raises:
        FerKitError: the tensors do not fit the network.
    """
    heads = [f"{name}.weight" for name in (*net.classifier, *HEADS)]
    classes = next((len(tensors[name]) for name in heads if name in tensors), 0)
    source = {"state_dict": dict(tensors), "num_classes": classes, "label_offset": 0}
    own = net.body.state_dict()
    try:
        body = net.create(pretrained=True, num_classes=classes, pretrained_cfg_overlay=source)
    except Exception as error:  # timm's converters raise many kinds of errors for unknown names
        found = differences(tensors, own, head_of(net), net.first_convolutions) or first_line(error)
        raise FerKitError(f"{path}: not the weights of timm/{net.name}: {found}") from None
    # For a few networks timm loads the keys that fit and ignores missing ones. If the network knows every name of the
    # file, timm translated no names, so the file must have every weight of the network.
    missing = [name for name, _ in net.body.named_parameters() if name not in tensors]
    missing = [name for name in missing if not fine_tuning.belongs(name, head_of(net))]
    if missing and set(tensors) <= set(own):
        raise FerKitError(f"{path}: not the weights of timm/{net.name}: {listed('missing', missing)}")
    return body


def differences(tensors: Tensors, own: Tensors, head: tuple[str, ...] = (), first: tuple[str, ...] = ()) -> str:
    """List in one line the missing keys, the unexpected keys and the keys of another shape.

    Args:
        tensors: tensors of the file.
        own: tensors of the network.
        head: modules whose keys may differ.
        first: convolutions whose weights may have another number of input channels.
    """
    names = {name for name in {*tensors, *own} if not fine_tuning.belongs(name, head)}
    other = []
    for name in sorted(names & set(tensors) & set(own)):
        theirs, ours = tuple(tensors[name].shape), tuple(own[name].shape)
        if theirs != ours and not (fine_tuning.belongs(name, first) and theirs[:1] + theirs[2:] == ours[:1] + ours[2:]):
            other.append(f"{name} {theirs} instead of {ours}")
    missing = [name for name in own if name in names and name not in tensors]
    unexpected = [name for name in tensors if name in names and name not in own]
    kinds = (("missing", missing), ("unexpected", unexpected), ("of another shape", other))
    return "; ".join(listed(kind, keys) for kind, keys in kinds if keys)


def listed(kind: str, keys: list[str]) -> str:
    """`2 missing: a, b`, with at most `SHOWN` keys."""
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return f"{len(keys)} {kind}: {', '.join(keys[:SHOWN])}{more}"


def without_prefix(tensors: Tensors, own: Tensors) -> Tensors:
    """Remove a prefix that all names of `tensors` have and no name of `own` has, e.g. `model.` or `body.`"""
    while True:
        first = {name.partition(".")[0] for name in tensors}
        if len(first) != 1 or any(name.partition(".")[0] in first for name in own):
            return tensors
        prefix = f"{first.pop()}."
        if not all(name.startswith(prefix) for name in tensors):
            return tensors
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}


def head_of(net: Backbone) -> tuple[str, ...]:
    """The modules of timm's network that contain its classifier: `head` for `head.fc`."""
    return tuple(name.partition(".")[0] for name in (*net.classifier, *HEADS))


def without_classifier(net: Backbone, body: nn.Module) -> Tensors:
    """The tensors of timm's network `body` by their names in `net`, without those of the classifier."""
    state = {f"body.{name}": value for name, value in body.state_dict().items()}
    return {name: value for name, value in state.items() if not fine_tuning.belongs(name, fine_tuning.classifier(net))}
