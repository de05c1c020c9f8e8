"""Which device, in which number format the network runs there, and whether it gives the same bits every time."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from fer_kit.errors import FerKitError, first_line

# Where cuBLAS keeps its scratch space, in the two ways in which its sums repeat; torch refuses any other.
CUBLAS_WORKSPACES = (":4096:8", ":16:8")

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True)
class Precision:
    """The number format of a run: `name` is bf16, fp16 or fp32."""

    name: str
    device: torch.device

    def autocast(self) -> AbstractContextManager[None]:
        """The context in which the network runs; does nothing for fp32."""
        return torch.autocast(self.device.type, DTYPES[self.name], enabled=self.name != "fp32")

    def scaler(self) -> torch.amp.GradScaler:
        """The gradient scaler, which fp16 needs and the others pass through."""
        return torch.amp.GradScaler(self.device.type, enabled=self.name == "fp16")


def choose_device(wanted: str) -> torch.device:
    """`auto` is the first GPU where there is one, else the CPU; also `cpu`, `cuda`, `cuda:1`.

    Raises:
        FerKitError: another name, or a device that this machine lacks.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "auto":
        return torch.device("cuda:0" if gpus else "cpu")
    allowed = ["cpu", *(f"cuda:{gpu}" for gpu in range(gpus))]
    name = "cuda:0" if wanted == "cuda" else wanted
    if name not in allowed:
        raise FerKitError(f"--device {wanted}: this machine has {', '.join(allowed)}; choose one of them or auto")
    return torch.device(name)


def choose_precision(wanted: str, device: torch.device) -> Precision:
    """`auto` is the fastest format that the device computes in: bf16, else fp16 on a GPU, else fp32.

    Raises:
        FerKitError: the wanted format is emulated or missing on the device.
    """
    if device.type == "cuda":
        native = ["bf16", "fp16", "fp32"] if gpu_has_bf16(device) else ["fp16", "fp32"]
    else:
        native = ["bf16", "fp32"] if cpu_has_bf16() else ["fp32"]
    if wanted == "auto":
        return Precision(native[0], device)
    if wanted not in native:
        raise FerKitError(f"precision={wanted}: {device} computes in {', '.join(native)}; choose one of them or auto")
    return Precision(wanted, device)


def gpu_has_bf16(device: torch.device) -> bool:
    """Whether this GPU multiplies bfloat16 itself: since compute capability 8.0. A T4 has 7.5 and emulates it, slowly.

    torch.cuda.is_bf16_supported is asked of the current device, which may be another.
    """
    return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 itself (avx512_bf16 or amx): elsewhere it is slower than float32."""
    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else cpuinfo_flags()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16") or able.get("amx_tile"))


def cpuinfo_flags() -> dict[str, bool]:
    """CPU features as Linux lists them, for torch builds that do not tell; empty on other systems."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            flags = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return {}
    return dict.fromkeys(flags.split(), True)


def repeat_exactly() -> None:
    """Make torch compute the same bits every time on a GPU, too; to be called before anything was multiplied there.

    What has no such form raises a RuntimeError when it is used, see `not_repeatable`.
    """
    torch.use_deterministic_algorithms(True)
    if os.environ.get("CUBLAS_WORKSPACE_CONFIG") not in CUBLAS_WORKSPACES:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = CUBLAS_WORKSPACES[0]


def not_repeatable(error: BaseException) -> str:
    """The operation that has no form with the same bits every time, where `error` says so, else ""."""
    name, told, _ = str(error).partition(" does not have a deterministic implementation")
    return name if told else ""


MOST_COMPILATIONS = 64


def compiled(net: nn.Module, device: torch.device) -> Any:
    """`net` as torch.compile runs it, sharing its weights; compiled at the first batch of each size and mode.

    Raises:
        FerKitError: nothing can be compiled here, which a function of one line shows before the network is tried.
    """
    try:
        torch.compile(lambda x: x * 2 + 1)(torch.ones(8, device=device))
    except Exception as error:  # each missing part (compiler, Triton, headers, Python version) raises a kind of its own
        needs = "Triton and a C compiler" if device.type == "cuda" else "a C++ compiler such as g++"
        raise FerKitError(
            f"--compile: nothing can be compiled for {device} here ({first_line(error)}); install {needs}, or leave "
            "--compile away"
        ) from None
    # An epoch has batches of two sizes at most; but growing images, frozen parts and SAM's passes multiply them, and
    # past its limit, 8 by default, torch goes on without compiling.
    limit = "recompile_limit" if hasattr(torch._dynamo.config, "recompile_limit") else "cache_size_limit"
    setattr(torch._dynamo.config, limit, MOST_COMPILATIONS)
    return torch.compile(net, dynamic=False)
