"""Training end to end against bare steps, the plain loop, timm's loader and Lightning's Trainer."""

from __future__ import annotations

import torch

from fer_kit.batches import epoch
from fer_kit.config import recipes
from fer_kit.config.networks import known_cost
from fer_kit.engine.device import DTYPES, choose_device, choose_precision
from fer_kit.engine.environment import device_name
from tests.benchmarks import bench_training, limits, loaders
from tests.benchmarks.rows import Found, Plan, Row

WORKERS = 2
OTHERS = {
    "bare": "the same steps on one fixed batch, nothing read or augmented",
    "plain": f"DataLoader with {WORKERS} workers, per-image torchvision transforms, float32",
    "timm": f"our steps on the batches of timm.data.create_loader, {WORKERS} workers",
    "lightning": "Lightning's Trainer on the plain loop's DataLoader, in our number format",
    "trainer": "Lightning's Trainer on our batches",
}
FORWARD_AND_BACKWARD = 3  # a backward pass takes the products of the forward pass twice
NO_LIGHTNING = "Lightning's Trainer: lightning is not installed (pip install 'fer_kit[bench]')"
NO_GPU = "training and prediction on a GPU: there is none here (the same command measures on one)"


def measure(plan: Plan) -> Found:
    device = choose_device(plan.device)
    fast, config = choose_precision("auto", device), recipes.get(plan.recipe)
    rows = plan.steps * config.batch_size
    found = bench_training.measure(plan.recipe, rows, plan.rounds, device, WORKERS, plan.clock)
    speeds = found["images_per_second"]
    peak = limits.torch_flops(device, DTYPES[fast.name], plan.clock)
    cost = known_cost(config.model, config.width_mult).flops * FORWARD_AND_BACKWARD
    limit = f"FLOPs of forward and backward pass at the rate of {fast.name} matrix products of torch, measured"
    lines = [
        Row(
            f"training {plan.recipe}, {device.type}",
            speeds["loop"],
            plan.rate,
            about,
            speeds[other],
            found[f"loop_over_{other}"],
            limit,
            peak / cost,
            found["loop_peak_mb"],
        )
        for other, about in OTHERS.items()
        if other in speeds
    ]
    left_out = [*([] if loaders.has_lightning() else [NO_LIGHTNING]), *([] if device.type == "cuda" else [NO_GPU])]
    about = {"device": device_name(device), "precision": fast.name, "threads": torch.get_num_threads()}
    sizes = {"rows": rows, "steps": epoch.count(rows, config.batch_size), "peak_flops": peak, "flops_an_image": cost}
    return Found(lines, {**about, **sizes, **found}, left_out)
