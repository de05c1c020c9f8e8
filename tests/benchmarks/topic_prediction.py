"""Prediction with test-time views against bare forward passes, and its memory at its highest."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial

import torch

from fer_kit import models
from fer_kit.config import recipes
from fer_kit.config.networks import known_cost
from fer_kit.engine import loop, views
from fer_kit.engine.device import DTYPES, choose_device, choose_precision
from fer_kit.engine.environment import device_name
from tests.benchmarks import limits
from tests.benchmarks.bench_training import peak_memory_mb
from tests.benchmarks.clocks import CLOCKS
from tests.benchmarks.rows import Found, Plan, Row, ratio

MOST_BATCHES = 2
BARE = "as many forward passes on one fixed batch"


def measure(plan: Plan) -> Found:
    device = choose_device(plan.device)
    fast, config = choose_precision("auto", device), recipes.get(plan.recipe)
    now = CLOCKS[plan.clock]
    torch.backends.cudnn.benchmark = True  # as in training
    batches, size = min(plan.steps, MOST_BATCHES), min(loop.PREDICT_BATCH, plan.rows // 10)
    images = torch.randint(0, 256, (batches * size, 48, 48), dtype=torch.uint8, device=device)
    net = models.build(config).to(device).to(memory_format=torch.channels_last).eval()
    fixed = torch.rand(size, 1, 48, 48, device=device).contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def bare(passes: int) -> None:
        with fast.autocast():
            for _ in range(passes):
                net(fixed)

    def speed(call: Callable[[], object]) -> float:
        began = now()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return len(images) / (now() - began)

    ours: dict[str, list[float]] = {name: [] for name in views.VIEWS}
    other: dict[str, list[float]] = {name: [] for name in views.VIEWS}
    peaks: dict[str, float] = {}
    for turn in range(plan.rounds + 1):  # the first turn warms up
        for name, ways in views.VIEWS.items():
            one = speed(partial(loop.predict, net, images, name, fast))
            two = speed(partial(bare, batches * len(ways)))
            peaks.setdefault(name, peak_memory_mb(device))
            if turn:
                ours[name].append(one)
                other[name].append(two)
    peak = limits.torch_flops(device, DTYPES[fast.name], plan.clock)
    limit = f"FLOPs of the forward passes at the rate of {fast.name} matrix products of torch, measured"
    rows = [
        Row(
            f"prediction {plan.recipe}, views {name} ({len(ways)}), {device.type}",
            statistics.median(ours[name]),
            plan.rate,
            BARE,
            statistics.median(other[name]),
            ratio(ours[name], other[name]),
            limit,
            peak / known_cost(config.model, config.width_mult).flops / len(ways),
            peaks[name],
        )
        for name, ways in views.VIEWS.items()
    ]
    about = {"device": device_name(device), "precision": fast.name, "threads": torch.get_num_threads()}
    return Found(rows, {**about, "images": len(images), "ours": ours, "bare": other, "peak_flops": peak})
