"""--deterministic: what a GPU needs for it is set, and what cannot repeat is said in one line."""

from __future__ import annotations

import os

import pytest
import torch
from torch import nn

from fer_kit import models
from fer_kit.config import recipes
from fer_kit.engine import device
from fer_kit.train import __main__ as train

COMMAND = [
    "--recipe",
    "baseline_v1",
    "--set",
    "epochs=1",
    "limit_rows=64",
    "--tag",
    "d",
    "--fold",
    "0",
    "--device",
    "cpu",
]


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(("there", "then"), [("", ":4096:8"), (":16:8", ":16:8"), (":0:0", ":4096:8")])
def test_cublas_gets_the_workspace_without_which_torch_refuses_every_product_on_a_gpu(there, then, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", there)
    with device.algorithms(deterministic=True):
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == then and torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("strict", [False, True])
def test_afterwards_torch_has_the_settings_of_its_user(strict, monkeypatch):
    """The next training of a notebook must not inherit --deterministic."""
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", strict)
    torch.use_deterministic_algorithms(strict, warn_only=strict)
    for deterministic in (True, False):
        with pytest.raises(KeyError), device.algorithms(deterministic):
            assert torch.backends.cudnn.benchmark is not deterministic
            raise KeyError
        assert torch.are_deterministic_algorithms_enabled() is torch.backends.cudnn.benchmark is strict
        assert torch.is_deterministic_algorithms_warn_only_enabled() is strict


def test_a_run_asks_for_it_before_the_first_step(competition_dir, runs_dir, monkeypatch):
    seen = []
    build = models.build

    def built(config):
        seen.append((torch.are_deterministic_algorithms_enabled(), os.environ["CUBLAS_WORKSPACE_CONFIG"]))
        return build(config)

    monkeypatch.setattr(models, "build", built)
    place = ["--data", str(competition_dir), "--runs", str(runs_dir)]
    assert train.main([*COMMAND, *place, "--deterministic"]) == 0
    assert seen[-1] == (True, ":4096:8") and not torch.are_deterministic_algorithms_enabled()


class Unrepeatable(nn.Module):
    """An operation that torch refuses on CPUs, too."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            torch.zeros(4).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))
        return x


def test_what_cannot_repeat_is_one_line(competition_dir, runs_dir, monkeypatch, capsys):
    build = models.build
    monkeypatch.setattr(models, "build", lambda config: nn.Sequential(Unrepeatable(), build(config)))
    place = ["--data", str(competition_dir), "--runs", str(runs_dir)]
    assert train.main([*COMMAND, *place, "--deterministic"]) == 2
    error = capsys.readouterr().err
    assert "fold0: --deterministic: put_ " in error
    assert "choose another recipe" in error and error.count("\n") == 1


def test_no_network_of_ours_has_a_layer_that_cannot_repeat_on_a_gpu():
    """Those of torch's list; adaptive pooling to one place is a mean, which can."""
    for name in recipes.RECIPES:
        for module in models.build(recipes.get(name)).modules():
            assert not isinstance(module, (nn.AdaptiveMaxPool2d, nn.FractionalMaxPool2d, nn.ReflectionPad2d)), name
            assert not isinstance(module, nn.AdaptiveAvgPool2d) or module.output_size == 1, name


def test_the_baselines_pooling_is_the_adaptive_one():
    x = torch.randn(3, 64, 12, 12)
    torch.testing.assert_close(nn.AvgPool2d(2)(x), nn.AdaptiveAvgPool2d(6)(x))
