"""The devices of a session, detected by torch in a separate process, so that this process takes no GPU memory.

`python -m kernels.inside.devices` prints one JSON line.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fer_kit import programs
from fer_kit.engine.environment import device_name
from fer_kit.errors import FerKitError, first_line
from kernels.inside.accelerators import KNOWN, Accelerator

PROBE_SECONDS = 300.0


@dataclass(frozen=True)
class Gpu:
    """A GPU. name: torch's name. precision: fer_kit's choice. fault: why the GPU cannot compute, "" if it can."""

    name: str
    memory_gib: float
    precision: str
    fault: str = ""


@dataclass(frozen=True)
class Found:
    """Devices of a session: GPUs, name of the CPU and precision on it, usable cores, version of torch."""

    gpus: tuple[Gpu, ...]
    cpu: str
    cpu_precision: str
    cores: int
    torch: str

    def __str__(self) -> str:
        if not self.gpus:
            return f"no GPU; {self.cpu}, {self.cpu_precision}"
        names = {gpu.name: gpu for gpu in self.gpus}
        count = {name: sum(gpu.name == name for gpu in self.gpus) for name in names}
        parts = (f"{count[name]} × {name} ({gpu.memory_gib:.0f} GiB, {gpu.precision})" for name, gpu in names.items())
        return ", ".join(parts)


def detect() -> Found:
    """Detect the devices of this machine; imports torch and takes some memory on each GPU."""
    import torch

    from fer_kit.engine.device import choose_precision

    gpus = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        device = torch.device("cuda", index)
        properties = torch.cuda.get_device_properties(device)
        fault = ""
        try:  # torch also lists GPUs that it has no kernels for
            torch.ones(8, device=device).sum().item()
        except RuntimeError as error:
            fault = first_line(error)
        chosen = choose_precision("auto", device).name
        gpus.append(Gpu(properties.name, properties.total_memory / 2**30, chosen, fault))
    cpu = torch.device("cpu")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Found(tuple(gpus), device_name(cpu), choose_precision("auto", cpu).name, cores, str(torch.__version__))


def probe(environ: Mapping[str, str]) -> Found:
    """Run `detect` in a separate process.

    Raises:
        FerKitError: the process failed; the message shows its last line.
    """
    command = programs.python("-m", "kernels.inside.devices")
    try:
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        raise FerKitError(f"torch did not find its devices within {PROBE_SECONDS:.0f} s; push again") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise FerKitError(f"torch cannot be used in this session: {last}")
    record: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    gpus = tuple(Gpu(**gpu) for gpu in record.pop("gpus"))
    return Found(gpus=gpus, **record)


def check(requested: str, found: Found, folds: int, allow_cpu: bool) -> list[str]:
    """Compare the requested accelerator with the devices found; returns a line for each difference.

    Raises:
        FerKitError: a GPU was requested, but no GPU can compute; training on the CPU would take the whole session.
    """
    wanted = KNOWN.get(requested, Accelerator(requested, requested, 1))
    for gpu in found.gpus:
        if gpu.fault:
            raise FerKitError(
                f"this session has a {gpu.name}, which torch {found.torch} does not support ({gpu.fault}); "
                "push again with --accelerator NvidiaTeslaT4"
            )
    if not found.gpus:
        if wanted.count == 0:
            return []
        if not allow_cpu:
            raise FerKitError(
                f"{requested} ({wanted}) was requested, but this session has no GPU, and {folds} "
                f"fold{'s' if folds > 1 else ''} on the CPU would not finish in time; check that GPU hours are left "
                "(kaggle quota) and that the account is verified by phone, then push again, or set ALLOW_CPU = True"
            )
        return [f"warning  {requested} ({wanted}) was requested; training on the CPU, since ALLOW_CPU is set"]
    if wanted.count == 0:
        return [f"note     no accelerator was requested, but the session has one, which is used: {found}"]
    right = [gpu for gpu in found.gpus if wanted.model.lower() in gpu.name.lower()]
    if len(right) != len(found.gpus) or len(found.gpus) != wanted.count:
        return [f"warning  {requested} ({wanted}) was requested, but Kaggle gave {found}; training continues"]
    return []


if __name__ == "__main__":
    import dataclasses

    print(json.dumps(dataclasses.asdict(detect())))
