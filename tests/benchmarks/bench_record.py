"""What the benchmarks share: arms in processes of their own, and the head of their records."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fer_kit import revision
from fer_kit.errors import FerKitError
from fer_kit.files import atomic

ROOT = Path(__file__).resolve().parents[2]


def run_arm(module: str, arm: str, *words: str) -> dict[str, Any]:
    """What `python -m tests.benchmarks.<module> --arm <arm> <words>` prints as JSON."""
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", "--arm", arm, *words]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def peak_mb() -> float:
    with contextlib.suppress(OSError):  # Linux; getrusage's figure there starts from that of the parent process
        status = Path("/proc/self/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # macOS counts in bytes


def machine() -> dict[str, Any]:
    model = platform.processor()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    return {"cpu": model, "cores": os.cpu_count(), "load_average": [round(load, 2) for load in os.getloadavg()]}


def headline(host: dict[str, Any]) -> str:
    """The machine in words."""
    return f"{host['cpu']}, {host['cores']} cores, load average {host['load_average'][0]}"


def head(benchmark: str, host: dict[str, Any], measured: Sequence[str], packages: Sequence[str]) -> dict[str, Any]:
    """The first fields of a record: the commit is marked where one of the files `measured` (globs) differs from it."""
    return {
        "benchmark": benchmark,
        "date": datetime.date.today().isoformat(),
        "commit": revision.commit(measured),
        "machine": host,
        "device": "cpu",
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in packages},
        },
    }


def check_at_once(number: int) -> None:
    """Raise FerKitError unless `number` trainings side by side are any."""
    if number < 1:
        raise FerKitError(f"--at-once {number}: no training would ever begin; give 1 or more")


def threads_each(at_once: int) -> str:
    """OMP_NUM_THREADS of each of so many processes that share the cores."""
    return str(max(1, (os.cpu_count() or 1) // at_once))


def keep(path: Path | None, record: dict[str, Any]) -> None:
    """Write the record where a path is given, and say so."""
    if path:
        atomic.write_json(path, record)
        print(f"record: {path}")
