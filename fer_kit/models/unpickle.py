"""Load .pt files without running code in them; the only place that calls torch.load."""

from __future__ import annotations

import re
from pathlib import Path
from typing import IO, Any

import torch

from fer_kit.errors import FerKitError

SAFE_SINCE = (2, 10)  # before, a crafted file could run code in spite of weights_only=True (CVE-2026-24747)


def load(file: Path | IO[bytes], where: Path, device: torch.device | str = "cpu") -> Any:
    """Load tensors and plain values from a file of `torch.save`.

    Raises:
        FerKitError: this torch cannot load foreign files safely.
        Exception: of many types, for a damaged file or one that would run code.
    """
    if tuple(map(int, re.findall(r"\d+", torch.__version__)[:2])) < SAFE_SINCE:
        raise FerKitError(
            f"{where}: not loaded, since torch {torch.__version__} may run code in such files; update torch to "
            f"{'.'.join(map(str, SAFE_SINCE))} or newer, or store weights as .safetensors"
        )
    return torch.load(file, map_location=device, weights_only=True)
