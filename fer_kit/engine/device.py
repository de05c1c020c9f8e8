"""Choice of the device and its precision, deterministic algorithms, and torch.compile."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from fer_kit.errors import FerKitError, first_line

# The two settings of cuBLAS's workspace with deterministic sums; earlier versions of torch refuse all others.
CUBLAS_WORKSPACES = (":4096:8", ":16:8")

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True)
class Precision:
    """The precision of a run's arithmetic: `name` is bf16, fp16 or fp32."""

    name: str
    device: torch.device

    def autocast(self) -> AbstractContextManager[None]:
        """The autocast context for forward passes; a no-op for fp32."""
        return torch.autocast(self.device.type, DTYPES[self.name], enabled=self.name != "fp32")

    def scaler(self) -> torch.amp.GradScaler:
        """The gradient scaler for fp16; disabled for bf16 and fp32, which need none."""
        return torch.amp.GradScaler(self.device.type, enabled=self.name == "fp16")


def choose_device(wanted: str) -> torch.device:
    """The torch device for the option --device: `auto`, `cpu`, `cuda` or `cuda:N`.

    `auto` is the first GPU, or the CPU if torch finds no GPU; `cuda` is `cuda:0`.

    Raises:
        FerKitError: the name is unknown, this machine has no such device, or this torch was not built for the GPU.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    allowed = ["cpu", *(f"cuda:{gpu}" for gpu in range(gpus))]
    name = {"auto": "cuda:0" if gpus else "cpu", "cuda": "cuda:0"}.get(wanted, wanted)
    if name not in allowed:
        raise FerKitError(f"--device {wanted}: this machine has {', '.join(allowed)}; choose one of them or auto")
    device = torch.device(name)
    if device.type == "cuda":
        refuse_without_kernels(device, wanted)
    return device


def refuse_without_kernels(device: torch.device, wanted: str) -> None:
    """Raise FerKitError if this torch has no code for the GPU: the first operation on the GPU would fail."""
    built_for = torch.cuda.get_arch_list()
    major, minor = torch.cuda.get_device_capability(device)
    if torch.version.hip is not None or not built_for or has_kernels(built_for, (major, minor)):
        return
    raise FerKitError(
        f"--device {wanted}: torch {torch.__version__} has no code for {torch.cuda.get_device_name(device)} with "
        f"compute capability {major}.{minor}, only for {', '.join(built_for)}; install a torch built for this GPU, or "
        "give --device cpu"
    )


def has_kernels(built_for: Sequence[str], capability: tuple[int, int]) -> bool:
    """Whether code for the architectures `built_for` (sm_75, sm_90a, compute_120) runs on a GPU of `capability`.

    sm_XY runs on GPUs of the same major version and at least the minor one, compute_XY on these and all newer GPUs.
    Source: "Binary Compatibility" and "PTX Compatibility" in NVIDIA's CUDA C++ Programming Guide.
    """
    for name in built_for:
        kind, _, digits = name.rstrip("af").partition("_")
        major, minor = divmod(int(digits), 10)
        if (major, minor) <= capability and (kind == "compute" or major == capability[0]):
            return True
    return False


def choose_precision(wanted: str, device: torch.device) -> Precision:
    """The precision for the setting `precision` on `device`.

    `auto` is the fastest precision with hardware support: bf16; without bf16, fp16 on a GPU and fp32 on a CPU.

    Raises:
        FerKitError: the device emulates the wanted precision or does not have it.
    """
    able = native(device)
    if wanted == "auto":
        return Precision(able[0], device)
    if wanted not in able:
        raise FerKitError(f"precision={wanted}: {device} computes in {', '.join(able)}; choose one of them or auto")
    return Precision(wanted, device)


def native(device: torch.device) -> list[str]:
    """The precisions that the device has hardware support for, the fastest first for most layers."""
    if device.type == "cuda":
        return ["bf16", "fp16", "fp32"] if gpu_has_bf16(device) else ["fp16", "fp32"]
    return ["bf16", "fp32"] if cpu_has_bf16() else ["fp32"]


def gpu_has_bf16(device: torch.device) -> bool:
    """Whether the GPU has hardware support for bfloat16, as from compute capability 8.0. A T4 (7.5) emulates bfloat16.

    torch.cuda.is_bf16_supported is not used: it reports the current device, which may be another GPU.
    """
    return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)


def cpu_has_bf16() -> bool:
    """Whether the CPU has bfloat16 instructions (avx512_bf16 or amx); without them bfloat16 is slower than float32."""
    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else cpuinfo_flags()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16") or able.get("amx_tile"))


def cpuinfo_flags() -> dict[str, bool]:
    """CPU features from Linux's /proc/cpuinfo, for torch builds without `get_capabilities`; empty elsewhere."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            flags = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return {}
    return dict.fromkeys(flags.split(), True)


@contextmanager
def algorithms(deterministic: bool) -> Iterator[None]:
    """The algorithms of a training on a GPU: deterministic, or else the fastest ones of cuDNN, found by trying them.

    Enter it before the first matrix product on a GPU. At the end torch has the settings that it had before. Operations
    without a deterministic algorithm raise a RuntimeError in a deterministic training, see `not_repeatable`.
    """
    strict = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    tries = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        torch.use_deterministic_algorithms(True)
        if os.environ.get("CUBLAS_WORKSPACE_CONFIG") not in CUBLAS_WORKSPACES:
            os.environ["CUBLAS_WORKSPACE_CONFIG"] = CUBLAS_WORKSPACES[0]
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = tries
        if deterministic:
            torch.use_deterministic_algorithms(strict, warn_only=warn_only)


def not_repeatable(error: BaseException) -> str:
    """The operation without a deterministic algorithm that `error` reports; "" for other errors."""
    name, found, _ = str(error).partition(" does not have a deterministic implementation")
    return name if found else ""


MOST_COMPILATIONS = 64


def compiled(net: nn.Module, device: torch.device) -> Any:
    """`net` wrapped by torch.compile, with shared weights; compilation takes place at the first batch of each size.

    Raises:
        FerKitError: torch.compile does not work here, tested on a function of one line.
    """
    try:
        torch.compile(lambda x: x * 2 + 1)(torch.ones(8, device=device))
    except Exception as error:  # its type depends on what is missing (compiler, Triton, headers)
        needs = "Triton and a C compiler" if device.type == "cuda" else "a C++ compiler such as g++"
        raise FerKitError(
            f"--compile: torch.compile does not work for {device} on this machine ({first_line(error)}); install "
            f"{needs}, or drop --compile"
        ) from None
    # An epoch has batches of at most two sizes, but growing images, frozen layers and SAM's two passes multiply the
    # number of compilations. Above its limit, 8 by default, torch silently runs uncompiled code.
    limit = "recompile_limit" if hasattr(torch._dynamo.config, "recompile_limit") else "cache_size_limit"
    setattr(torch._dynamo.config, limit, MOST_COMPILATIONS)
    return torch.compile(net, dynamic=False)
