"""Trainings of more than an hour on a CPU are told with an estimate, those of more than a day with what to change."""

from __future__ import annotations

import pytest
import torch

from fer_kit.config import recipes
from fer_kit.config.train_config import override
from fer_kit.engine import duration
from fer_kit.engine.device import Precision
from tests.helpers.timm_files import RESNET, small

CPU = Precision("fp32", torch.device("cpu"))
ROWS = 22_967


@pytest.fixture
def seconds(monkeypatch):
    """The CPU seconds of a step of 8 images."""
    found = [8.0]
    monkeypatch.setattr(duration, "step_seconds", lambda net, faces, tried, rounds: found)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    return found


def test_more_than_a_day_is_announced_with_what_to_change(seconds):
    config = override(recipes.get("timm/tf_efficientnet_lite0"), ["epochs=1000"])
    line = duration.told(config, CPU, ROWS)  # 1 s an image on two threads
    assert line.startswith("warning: about 132.9 days on this CPU (0.5 s an image × 22,967 images × 1000 epochs")
    for way in ("kernels push", "image_px=64", "limit_rows=4000", "fewer epochs than 1000"):
        assert way in line
    seconds[0] = 8 * 0.99 * 2 * 86_400 / (ROWS * 1000)
    assert duration.told(config, CPU, ROWS).startswith("about 23.8 hours on this CPU, estimated from one step; fer-kit")
    seconds[0] /= 24
    assert duration.told(config, CPU, ROWS) == ""  # 0.99 hours


def test_faces_that_grow_take_less_time(seconds):
    growing = recipes.get("air")
    seconds[0] = 64 * 0.01 * 2
    whole, less = (duration.estimate(one, CPU, ROWS) for one in (override(growing, ["progressive_px=0"]), growing))
    assert whole == pytest.approx(0.01 * ROWS * 50) and 0.5 * whole < less < 0.8 * whole


@pytest.mark.parametrize(
    ("config", "precision"),
    [
        (recipes.get("vgg_small"), CPU),  # too few FLOPs for a day
        (small(RESNET), CPU),
        (override(recipes.get("vgg"), ["epochs=10000"]), Precision("fp16", torch.device("cuda:0"))),
    ],
)
def test_short_trainings_and_those_on_a_gpu_are_not_measured(config, precision, seconds):
    assert duration.told(config, precision, 1_000) == ""


def test_the_random_numbers_of_the_training_stay_as_they_are(seconds):
    state = torch.get_rng_state()
    assert "days" in duration.told(override(recipes.get("vgg"), ["epochs=10000"]), CPU, ROWS)
    assert torch.equal(torch.get_rng_state(), state)
