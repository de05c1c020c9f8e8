"""How long a training takes on this CPU, from one measured step: told from an hour on, with a warning from a day on."""

from __future__ import annotations

import torch

from fer_kit import models
from fer_kit.competition import SIDE_PX
from fer_kit.config.growth import work_of_epochs
from fer_kit.config.networks import NETWORKS, OWN_NAME, TIMM_NAME, known_cost
from fer_kit.config.train_config import TrainConfig
from fer_kit.engine.device import Precision
from fer_kit.engine.precision_trial import BATCH, BATCH_48_PX, step_seconds
from fer_kit.models import cost

HOUR_SECONDS = 3600
DAY_SECONDS = 24 * HOUR_SECONDS
TRIAL_ROWS = 4_000  # suggested for a trial
PASSES = 3  # FLOPs of a training step, as multiples of the forward pass
# A training that needs at most this time at 1 TFLOPS a thread, which few CPUs exceed, is not measured.
SHORT_SECONDS, FASTEST_FLOPS = 120, 1e12


def told(config: TrainConfig, precision: Precision, images: int) -> str:
    """A line for the log if training on `images` rows takes more than an hour on this CPU; otherwise ""."""
    total = estimate(config, precision, images)
    if total > DAY_SECONDS:
        return warning(config, total, images)
    if total < HOUR_SECONDS:
        return ""
    return (
        f"about {total / HOUR_SECONDS:.1f} hours on this CPU, estimated from one step; fer-kit auto --hours H chooses "
        "recipe and epochs for H hours"
    )


def estimate(config: TrainConfig, precision: Precision, images: int) -> float:
    """Seconds of a training on `images` rows on this CPU; 0 for short trainings and on a GPU, which are not measured.

    It is the time of one step, per thread, times images and epochs, less for faces that grow: augmentation, predictions
    and other programs on the machine come on top.
    """
    if precision.device.type != "cpu":
        return 0.0
    threads = torch.get_num_threads()
    work = sum(work_of_epochs(config))  # epochs at full size
    seen = images * work * (2 if config.sam_rho else 1)
    if not OWN_NAME.fullmatch(config.model):  # own networks may read values, which counting on the meta device forbids
        known = known_cost(config.model, config.width_mult) or cost.measure(config)
        if PASSES * known.flops * seen < SHORT_SECONDS * FASTEST_FLOPS * threads:
            return 0.0
    with torch.random.fork_rng(devices=[]):
        net = models.build(config).to(memory_format=torch.channels_last).train()
        faces = torch.randn(BATCH_48_PX if config.model in NETWORKS else BATCH, 1, SIDE_PX, SIDE_PX)
        [seconds] = step_seconds(net, faces, [precision], rounds=1)
    return seconds / len(faces) / threads * seen


def warning(config: TrainConfig, total: float, images: int) -> str:
    """The estimate of `total` seconds, and what to change."""
    ways = ["--device cuda, or a GPU of Kaggle by fer-kit kernels push"]
    if TIMM_NAME.fullmatch(config.model):
        ways.append("a smaller image (--set image_px=64)")
    ways += ["a smaller network", f"fewer epochs than {config.epochs}"]
    if images > TRIAL_ROWS:
        ways.append(f"fewer rows (--set limit_rows={TRIAL_ROWS})")
    rate = total / (images * config.epochs)
    return (
        f"warning: about {total / DAY_SECONDS:.1f} days on this CPU ({rate:.2g} s an image × {images:,} images × "
        f"{config.epochs} epochs, estimated from one step); shorter: {'; '.join(ways)}"
    )
