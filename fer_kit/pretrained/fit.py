"""Weights of a file in the form that a network wants them; what does not fit is listed by its keys."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from fer_kit.config.train_config import TrainConfig
from fer_kit.errors import FerKitError, first_line
from fer_kit.models import fine_tuning
from fer_kit.models.backbone import Backbone
from fer_kit.pretrained.read import Tensors

HEADS = ("head", "fc", "classifier", "head.fc")  # how classifiers are called where a file has other names than timm
SHOWN = 8  # keys of each kind in a message


def fitted(config: TrainConfig, net: nn.Module, tensors: Tensors, trained: Mapping[str, Any], path: Path) -> Tensors:
    """`tensors` as `net` wants them: one channel in, positions resized, other people's classifier left out.

    Raises:
        FerKitError: they are another network's, or keys are missing, unexpected or of another shape: it lists them.
    """
    model = trained.get("model")
    if model is not None and str(model).partition(".")[0] != config.model.partition(".")[0]:
        raise FerKitError(f"{path}: the weights of {model}, and this is {config.model}; choose the recipe or the file")
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


def through_timm(net: Backbone, tensors: Tensors, path: Path) -> nn.Module:
    """The network with as many classes as the file has, loaded by timm: it knows old names, sums the first
    convolution over the colours and resizes position embeddings.
    """
    heads = [f"{name}.weight" for name in (*net.classifier, *HEADS)]
    classes = next((len(tensors[name]) for name in heads if name in tensors), 0)
    source = {"state_dict": dict(tensors), "num_classes": classes, "label_offset": 0}
    own = net.body.state_dict()
    try:
        body = net.create(pretrained=True, num_classes=classes, pretrained_cfg_overlay=source)
    except Exception as error:  # timm's converters stumble over foreign names in many ways
        found = differences(tensors, own, head_of(net), net.first_convolutions) or first_line(error)
        raise FerKitError(f"{path}: not the weights of timm/{net.name}: {found}") from None
    # For a few networks timm loads what is there and says nothing of the rest. Names that are all known to the network
    # were not translated, so each of its weights must be among them.
    missing = [name for name, _ in net.body.named_parameters() if name not in tensors]
    missing = [name for name in missing if not fine_tuning.belongs(name, head_of(net))]
    if missing and set(tensors) <= set(own):
        raise FerKitError(f"{path}: not the weights of timm/{net.name}: {listed('missing', missing)}")
    return body


def differences(tensors: Tensors, own: Tensors, head: tuple[str, ...] = (), first: tuple[str, ...] = ()) -> str:
    """Which keys of a network are missing in a file, which are unexpected, which have another shape: in one line.

    The keys of `head` are expected to differ, the weights of the convolutions `first` in the number of channels.
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
    """`2 missing: a, b`; the first keys of many."""
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return f"{len(keys)} {kind}: {', '.join(keys[:SHOWN])}{more}"


def without_prefix(tensors: Tensors, own: Tensors) -> Tensors:
    """`tensors` by the names of `own` where all of them stand behind one more, e.g. `model.` or our `body.`"""
    while True:
        first = {name.partition(".")[0] for name in tensors}
        if len(first) != 1 or any(name.partition(".")[0] in first for name in own):
            return tensors
        prefix = f"{first.pop()}."
        if not all(name.startswith(prefix) for name in tensors):
            return tensors
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}


def head_of(net: Backbone) -> tuple[str, ...]:
    """The parts of timm's network that end in its classifier: `head` of `head.fc`."""
    return tuple(name.partition(".")[0] for name in (*net.classifier, *HEADS))


def without_classifier(net: Backbone, body: nn.Module) -> Tensors:
    """The tensors of timm's network by their names in ours, but for the classifier's."""
    state = {f"body.{name}": value for name, value in body.state_dict().items()}
    return {name: value for name, value in state.items() if not fine_tuning.belongs(name, fine_tuning.classifier(net))}
