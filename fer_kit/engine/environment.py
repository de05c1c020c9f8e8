"""The content of env.json: command, commit, versions, device and threads of a run."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from datetime import UTC, datetime
from typing import Any

import torch

from fer_kit.engine.device import Precision

PACKAGES = ("fer_kit", "torch", "torchvision", "timm", "numpy", "albumentations")


def utc_now() -> str:
    """The current time as 2026-01-31T12:00:00Z."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def environment(precision: Precision, command: str, code: str) -> dict[str, Any]:
    """The content of env.json. command: the command line. code: the commit of fer_kit's source code."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # fer_kit runs from a checkout or a kernel bundle
            versions[package] = "not installed"
    return {
        "started": utc_now(),
        "command": command,
        "commit": code,
        "versions": versions,
        "device": device_name(precision.device),
        "precision": precision.name,
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
    }


def device_name(device: torch.device) -> str:
    """`NVIDIA H200`, or the CPU's name and the number of cores that this process may use."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = torch.cpu.get_capabilities().get("cpu_name") if hasattr(torch.cpu, "get_capabilities") else None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name or platform.processor() or platform.machine()}, {cores} cores"
