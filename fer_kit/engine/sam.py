"""Sharpness-aware minimization (Foret et al., ICLR 2021): the gradient at a nearby point of higher loss."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

TINY = 1e-12  # avoids 0/0 for a gradient of zeros

T = TypeVar("T")


def backward_nearby(net: nn.Module, rho: float, backward: Callable[[], T]) -> T:
    """Compute the gradient at w + rho · g / |g|, where g is the gradient at the present weights w.

    The gradient is left in `grad` of the parameters; the weights are unchanged. Both passes draw the same numbers from
    torch's global generator, so that dropout drops the same units. Only the first pass updates batch norm's running
    statistics, because only that pass uses the present weights.

    Args:
        backward: computes the loss of the step's batches and adds its gradient to each `grad`; called twice, with
            empty `grad`. The gradient may be scaled by a constant, as for fp16.

    Returns:
        The result of the first call of `backward`.
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
    """Keep batch norm's running statistics and counters unchanged, while it still normalises by the batch."""
    norms = [module for module in net.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
