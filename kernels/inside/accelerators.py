"""Kaggle's accelerators by the names of its API, and the GPUs that a session with them must have."""

from __future__ import annotations

from dataclasses import dataclass

from fer_kit.errors import FerKitError, did_you_mean

DEFAULT, NONE = "NvidiaTeslaT4", "none"


@dataclass(frozen=True)
class Accelerator:
    """`count` GPUs whose device name contains `model`; no GPU if count is 0."""

    name: str
    model: str
    count: int

    def __str__(self) -> str:
        return f"{self.count} × {self.model}" if self.count else "no GPU"


# Kaggle does not check names and silently gives another machine for unknown names, so unknown names are refused here.
KNOWN = {
    accelerator.name: accelerator
    for accelerator in (
        Accelerator("NvidiaTeslaT4", "T4", 2),
        Accelerator("NvidiaTeslaT4Highmem", "T4", 2),
        Accelerator("NvidiaL4", "L4", 4),
        Accelerator("NvidiaL4X1", "L4", 1),
        Accelerator("NvidiaTeslaA100", "A100", 1),
        Accelerator("NvidiaH100", "H100", 1),
        Accelerator("NvidiaRtxPro6000", "RTX PRO 6000", 1),
        Accelerator(NONE, "", 0),
    )
}


def get(name: str) -> Accelerator:
    """The accelerator called `name`.

    Raises:
        FerKitError: Kaggle does not have this accelerator, or fer_kit cannot train on it.
    """
    if name == "NvidiaTeslaP100":
        raise FerKitError(
            f"--accelerator {name}: Kaggle has retired this GPU, and current torch does not support it; use {DEFAULT}"
        )
    if name.lower().startswith("tpu"):
        raise FerKitError(f"--accelerator {name}: fer_kit trains on GPUs and CPUs only; use {DEFAULT}")
    if name not in KNOWN:
        raise FerKitError(
            f"--accelerator {name}: not known{did_you_mean(name, KNOWN)}, and Kaggle silently replaces unknown "
            f"names; allowed are: {', '.join(KNOWN)}"
        )
    return KNOWN[name]
