"""torch.compile for the steps of training, asked for with --compile."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fer_kit.errors import FerKitError

MOST_COMPILATIONS = 64


def compiled(net: nn.Module, device: torch.device) -> Any:
    """`net` as torch.compile runs it, sharing its weights; compiled at the first batch of each size and mode.

    Raises:
        FerKitError: nothing can be compiled here, which a function of one line shows before the network is tried.
    """
    try:
        torch.compile(lambda x: x * 2 + 1)(torch.ones(8, device=device))
    except Exception as error:  # each missing part (compiler, Triton, headers, Python version) raises a kind of its own
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        needs = "Triton and a C compiler" if device.type == "cuda" else "a C++ compiler such as g++"
        raise FerKitError(
            f"--compile: nothing can be compiled for {device} here ({lines[0][:160]}); install {needs}, or leave "
            "--compile away"
        ) from None
    # An epoch has batches of two sizes at most; but growing images, frozen parts and SAM's passes multiply them, and
    # past its limit, 8 by default, torch goes on without compiling.
    limit = "recompile_limit" if hasattr(torch._dynamo.config, "recompile_limit") else "cache_size_limit"
    setattr(torch._dynamo.config, limit, MOST_COMPILATIONS)
    return torch.compile(net, dynamic=False)
