"""Where the trainings of a sweep run: one slot a process, each with its share of the cores or with one GPU."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fer_kit import programs
from fer_kit.errors import FerKitError

MOST = 256
_GPUS = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"


@dataclass(frozen=True)
class Slot:
    """Where one process trains: a name for messages, its environment, and options such as `--device cuda`."""

    name: str
    environ: Mapping[str, str]
    options: tuple[str, ...] = ()


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus(environ: Mapping[str, str] = os.environ) -> int:
    """The GPUs that torch sees with `environ`; asked in a process of its own, so that this one needs no torch.

    Raises:
        FerKitError: torch cannot be imported.
    """
    done = subprocess.run(programs.python("-c", _GPUS), env=dict(environ), capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise FerKitError(f"torch cannot be used here: {last}")
    return int(done.stdout.split()[-1])


def on_cpu(count: int, environ: Mapping[str, str], available: int | None = None) -> list[Slot]:
    """`count` slots that share the cores evenly, one thread each where there are no more cores than slots."""
    each = max(1, (cores() if available is None else available) // count)
    shared = {**environ, "OMP_NUM_THREADS": environ.get("OMP_NUM_THREADS") or str(each)}
    return [Slot("the CPU", shared)] * count


def on_gpus(names: Sequence[str], count: int, environ: Mapping[str, str], available: int | None = None) -> list[Slot]:
    """`count` slots spread evenly over the GPUs, which `names` names; each process sees its own GPU alone."""
    each = max(1, (cores() if available is None else available) // count)
    shared = {**environ, "OMP_NUM_THREADS": environ.get("OMP_NUM_THREADS") or str(each)}
    visible = [word.strip() for word in environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if word.strip()]
    chosen = visible if len(visible) >= len(names) else [str(index) for index in range(len(names))]
    return [
        Slot(
            f"GPU {gpu} ({names[gpu]})" if names[gpu] else f"GPU {gpu}", {**shared, "CUDA_VISIBLE_DEVICES": chosen[gpu]}
        )
        for gpu in (number % len(names) for number in range(count))
    ]


def choose(device: str, at_once: int | None, trainings: int, environ: Mapping[str, str] = os.environ) -> list[Slot]:
    """The slots for `trainings` trainings on `device` (as `--device` of train takes it).

    at_once: how many train side by side; None: one a core on the CPU, one a GPU otherwise.

    Raises:
        FerKitError: `at_once` is out of range.
    """
    check(at_once)
    found = 0 if device == "cpu" else gpus(environ)
    most = max(1, trainings)
    if found and device in ("auto", "cuda"):
        slots = on_gpus([""] * found, min(at_once or found, most), environ)
        return [Slot(slot.name, slot.environ, ("--device", "cuda")) for slot in slots]
    if device not in ("auto", "cpu"):  # one GPU by its number; train says where there is none
        slots = on_cpu(min(at_once or 1, most), environ)
        return [Slot(device, slot.environ, ("--device", device)) for slot in slots]
    slots = on_cpu(min(at_once or cores(), most), environ)
    return [Slot(slot.name, slot.environ, ("--device", "cpu")) for slot in slots]


def check(at_once: int | None) -> None:
    """Refuse a number of trainings side by side that cannot be."""
    if at_once is not None and not 1 <= at_once <= MOST:
        raise FerKitError(f"--at-once {at_once}: give 1 to {MOST}, or auto")


def check_device(device: str) -> None:
    """Refuse a --device that this machine lacks, once and in place of a failure of each training.

    Raises:
        FerKitError: the message lists the devices of this machine.
    """
    if device in ("auto", "cpu"):
        return
    allowed = ["cpu", *(f"cuda:{gpu}" for gpu in range(gpus()))]
    if ("cuda:0" if device == "cuda" else device) not in allowed:
        raise FerKitError(f"--device {device}: this machine has {', '.join(allowed)}; choose one of them or auto")
