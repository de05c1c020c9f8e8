"""`model=package.module:Class`: networks of the user's own are imported, tried on three faces, and refused in words."""

from __future__ import annotations

import dataclasses
import sys

import pytest
import torch

from fer_kit import models
from fer_kit.config import recipes
from fer_kit.errors import FerKitError

CODE = """
import torch
from torch import nn

class Small(nn.Module):
    def __init__(self, width_mult=1.0):
        super().__init__()
        channels = int(8 * width_mult)
        self.body = nn.Sequential(nn.Conv2d(1, channels, 3), nn.BatchNorm2d(channels), nn.AdaptiveAvgPool2d(1))
        self.head = nn.Linear(channels, 7)

    def forward(self, faces):
        return self.head(self.body(faces).flatten(1))

def small():
    return Small()

class Needs(Small):
    def __init__(self, channels):
        super().__init__()

class Ten(Small):
    def forward(self, faces):
        return torch.zeros(len(faces), 10)

class Infinite(Small):
    def forward(self, faces):
        return super().forward(faces) / 0

class Fails(Small):
    def forward(self, faces):
        return self.head(faces)

class Empty(nn.Module):
    pass

class Frozen(Small):
    def __init__(self):
        super().__init__()
        self.requires_grad_(False)

class Whole(Small):
    def forward(self, faces):
        return super().forward(faces).long()

class Complex(Small):
    def forward(self, faces):
        return super().forward(faces) * 1j

class Detached(Small):
    def forward(self, faces):
        return super().forward(faces).detach()

class TwoRows(Small):
    def forward(self, faces):
        return super().forward(faces)[:2]

class InPlace(Small):
    def forward(self, faces):
        shown = super().forward(faces).exp()
        shown.mul_(2).add_(1)
        return shown

class Lazy(Small):
    def __init__(self):
        super().__init__()
        self.head = nn.LazyLinear(7)

def number():
    return 7

SIZE = 3
"""


@pytest.fixture(autouse=True)
def nets(tmp_path, monkeypatch):
    (tmp_path / "own_nets_for_test.py").write_text(CODE)
    (tmp_path / "own_nets_broken.py").write_text("import a_module_that_nobody_has\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    yield
    sys.modules.pop("own_nets_for_test", None)


def build(name: str, **changes: float):
    recipe = recipes.get("residual")
    return models.build(dataclasses.replace(recipe, model=f"own_nets_for_test:{name}", **changes))


@pytest.mark.parametrize("name", ["Small", "small"])
def test_a_class_or_function_in_the_current_folder_is_built(name):
    torch.manual_seed(0)
    net = build(name)
    after = torch.rand(1)
    assert net.training and net(torch.zeros(2, 1, 48, 48)).shape == (2, 7)
    torch.manual_seed(0)
    __import__("own_nets_for_test").Small()
    assert torch.equal(after, torch.rand(1))  # the trial draws nothing
    assert int(build(name).body[1].num_batches_tracked) == 0  # and leaves no trace


def test_parameters_that_forward_creates_can_be_trained():
    net = build("Lazy")
    net(torch.zeros(2, 1, 48, 48)).sum().backward()
    assert net.head.weight.grad is not None


def test_the_trial_keeps_statistics_and_gradients():
    net = build("Small")
    assert torch.equal(net.body[1].running_mean, torch.zeros(8)) and net.body[1].training
    assert {one.grad for one in net.parameters()} == {None}


def test_arguments_that_it_has_are_given():
    assert build("Small", width_mult=2.0).head.in_features == 16
    with pytest.raises(FerKitError, match="width_mult=2.0: own_nets_for_test:small has no .* set width_mult=1$"):
        build("small", width_mult=2.0)
    with pytest.raises(FerKitError, match="drop_path_prob=0.1: .*:Small has no argument drop_path_prob"):
        build("Small", drop_path_prob=0.1)


def test_it_is_built_without_memory_too():
    with torch.device("meta"):
        assert build("Small").head.weight.is_meta


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Smal", r"no class Smal \(did you mean 'Small'\?\); its networks are: Small, Needs"),
        ("SIZE", "has no class SIZE"),
        ("Needs", "missing 1 required positional argument: 'channels'.*arguments need defaults"),
        ("number", "own_nets_for_test:number returns a int; .* nn.Module"),
        ("Ten", r"own_nets_for_test:Ten returns \(3, 10\) .*\(3, 7\)"),
        ("Infinite", "logits that are not finite"),
        ("Fails", r"fails on faces \(3, 1, 48, 48\): mat1 and mat2"),
        ("Empty", "has no parameters to train"),
        ("Frozen", "no parameter with requires_grad=True"),
        ("Whole", "logits of type torch.int64"),
        ("Complex", "logits of type torch.complex64"),
        ("Detached", "logits without a gradient"),
        ("TwoRows", r"returns \(2, 7\) for three faces"),
        ("InPlace", "fails in the backward pass: one of the variables"),
    ],
)
def test_what_is_no_network_for_faces_is_refused(name, words):
    with pytest.raises(FerKitError, match=words):
        build(name)


@pytest.mark.parametrize("module", ["own_nets_broken", "nowhere.at_all"])
def test_a_module_that_cannot_be_imported_is_named(module):
    config = dataclasses.replace(recipes.get("residual"), model=f"{module}:Net")
    with pytest.raises(FerKitError, match=f"model={module}:Net: {module} cannot be imported .*No module named"):
        models.build(config)
