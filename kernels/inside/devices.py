"""What a session runs on: asked of torch in a process of its own, so that the one that only waits holds no GPU memory.

`python -m kernels.inside.devices` prints one JSON line.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fer_kit.engine.environment import device_name
from fer_kit.errors import FerKitError, first_line
from kernels.inside.accelerators import KNOWN, Accelerator

PROBE_SECONDS = 300.0


@dataclass(frozen=True)
class Gpu:
    """name as torch gives it, memory in GiB, precision that fer_kit chooses on it, fault: why it cannot compute."""

    name: str
    memory_gib: float
    precision: str
    fault: str = ""


@dataclass(frozen=True)
class Found:
    """What a session has: its GPUs, the CPU with the precision chosen there, the cores it may use, torch's version."""

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
        told = (f"{count[name]} × {name} ({gpu.memory_gib:.0f} GiB, {gpu.precision})" for name, gpu in names.items())
        return ", ".join(told)


def look() -> Found:
    """Look at this machine; brings torch, and takes a little memory of each GPU."""
    import torch

    from fer_kit.engine import device as precision

    gpus = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        device = torch.device("cuda", index)
        properties = torch.cuda.get_device_properties(device)
        fault = ""
        try:  # a GPU that this torch has no code for is listed like any other
            torch.ones(8, device=device).sum().item()
        except RuntimeError as error:
            fault = first_line(error)
        chosen = precision.choose("auto", device).name
        gpus.append(Gpu(properties.name, properties.total_memory / 2**30, chosen, fault))
    cpu = torch.device("cpu")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Found(tuple(gpus), device_name(cpu), precision.choose("auto", cpu).name, cores, str(torch.__version__))


def probe(environ: Mapping[str, str]) -> Found:
    """What `look` finds in a process of its own.

    Raises:
        FerKitError: that process failed; its last line is shown.
    """
    command = [sys.executable, "-m", "kernels.inside.devices"]
    try:
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        raise FerKitError(f"torch did not find its devices within {PROBE_SECONDS:.0f} s; push again") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        raise FerKitError(f"torch cannot be used in this session: {last}")
    record: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    gpus = tuple(Gpu(**gpu) for gpu in record.pop("gpus"))
    return Found(gpus=gpus, **record)


def check(asked: str, found: Found, folds: int, allow_cpu: bool) -> list[str]:
    """What to tell about the difference between asked and found, one line each; nothing where they agree.

    Raises:
        FerKitError: a GPU was asked for and there is none that computes: training on the CPU would use the session up.
    """
    wanted = KNOWN.get(asked, Accelerator(asked, asked, 1))
    for gpu in found.gpus:
        if gpu.fault:
            raise FerKitError(
                f"this session has a {gpu.name}, which its torch {found.torch} does not run on ({gpu.fault}); "
                "push again with --accelerator NvidiaTeslaT4"
            )
    if not found.gpus:
        if wanted.count == 0:
            return []
        if not allow_cpu:
            raise FerKitError(
                f"{asked} ({wanted}) was asked for and this session has no GPU; {folds} fold{'s' if folds > 1 else ''}"
                " on its CPU would not end in time. Are GPU hours left (kaggle quota), and is the account verified by"
                " phone? Push again, or set ALLOW_CPU = True"
            )
        return [f"warning  {asked} ({wanted}) was asked for, training on the CPU since ALLOW_CPU is set"]
    if wanted.count == 0:
        return ["note     no accelerator was asked for, and there is one: it is used"]
    right = [gpu for gpu in found.gpus if wanted.model.lower() in gpu.name.lower()]
    if len(right) != len(found.gpus) or len(found.gpus) != wanted.count:
        return [f"warning  asked was {asked} ({wanted}), found is {found}: Kaggle gave another machine; going on"]
    return []


if __name__ == "__main__":
    import dataclasses

    print(json.dumps(dataclasses.asdict(look())))
