"""Sharpness-aware minimization: Foret et al., ICLR 2021. The gradient is taken where the loss is highest nearby."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

TINY = 1e-12  # keeps a gradient of zeros at zero

T = TypeVar("T")


def backward_nearby(net: nn.Module, rho: float, backward: Callable[[], T]) -> T:
    """Leave in the parameters' `grad` the gradient at w + rho · g / |g|, where g is the one at their present values w.

    backward: computes the loss of the step's batches and adds its gradient to every `grad`, which are empty at the
        start. It is called twice; what the first call gave is returned. A gradient scaled by a constant, as for fp16,
        gives the same place. Both calls draw the same numbers from torch's global generator (they drop the same units),
        and only the first moves batch norm's running statistics, since only it sees the network that is kept.
    """
    device = next(net.parameters()).device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        given = backward()
    moved: list[Tensor] = [weight for weight in net.parameters() if weight.grad is not None]
    kept = [weight.detach().clone() for weight in moved]
    with torch.no_grad():
        gradients = [weight.grad for weight in moved if weight.grad is not None]
        step = rho / (nn.utils.get_total_norm(gradients) + TINY)
        torch._foreach_add_(moved, list(torch._foreach_mul(gradients, step)))
    net.zero_grad(set_to_none=True)
    with unmoved_statistics(net):
        backward()
    with torch.no_grad():
        torch._foreach_copy_(moved, kept)
    return given


@contextlib.contextmanager
def unmoved_statistics(net: nn.Module) -> Iterator[None]:
    """Batch norm goes on normalising by its batch, and keeps its running statistics and counters as they are."""
    norms = [module for module in net.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
