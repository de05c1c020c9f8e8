"""Networks of your own, `model=package.module:Class`: import, check on three faces, record the source file."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fer_kit.competition import NUM_CLASSES, SIDE_PX
from fer_kit.config.train_config import TrainConfig
from fer_kit.errors import FerKitError, did_you_mean, first_line
from fer_kit.files import atomic

FACES = 3  # in a trial; networks that return a fixed number of rows, such as two, are found


def build_own(config: TrainConfig) -> nn.Module:
    """Build the network that `model=package.module:Class` names.

    The name is that of a subclass of nn.Module, or of a function that returns an nn.Module. The class or function is
    called with `width_mult` and `drop_path_prob` if it has arguments of these names, else without arguments.

    Raises:
        FerKitError: there is no such module or class, the result is not an nn.Module, or the network does not give
            finite logits (B, 7) for faces, or cannot be trained.
    """
    make = import_own(config.model)
    check_digest(config.model, make)
    try:
        takes = inspect.signature(make).parameters
    except (TypeError, ValueError):
        raise FerKitError(f"model={config.model} is not a class or function; name a subclass of nn.Module") from None
    options: dict[str, Any] = {}
    for name, neutral in (("width_mult", 1.0), ("drop_path_prob", 0.0)):
        value = getattr(config, name)
        if name in takes:
            options[name] = value
        elif value != neutral:
            raise FerKitError(f"{name}={value}: {config.model} has no argument {name}; set {name}={neutral:g}")
    try:
        net = make(**options)
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise FerKitError(
            f"model={config.model} cannot be built ({first_line(error)}); all its arguments need defaults"
        ) from error
    if not isinstance(net, nn.Module):
        raise FerKitError(f"model={config.model} returns a {type(net).__name__}; it must return an nn.Module")
    check_own(config.model, net)
    return net


def import_own(name: str) -> Callable[..., Any]:
    """Import the class or function `package.module:Class`, from the current folder or where Python finds packages.

    Raises:
        FerKitError: there is no such module or attribute, or the import fails.
    """
    module_name, _, attribute = name.partition("@")[0].partition(":")
    if not {"", os.getcwd()} & set(sys.path):  # the command fer-kit does not search the current folder by itself
        sys.path.append(os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        where = f"searched {os.getcwd()} and the folders of Python's packages"
        raise FerKitError(f"model={name}: {module_name} cannot be imported ({first_line(error)}); {where}") from error
    found = getattr(module, attribute, None)
    if not callable(found):
        there = [key for key, value in vars(module).items() if isinstance(value, type) and issubclass(value, nn.Module)]
        has = f"its networks are: {', '.join(there)}" if there else "it defines no nn.Module"
        raise FerKitError(
            f"model={name}: {module_name} has no class {attribute}{did_you_mean(attribute, there)}; {has}"
        )
    make: Callable[..., Any] = found
    return make


def with_digest(name: str) -> str:
    """`package.module:Class` as a config records it: with @ and the first 16 digits of the sha256 of its source file.

    Raises:
        FerKitError: the class cannot be imported, has no source file, or the file does not have the digest in `name`.
    """
    return f"{name.partition('@')[0]}@{check_digest(name, import_own(name))}"


def check_digest(name: str, make: Callable[..., Any]) -> str:
    """Digest of the source file of `make`.

    Raises:
        FerKitError: the file cannot be read, or `name` has another digest.
    """
    bare, _, recorded = name.partition("@")
    try:
        path = Path(inspect.getsourcefile(make) or "")
        digest = atomic.sha256_of(path)[:16]
    except (TypeError, OSError) as error:
        raise FerKitError(f"model={bare}: its source file cannot be read ({first_line(error)})") from None
    if recorded and recorded != digest:
        raise FerKitError(
            f"model={bare}: {path} changed since this run was started (digest {recorded}, now {digest}); restore the "
            "old file, or train a new run with --tag"
        )
    return digest


def check_own(name: str, net: nn.Module) -> None:
    """Run three blank faces through `net`, and a backward pass; network and random generator stay unchanged.

    Raises:
        FerKitError: the network fails, gives another shape than (3, 7), gives values that are not finite floating-point
            numbers, or has no parameter with a gradient.
    """
    parameter = next(net.parameters(), None)
    if parameter is None:
        raise FerKitError(f"model={name} has no parameters to train; define its layers in __init__")
    if not any(one.requires_grad for one in net.parameters()):
        raise FerKitError(f"model={name} has no parameter with requires_grad=True; leave some parameters trainable")
    faces = torch.zeros(FACES, 1, SIDE_PX, SIDE_PX, device=parameter.device)
    # inference mode would turn parameters that forward creates, such as those of LazyLinear, into inference tensors
    with torch.inference_mode(False), torch.no_grad(), _unchanged(net):
        net.eval()
        logits = _logits(name, net, faces)
    if logits.is_meta:
        return
    if not logits.isfinite().all():
        raise FerKitError(f"model={name} returns logits that are not finite; check how its weights are initialised")
    if any(one.is_inference() for one in net.parameters()):  # built in inference mode: only for predictions
        return
    with torch.inference_mode(False), torch.enable_grad(), _unchanged(net):
        net.train()
        _check_gradient(name, net, _logits(name, net, faces.clone()))


@contextlib.contextmanager
def _unchanged(net: nn.Module) -> Iterator[None]:
    """Restore the random generator, the mode and the buffers of `net`, such as BatchNorm statistics."""
    modes = [(module, module.training) for module in net.modules()]
    buffers = [
        (module, key, value, None if value is None else value.clone())
        for module in net.modules()
        for key, value in module._buffers.items()
    ]
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training
            with torch.no_grad():
                for module, key, value, before in buffers:
                    module._buffers[key] = value
                    if value is not None and before is not None:
                        value.copy_(before)


def _logits(name: str, net: nn.Module, faces: torch.Tensor) -> torch.Tensor:
    """The logits of `faces`, a floating-point tensor (3, 7)."""
    try:
        logits = net(faces)
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise FerKitError(f"model={name} fails on faces {tuple(faces.shape)}: {first_line(error)}") from error
    expected = (FACES, NUM_CLASSES)
    shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if not isinstance(logits, torch.Tensor) or shape != expected:
        raise FerKitError(f"model={name} returns {shape} for three faces; it must return logits of shape {expected}")
    if not logits.is_floating_point():
        raise FerKitError(f"model={name} returns logits of type {logits.dtype}; they must be floating-point numbers")
    return logits


def _check_gradient(name: str, net: nn.Module, logits: torch.Tensor) -> None:
    """Run a backward pass that leaves `grad` of the parameters as it is."""
    trained = [one for one in net.parameters() if one.requires_grad]
    try:
        found = torch.autograd.grad(logits.sum(), trained, allow_unused=True) if logits.requires_grad else ()
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise FerKitError(f"model={name} fails in the backward pass: {first_line(error)}") from error
    if all(one is None for one in found):
        raise FerKitError(
            f"model={name} returns logits without a gradient; compute them from parameters, without detach or no_grad"
        )
