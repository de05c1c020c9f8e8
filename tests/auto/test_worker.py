"""The worker of `fer-kit auto`: what it measures."""

from __future__ import annotations

import pytest
import torch

from fer_kit.auto import worker
from fer_kit.config import recipes

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")


def test_a_gpu_is_measured_with_the_faces_of_each_epoch():
    air, plain = recipes.get("air"), recipes.get("vgg_small")
    sides = worker.sides_of(air, GPU)
    assert list(sides) == [32, 40, 48] and sum(sides.values()) == air.epochs and min(sides.values()) > 5
    assert worker.sides_of(air, CPU) == {48: air.epochs}
    assert worker.sides_of(plain, GPU) == {48: plain.epochs}


def test_the_rate_is_that_of_all_epochs(tmp_path, monkeypatch):
    """Half of the epochs take half a second an image, the others an eighth: 3.2 images/s together."""
    now = 0.0

    def train_epoch(state, batches, *rest):
        nonlocal now
        now += sum(len(images) * (0.5 if images.shape[-1] == 48 else 0.125) for images, _ in batches)

    monkeypatch.setattr(worker.loop, "train_epoch", train_epoch)
    monkeypatch.setattr(worker.time, "perf_counter", lambda: now)
    monkeypatch.setattr(worker.loop, "predict", lambda *args: advance())

    def advance():
        nonlocal now
        now += 1.0

    monkeypatch.setattr(worker, "sides_of", lambda config, device: {32: 25, 48: 25})
    assert worker.prepare("air_small", "cpu", tmp_path)(1.0)["images_per_second"] == pytest.approx(3.2)
    monkeypatch.setattr(worker, "sides_of", lambda config, device: {48: 50})
    alone = worker.prepare("air_small", "cpu", tmp_path)(1.0)["images_per_second"]
    assert alone == pytest.approx(2.0 / worker.statistics.fmean(worker.work_of_epochs(recipes.get("air_small"))))
