"""Match the tensors of a weights file with those of a network: by name, after a prefix, or by order and shapes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fer_kit.models import fine_tuning
from fer_kit.pretrained.read import Tensors

# First parts of names that wrappers of networks add: DataParallel, torch.compile, Lightning, Hugging Face, DINO.
WRAPPING = ("module", "_orig_mod", "model", "net", "network", "backbone", "encoder", "timm_model", "base_model")
COUNTER = "num_batches_tracked"  # of batch norm; no prediction depends on the counter, and many files lack it
MOST_COPIES = 4  # prefixes in a message
EXAMPLES = 2  # pairs of names in the log

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Match:
    """Tensors of a file by the names of the network.

    rule: how they were matched, for the log. left_out: names of the file that are not used. sources: names in the file,
    by the names of the network, if they differ.
    """

    tensors: Tensors
    rule: str
    left_out: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Target:
    """The tensors of the network that a file must fill.

    own: all tensors of the network. head: modules of the classifier, whose tensors may be absent and may be for other
    classes. first: convolutions that take the image; their weights may have another number of input channels.
    """

    own: Tensors
    head: tuple[str, ...] = ()
    first: tuple[str, ...] = ()

    def needed(self) -> list[str]:
        """Names that a file must have."""
        return [name for name in self.own if not self.in_head(name) and not name.endswith(COUNTER)]

    def in_head(self, name: str) -> bool:
        """True if a tensor belongs to the classifier."""
        return fine_tuning.belongs(name, self.head)

    def takes(self, name: str, shape: Shape) -> bool:
        """True if the network's tensor `name` can be filled from a tensor of this shape."""
        ours = tuple(self.own[name].shape)
        if self.in_head(name):
            return shape[1:] == ours[1:]
        if fine_tuning.belongs(name, self.first) and len(shape) == len(ours):
            return shape[:1] + shape[2:] == ours[:1] + ours[2:]
        return shape == ours


class InDoubtError(Exception):
    """Names, order or shapes fit in more than one way; the message says which and what to do."""


def by_name(tensors: Tensors, target: Target) -> Match | None:
    """Match tensors that have the names of the network, with or without one prefix before all of them.

    Without a prefix, every name of the file must be one of the network: another name could be a layer that the network
    does not have. With a prefix, tensors outside the prefix belong to other parts of the program that wrote the file.

    Raises:
        InDoubtError: the file holds the network several times, under several prefixes.
    """
    needed = target.needed()
    found = []
    for prefix in _prefixes(tensors, needed):
        inside = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        if all(name in inside and target.takes(name, tuple(inside[name].shape)) for name in needed):
            found.append((prefix, inside))
    if len(found) > 1:
        places = ", ".join(f"'{prefix}'" if prefix else "no prefix" for prefix, _ in found[:MOST_COPIES])
        raise InDoubtError(f"the file holds this network {len(found)} times ({places}); save only one of them")
    if not found:
        return None
    prefix, inside = found[0]
    if any(name not in target.own and not target.in_head(name) for name in inside):
        return None
    others = tuple(name for name in tensors if not name.startswith(prefix))
    return Match(inside, f"matched by name after the prefix '{prefix}'" if prefix else "matched by name", others)


def _prefixes(tensors: Tensors, needed: Sequence[str]) -> list[str]:
    """What stands before the longest needed name wherever the file has that name: the only prefixes to try."""
    anchor = max(needed, key=lambda name: (name.count("."), len(name)), default="")
    return [name.removesuffix(anchor) for name in tensors if name == anchor or name.endswith(f".{anchor}")]


def without_prefix(tensors: Tensors, own: Iterable[str]) -> Match:
    """Remove prefixes of `WRAPPING` and prefixes that all names have, e.g. `model.`, for timm's own translation.

    A name that the network itself begins with is not removed. Tensors outside a prefix of `WRAPPING` that at least
    nine tenths of the names have are left out.
    """
    known = {name.partition(".")[0] for name in own}
    removed, left_out = "", list[str]()
    while True:
        starts = [name.partition(".")[0] for name in tensors if "." in name]
        most = max(dict.fromkeys(starts), key=starts.count, default="")
        share = starts.count(most) / max(len(tensors), 1)
        if not starts or most in known or not (share == 1 or (most in WRAPPING and share >= 0.9)):
            rule = f" after the prefix '{removed}'" if removed else ""
            return Match(tensors, rule, tuple(left_out))
        prefix = f"{most}."
        left_out += [removed + name for name in tensors if not name.startswith(prefix)]
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        removed += prefix


