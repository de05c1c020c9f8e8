"""Convert the tensors of a weights file for a network; keys that do not fit are listed in the error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fer_kit.config.networks import TIMM_NAME
from fer_kit.config.train_config import TrainConfig
from fer_kit.errors import FerKitError, first_line
from fer_kit.models import fine_tuning
from fer_kit.models.backbone import Backbone
from fer_kit.pretrained.names import InDoubtError, Match, Target, by_name, by_order, only_sorted, without_prefix
from fer_kit.pretrained.read import Tensors, WeightsFile

HEADS = ("head", "fc", "classifier", "head.fc")  # names of the classifier in files that do not use timm's names
MATCHED = "matched by name"
SHOWN = 8  # keys of each kind in a message


@dataclass(frozen=True, eq=False)
class Fitted:
    """Tensors by their names in the network, how they were matched, and names of the file that are not used."""

    tensors: Tensors
    rule: str
    left_out: tuple[str, ...] = ()


def fitted(config: TrainConfig, net: nn.Module, file: WeightsFile, path: Path) -> Fitted:
    """Convert the tensors of `file` to the names and shapes of `net`: one input channel, resized position embeddings.

    Names are tried first, then timm's translation of older names, then order and shapes. The classifier is left out
    unless fer_kit trained the weights.

    Args:
        path: the file, for error messages.

    Raises:
        FerKitError: the tensors belong to another network, or keys are missing, unexpected or of another shape, or the
            tensors fit in more than one way. The message lists the keys.
    """
    model = file.about.get("model")
    if model is not None and network_of(str(model)) != network_of(config.model):
        raise FerKitError(
            f"{path}: the file has weights of {model}, but the network is {config.model}; choose a file of the same "
            "network, or the recipe of that network"
        )
    try:
        return _fitted(net, file)
    except (InDoubtError, _MisfitError) as error:
        raise FerKitError(f"{path}: not the weights of {config.model}: {error}") from None


class _MisfitError(Exception):
    """The tensors do not fit; the message lists the keys."""


def _fitted(net: nn.Module, file: WeightsFile) -> Fitted:
    """`fitted` without the checks of the config."""
    inner = net.body if isinstance(net, Backbone) else net
    own = inner.state_dict()
    head, first = (head_of(net), net.first_convolutions) if isinstance(net, Backbone) else ((), ())
    target = Target(own, head, first)
    match = by_name(file.tensors, target) or without_prefix(file.tensors, own)
    if _shapes(match.tensors) == _shapes(own):
        inner.load_state_dict(match.tensors)
    elif isinstance(net, Backbone):
        try:
            inner, match = through_timm(net, match)
        except _MisfitError as error:
            match = _in_order(file, target, error)
            inner, match = through_timm(net, match)
    else:
        match = _in_order(file, target, _MisfitError(differences(match.tensors, own)))
        inner.load_state_dict({**own, **match.tensors})
    rule, left_out = match.rule or MATCHED, match.left_out
    if isinstance(net, Backbone) and not file.about:
        unused = tuple(match.sources.get(name, name) for name in match.tensors if fine_tuning.belongs(name, head))
        return Fitted(without_classifier(net, inner), rule, (*left_out, *unused))
    prefix = "body." if isinstance(net, Backbone) else ""
    return Fitted({prefix + name: value for name, value in inner.state_dict().items()}, rule, left_out)


def _shapes(tensors: Tensors) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in tensors.items()}


def _in_order(file: WeightsFile, target: Target, misfit: _MisfitError) -> Match:
    """Match by order and shapes, after the tensors did not fit by name.

    Raises:
        _MisfitError: the tensors do not fit by order and shapes, either, or their order is unknown.
    """
    stripped = without_prefix(file.tensors, target.own)
    choices = [Match(file.tensors, ""), stripped] if stripped.left_out else [stripped]
    if not file.in_order:
        hint = "; the shapes fit, but safetensors sorts the names: save the state dict by torch.save, to match by order"
        raise _MisfitError(f"{misfit}{hint if only_sorted(stripped.tensors, target) else ''}")
    for choice in choices:
        if match := by_order(choice.tensors, target):
            return replace(match, left_out=choice.left_out)
    raise misfit


def network_of(model: str) -> str:
    """`model` without the parts that may differ between weights of one network.

    These parts are timm's tag of pretrained weights, and the digest of the source file of a network of your own.
    """
    return model.partition(".")[0] if TIMM_NAME.fullmatch(model) else model.partition("@")[0]


def through_timm(net: Backbone, match: Match) -> tuple[nn.Module, Match]:
    """Let timm load the tensors into a network with as many classes as the file has.

    timm translates old names, sums the first convolution over the colours and resizes position embeddings.

    Returns:
        timm's network, and `match` with the rule for the log.

    Raises:
        _MisfitError: the tensors do not fit the network.
    """
    tensors, own, head = match.tensors, net.body.state_dict(), head_of(net)
    heads = [f"{name}.weight" for name in (*net.classifier, *HEADS)]
    classes = next((len(tensors[name]) for name in heads if name in tensors), 0)
    source = {"state_dict": dict(tensors), "num_classes": classes, "label_offset": 0}
    try:
        body = _drawn(net, pretrained=True, num_classes=classes, pretrained_cfg_overlay=source)
    except Exception as error:  # timm's converters raise many kinds of errors for unknown names
        raise _MisfitError(differences(tensors, own, head, net.first_convolutions) or first_line(error)) from None
    # For a few networks timm loads the keys that fit and ignores missing ones. If the network knows every name of the
    # file, timm translated no names, so the file must have every weight of the network; otherwise no weight may still
    # have the values that it was drawn with.
    names = [name for name, _ in net.body.named_parameters() if not fine_tuning.belongs(name, head)]
    if translated := not set(tensors) <= set(own):
        drawn = dict(_drawn(net, num_classes=classes).named_parameters())
        loaded = dict(body.named_parameters())
        missing = [name for name in names if loaded[name].ndim > 1 and _same(loaded[name], drawn[name])]
    else:
        missing = [name for name in names if name not in tensors]
    if missing:
        raise _MisfitError(
            differences(tensors, own, head, net.first_convolutions) if translated else listed("missing", missing)
        )
    if not match.rule.startswith("matched"):
        match = replace(match, rule=f"{'names translated by timm' if translated else MATCHED}{match.rule}")
    return body, match


def _drawn(net: Backbone, **options: Any) -> nn.Module:
    """Build timm's network with the random weights of seed 0; options of `Backbone.create`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return net.create(**options)


def _same(one: Tensor, other: Tensor) -> bool:
    return bool(one.any()) and torch.equal(one, other)


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


def listed(kind: str, keys: Sequence[str]) -> str:
    """`2 missing: a, b`, with at most `SHOWN` keys."""
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return f"{len(keys)} {kind}: {', '.join(keys[:SHOWN])}{more}"


def head_of(net: Backbone) -> tuple[str, ...]:
    """The modules of timm's network that contain its classifier: `head` for `head.fc`."""
    return tuple(name.partition(".")[0] for name in (*net.classifier, *HEADS))


def without_classifier(net: Backbone, body: nn.Module) -> Tensors:
    """The tensors of timm's network `body` by their names in `net`, without those of the classifier."""
    state = {f"body.{name}": value for name, value in body.state_dict().items()}
    return {name: value for name, value in state.items() if not fine_tuning.belongs(name, fine_tuning.classifier(net))}
