"""GPU memory of the ready timm recipes, estimated without a GPU: `python -m tests.benchmarks.bench_backbones`.

A forward pass in training keeps tensors for the backward pass. torch's saved-tensor hooks show them; each storage
counts once, weights not at all. That of 4 images less that of 2, halved, is what an image adds. The estimate for a
recipe is

    batch × that × 1.25 + five copies of the weights (weights, gradients, two moments of AdamW, average)

The 1.25 is for what comes and goes beside it (gradients of activations, workspaces). Everything is float32 here; under
fp16, as a T4 computes, convolutions and matrix products keep half of it, so the estimate is high rather than low.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fer_kit import cli, models
from fer_kit.config import recipes
from fer_kit.config.recipes_timm import PREFIX, READY
from fer_kit.config.train_config import TrainConfig
from tests.benchmarks import bench_record

MEASURED = ("fer_kit/config/recipes_timm.py", "fer_kit/models/backbone.py", "tests/benchmarks/bench_backbones.py")
BESIDE, WEIGHT_COPIES = 1.25, 5


def kept_bytes(net: nn.Module, images: int) -> int:
    """What a forward pass of so many images keeps for the backward pass, weights aside."""
    weights = {weight.untyped_storage().data_ptr() for weight in net.parameters()}
    kept: dict[int, tuple[int, Tensor]] = {}  # the tensors too: a storage that is freed may come again at its address

    def look(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(look, lambda tensor: tensor):
        answer = net(torch.randn(images, 1, 48, 48))
    del answer
    return sum(size for size, _ in kept.values())


def measure(config: TrainConfig) -> dict[str, Any]:
    """Sizes of one recipe."""
    net = models.build(config).train()
    an_image = (kept_bytes(net, 4) - kept_bytes(net, 2)) / 2
    parameters = sum(weight.numel() for weight in net.parameters())
    total = config.batch_size * an_image * BESIDE + WEIGHT_COPIES * 4 * parameters
    return {
        "model": config.model,
        "image_px": net.image_px,
        "batch_size": config.batch_size,
        "parameters": parameters,
        "kept_mib_an_image": round(an_image / 2**20, 1),
        "estimated_gib": round(total / 2**30, 1),
    }


def build_parser() -> argparse.ArgumentParser:
    parser = cli.parser("python -m tests.benchmarks.bench_backbones", "Estimate the memory that timm recipes need.")
    parser.add_argument("recipe", nargs="*", default=[PREFIX + name for name in READY], help="timm/NAME")
    parser.add_argument("--record", type=Path, help="write a JSON record here")
    return parser


def body(args: argparse.Namespace) -> None:
    host = bench_record.machine()
    record = bench_record.head("backbones", host, MEASURED, ("torch", "timm"))
    record["recipes"] = {}
    print(f"{'recipe':36} {'px':>4} {'batch':>5} {'M parameters':>12} {'MiB an image':>12} {'GiB in all':>10}")
    for name in args.recipe:
        found = record["recipes"][name] = measure(recipes.get(name))
        print(
            f"{name:36} {found['image_px']:>4} {found['batch_size']:>5} {found['parameters'] / 1e6:>12.1f}"
            f" {found['kept_mib_an_image']:>12.1f} {found['estimated_gib']:>10.1f}",
            flush=True,
        )
    bench_record.keep(args.record, record)


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
