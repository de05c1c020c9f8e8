"""A short training of one fold, and what it must leave."""

from __future__ import annotations

import json
from pathlib import Path

RECIPE = ["--recipe", "deep_v3", "--set", "epochs=3", "batch_size=32", "limit_rows=96", "--tag", "t", "--device", "cpu"]


FILES = {
    "config.json",
    "env.json",
    "metrics.jsonl",
    "log.txt",
    "model.safetensors",
    "oof.npz",
    "test.npz",
    "result.json",
}


def products(folder: Path) -> dict[str, object]:
    """Everything in a finished folder that must repeat bit for bit."""
    found: dict[str, object] = {
        name: (folder / name).read_bytes() for name in ("model.safetensors", "oof.npz", "test.npz")
    }
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    found["metrics"] = [{k: v for k, v in line.items() if "second" not in k} for line in lines]
    return found
