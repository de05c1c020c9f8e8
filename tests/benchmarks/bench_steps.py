"""How near the loop comes to bare steps for each recipe, and where the time of a step goes.

    python -m tests.benchmarks.bench_steps --record tests/benchmarks/records/bench_steps.json
    python -m tests.benchmarks.bench_steps --recipes air --profile air

Loop and bare steps (`bench_training`) take turns; the ratio is the median over rounds of processor time. The profile
names the share of each kind of operation in the processor time of bare steps, forward and backward pass together, and
the rate of the network's multiply-adds beside torch's own product of matrices on the same machine.
"""

from __future__ import annotations

import argparse
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from fer_kit import cli, revision
from fer_kit.config import recipes
from fer_kit.config.networks import known_cost
from fer_kit.engine import environment
from fer_kit.engine.device import DTYPES, choose_device, choose_precision
from fer_kit.files import atomic
from tests.benchmarks import bench_training, limits
from tests.benchmarks.clocks import CLOCKS, PROCESSOR

# beginnings of the names of torch's operations; the first match counts
KINDS = {
    "convolutions": ("aten::mkldnn_conv", "aten::conv", "aten::_conv", "aten::thnn_conv"),
    "norms": ("aten::native_batch_norm", "aten::batch_norm", "aten::native_layer_norm", "aten::cudnn_batch_norm"),
    "pooling": ("aten::max_pool", "aten::avg_pool", "aten::adaptive", "aten::mean"),
    "activations": ("aten::relu", "aten::gelu", "aten::threshold", "aten::silu", "aten::clamp"),
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::matmul", "aten::baddbmm"),
    "copies and casts": ("aten::copy_", "aten::_to_copy", "aten::to", "aten::clone", "aten::contiguous"),
}
REST = "rest"


def kind_of(operation: str) -> str:
    """The key of `KINDS` for the name of an operation of torch."""
    return next((kind for kind, starts in KINDS.items() if operation.startswith(starts)), REST)


def shares_of(operations: dict[str, float]) -> dict[str, float]:
    """Share of each kind in the sum of seconds by operation, the largest first."""
    seconds: Counter[str] = Counter()
    for name, spent in operations.items():
        seconds[kind_of(name)] += spent
    total = sum(seconds.values())
    return {kind: round(spent / total, 4) for kind, spent in seconds.most_common()}


def profiled(recipe: str, rows: int, device: torch.device) -> dict[str, Any]:
    """Shares of the kinds of operations in bare steps on `rows` images, and the rate against the measured limit."""
    bare = bench_training.arms(recipe, rows, device, 0)["bare"]
    bare()
    now, began = CLOCKS[PROCESSOR], CLOCKS[PROCESSOR]()
    bare()
    seconds = now() - began
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as found:
        bare()
    operations = {event.key: event.self_cpu_time_total for event in found.key_averages()}
    config, precision = recipes.get(recipe), choose_precision("auto", device)
    cost = known_cost(config.model, config.width_mult).flops * 3  # the backward pass takes the products twice
    peak = limits.torch_flops(device, DTYPES[precision.name], PROCESSOR)
    rate = rows / seconds
    return {
        "recipe": recipe,
        "images_per_cpu_second": round(rate, 1),
        "gflops_an_image": round(cost / 1e9, 4),
        "gflops_per_second": round(rate * cost / 1e9, 1),
        "matrix_product_gflops_per_second": round(peak / 1e9, 1),
        "shares": shares_of(operations),
    }


def ratio(recipe: str, rows: int, rounds: int, device: torch.device) -> dict[str, Any]:
    """Loop over bare steps in processor time: the median and all rounds."""
    arms = bench_training.arms(recipe, rows, device, 0)
    now = CLOCKS[PROCESSOR]
    spent: dict[str, list[float]] = {"bare": [], "loop": []}
    for turn in range(rounds + 1):  # the first turn warms up
        for name, seconds in spent.items():
            began = now()
            arms[name]()
            if turn:
                seconds.append(now() - began)
    ratios = [bare / loop for bare, loop in zip(spent["bare"], spent["loop"], strict=True)]
    return {
        "loop_over_bare": round(statistics.median(ratios), 3),
        "images_per_cpu_second": round(rows / statistics.median(spent["loop"]), 1),
        "all_rounds": [round(value, 3) for value in ratios],
    }


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = cli.parser("python -m tests.benchmarks.bench_steps", "The loop against bare steps, recipe by recipe.")
    parser.add_argument("--recipes", nargs="+", default=list(recipes.RECIPES))
    parser.add_argument("--profile", default="air", help="the recipe whose step is profiled")
    parser.add_argument("--steps", type=int, default=16, help="optimizer steps of each arm in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--record", type=Path, help="write the figures to this JSON file")
    return parser


def body(args: argparse.Namespace) -> None:
    """Measure, print, record."""
    torch.set_num_threads(1)
    device = choose_device("cpu")
    loops = {}
    for recipe in args.recipes:
        rows = args.steps * recipes.get(recipe).batch_size
        loops[recipe] = ratio(recipe, rows, args.rounds, device)
        found = loops[recipe]
        print(
            f"{recipe:<14} {found['loop_over_bare']:.3f} of bare steps, {found['images_per_cpu_second']:,.0f} images/s"
        )
    step = profiled(args.profile, args.steps * recipes.get(args.profile).batch_size, device)
    print(f"{args.profile}: " + ", ".join(f"{kind} {share:.0%}" for kind, share in step["shares"].items()))
    print(f"{step['gflops_per_second']:,.0f} of {step['matrix_product_gflops_per_second']:,.0f} GFLOP/s")
    if args.record:
        command = "python -m tests.benchmarks.bench_steps"
        env = environment.environment(choose_precision("auto", device), command, revision.commit())
        sizes = {"clock": PROCESSOR, "threads": 1, "steps": args.steps, "rounds": args.rounds}
        atomic.write_json(args.record, {"schema": 1, **env, **sizes, "loops": loops, "profile": step})
        print(f"wrote {args.record}")


if __name__ == "__main__":
    raise SystemExit(cli.run(build_parser, body))
