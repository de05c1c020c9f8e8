"""bf16 and fp32 are tried for networks of depthwise convolutions, and a resumed training keeps what was chosen."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

from fer_kit.config import recipes
from fer_kit.config.train_config import override
from fer_kit.engine import device, precision_trial
from fer_kit.engine.device import Precision
from fer_kit.engine.environment import device_name
from fer_kit.train import job
from tests.helpers.timm_files import RESNET, small

CPU = torch.device("cpu")
BF16 = Precision("bf16", CPU)
DEPTHWISE = override(small("timm/tf_efficientnet_lite0", "image_px=32"), ["precision=auto"])


@pytest.fixture
def seconds(monkeypatch):
    """The CPU seconds that a trial measures."""
    found = {"bf16": 2.0, "fp32": 1.0}
    monkeypatch.setattr(
        precision_trial, "step_seconds", lambda net, faces, tried: [found[precision.name] for precision in tried]
    )
    return found


def test_the_faster_is_chosen_and_said(seconds):
    chosen, line = precision_trial.faster(DEPTHWISE, BF16)
    assert chosen == Precision("fp32", CPU)
    assert line.startswith("precision: fp32") and "8.0 images per CPU second in fp32, 4.0 in bf16" in line
    seconds["fp32"] = 1.95  # a gain within the noise
    assert precision_trial.faster(DEPTHWISE, BF16)[0] == BF16


@pytest.mark.parametrize(
    ("config", "precision"),
    [
        (recipes.get("vgg_small"), BF16),  # no depthwise convolutions but the one of its classifier
        (override(small(RESNET), ["precision=auto"]), BF16),
        (override(DEPTHWISE, ["precision=bf16"]), BF16),
        (DEPTHWISE, Precision("fp32", CPU)),  # a CPU without bf16
        (DEPTHWISE, Precision("bf16", torch.device("cuda:0"))),
    ],
)
def test_nothing_is_tried_elsewhere(config, precision, seconds):
    assert precision_trial.faster(config, precision) == (precision, "")


@pytest.mark.slow
def test_the_trial_measures_both_and_leaves_the_random_numbers_alone():
    state = torch.get_rng_state()
    assert precision_trial.faster(DEPTHWISE, BF16)[1]
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("kept", "begun", "expected"),
    [
        (True, {"device": device_name(CPU), "precision": "fp32"}, "fp32"),
        (True, {"device": device_name(CPU), "precision": "bf16"}, "bf16"),  # begun before there were trials
        (True, {"device": "another CPU", "precision": "fp32"}, "bf16"),
        (True, {"device": device_name(CPU), "precision": "fp16"}, "bf16"),  # which a CPU does not have
        (True, [], "bf16"),
        (False, {"device": device_name(CPU), "precision": "bf16"}, "fp32"),  # no checkpoint: a new trial
    ],
)
def test_a_resumed_training_keeps_its_precision(kept, begun, expected, seconds, tmp_path, monkeypatch):
    monkeypatch.setattr(device, "cpu_has_bf16", lambda: True)
    (tmp_path / "env.json").write_text(json.dumps(begun))
    if kept:
        (tmp_path / "last.pt").touch()
    request = SimpleNamespace(deterministic=False)
    resolved = SimpleNamespace(config=DEPTHWISE, request=request, folder=tmp_path, discards_old=False)
    precision, line = job.precision_of(resolved, CPU)
    assert precision.name == expected and bool(line) != kept
