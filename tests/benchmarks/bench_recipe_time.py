"""CPU time per training image of every ready recipe: `python -m tests.benchmarks.bench_recipe_time`.

A forward and a backward pass of one batch, in the precision that a training would choose, on one thread; the least of
some rounds. CPU time and not time on the wall, so that other programs on the machine matter little; augmentation and
optimizer, which take a few percent, are not in it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from fer_kit import cli, models
from fer_kit.competition import SIDE_PX
from fer_kit.config import recipes, recipes_timm
from fer_kit.config.networks import NETWORKS
from fer_kit.engine.device import choose_precision
from fer_kit.engine.precision_trial import BATCH, BATCH_48_PX, faster, step_seconds
from tests.benchmarks import bench_record

MEASURED = (
    "fer_kit/config/*.py",
    "fer_kit/models/*.py",
    "fer_kit/engine/precision_trial.py",
    "tests/benchmarks/bench_r*.py",
)


def measure(name: str) -> dict[str, Any]:
    """Precision and CPU milliseconds per image of one recipe."""
    config = recipes.get(name)
    precision, _ = faster(config, choose_precision(config.precision, torch.device("cpu")))
    net = models.build(config).to(memory_format=torch.channels_last).train()
    images = BATCH_48_PX if config.model in NETWORKS else BATCH
    [seconds] = step_seconds(net, torch.randn(images, 1, SIDE_PX, SIDE_PX), [precision])
    return {"precision": precision.name, "batch": images, "cpu_ms_an_image": float(f"{1000 * seconds / images:.3g}")}


def build_parser() -> argparse.ArgumentParser:
    parser = cli.parser("python -m tests.benchmarks.bench_recipe_time", "Measure the CPU time per image of recipes.")
    ready = [*recipes.RECIPES, *(recipes_timm.PREFIX + name for name in recipes_timm.READY)]
    parser.add_argument("recipe", nargs="*", default=ready, help="recipes; default: all ready ones")
    parser.add_argument("--record", type=Path, help="write a JSON record here")
    return parser


def body(args: argparse.Namespace) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    record = bench_record.head("recipe_time", bench_record.machine(), MEASURED, ("torch", "timm"))
    record["recipes"] = {}
    for name in args.recipe:
        found = record["recipes"][name] = measure(name)
        print(f"{name:36} {found['precision']:>5} {found['cpu_ms_an_image']:>10,.2f} CPU ms an image", flush=True)
        bench_record.keep(args.record, record)


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