def by_order(tensors: Tensors, target: Target) -> Match | None:
    """Match tensors of other names that stand in the network's order and have its shapes.

    The last parts of the names must agree, too (weight, bias, running_mean, running_var).

    Raises:
        InDoubtError: neighbouring layers of equal shapes could be meant the other way round, since their names differ
            by words and not by numbers.
    """
    theirs = [name for name in tensors if not name.endswith(COUNTER)]
    ours = [name for name in target.own if not name.endswith(COUNTER)]
    if len(theirs) != len(ours):
        ours = [name for name in ours if not target.in_head(name)]
    if len(theirs) != len(ours):
        return None
    for name, own in zip(theirs, ours, strict=True):
        if _last(name) != _last(own) or not target.takes(own, tuple(tensors[name].shape)):
            return None
    if pair := next(_undecided(theirs, ours, [tuple(tensors[name].shape) for name in theirs]), None):
        raise InDoubtError(
            f"order and shapes fit, but {pair[0]} and {pair[1]} have equal shapes and no numbers that tell their order"
        )
    sources = dict(zip(ours, theirs, strict=True))
    examples = [f"{name} as {own}" for own, name in sources.items() if name != own][:EXAMPLES]
    named = {own: tensors[name] for own, name in sources.items()}
    return Match(named, f"matched by order and shapes ({', '.join(examples)} …)", sources=sources)


def only_sorted(tensors: Tensors, target: Target) -> bool:
    """True if the tensors have the shapes of the network in another order."""
    theirs, ours = (
        Counter((_last(name), tuple(value.shape)) for name, value in part.items() if not name.endswith(COUNTER))
        for part in (tensors, {name: value for name, value in target.own.items() if not target.in_head(name)})
    )
    missing = (ours - theirs).total()  # the first convolution may have more channels
    return missing <= len(target.first) and bool(ours)


def _undecided(theirs: Sequence[str], ours: Sequence[str], shapes: Sequence[Shape]) -> Iterator[tuple[str, str]]:
    """Pairs of the file's names in neighbouring modules that could be exchanged without any shape changing.

    Such modules stand next to each other, below the same parent, and have layers of the same shapes. Their order is
    known if their names differ in a number that rises, or in the same words, in the file and in the network.
    """
    layers = _layers(theirs)
    signs = [tuple((_last(theirs[at]), shapes[at]) for at in layer) for layer in layers]
    names = [[names[layer[0]].rpartition(".")[0] for layer in layers] for names in (theirs, ours)]
    for length in range(1, len(layers) // 2 + 1):
        run = 0  # number of layers before `end` that equal the layer `length` places later
        for end in range(len(layers) - length):
            run = run + 1 if signs[end] == signs[end + length] else 0
            start = end - length + 1
            if run >= length and any(_are_modules(found, start, length) for found in names):
                pairs = [[(found[at], found[at + length]) for at in range(start, end + 1)] for found in names]
                for of_file, of_network in zip(*pairs, strict=True):
                    if not _ordered(of_file, of_network):
                        yield of_file


def _are_modules(layers: Sequence[str], start: int, length: int) -> bool:
    """True if the `length` layers from `start` on, and as many after them, are whole children of one module."""
    middle, end = start + length, start + 2 * length
    paths = [layer.split(".") for layer in layers]
    depth = 0
    while len({tuple(path[: depth + 1]) for path in paths[start:end]}) == 1:
        depth += 1
    children = [tuple(path[: depth + 1]) for path in paths]
    first, second = set(children[start:middle]), set(children[middle:end])
    others = {*children[:start], *children[end:]}
    return not first & second and not others & (first | second)


def _ordered(of_file: tuple[str, str], of_network: tuple[str, str]) -> bool:
    """True if two names differ first in a number that rises, in the file and in the network, or in equal words."""
    differing = []
    for one, other in (of_file, of_network):
        pairs = zip(_parts(one), _parts(other), strict=False)
        differing.append(next((pair for pair in pairs if pair[0] != pair[1]), ("", "")))
    rises = [left.isdigit() and right.isdigit() and int(left) < int(right) for left, right in differing]
    return all(rises) or (differing[0] == differing[1] and "" not in differing[0])


def _layers(names: Sequence[str]) -> list[list[int]]:
    """Positions of the names, one list for each run of names of the same module."""
    layers: list[list[int]] = []
    before = None
    for at, name in enumerate(names):
        module = name.rpartition(".")[0]
        if module != before:
            layers.append([])
        layers[-1].append(at)
        before = module
    return layers


def _parts(name: str) -> list[str]:
    """`_bn0.weight` as `_bn`, `0`, `.`, `weight`."""
    return re.findall(r"[0-9]+|[.]|[^0-9.]+", name)


def _last(name: str) -> str:
    return name.rpartition(".")[2]
