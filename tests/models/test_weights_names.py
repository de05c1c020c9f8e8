"""Weights under other programs' names: matched by prefix, by order and shapes, or refused. Nothing is downloaded."""

from __future__ import annotations

import argparse
import re

import pytest
import safetensors.torch
import torch
import torchvision
from torch import nn

from fer_kit import models
from fer_kit.errors import FerKitError
from fer_kit.models.backbone import Backbone
from fer_kit.pretrained.fit import fitted
from fer_kit.pretrained.names import InDoubtError, Target, by_order
from fer_kit.pretrained.read import read
from tests.helpers.timm_files import RESNET, rgb, small

LITE0 = "timm/tf_efficientnet_lite0"
ONE = torch.ones(3)


def load(model, path):
    config = small(model)
    return fitted(config, models.build(config), read(path), path)


def under(prefix, state):
    return {f"{prefix}{name}": value for name, value in state.items()}


def lightning(state):
    """A checkpoint of Lightning whose module has a loss with class weights beside the network."""
    return {
        "epoch": 3,
        "pytorch-lightning_version": "2.5.0",
        "callbacks": {},
        "state_dict": under("classifier_net.", state) | {"criterion.weight": ONE},
    }


AVERAGE = {"n_averaged": torch.tensor(7)}
WRITTEN = {
    "torchvision --model-ema": lambda state: {
        "model": under("module.", {name: torch.zeros_like(value) for name, value in state.items()}),
        "model_ema": AVERAGE | under("module.", state),
        "args": argparse.Namespace(lr=0.1),
    },
    "AveragedModel of a compiled network": lambda state: AVERAGE | under("module._orig_mod.", state),
    "model_state_dict": lambda state: {"epoch": 1, "model_state_dict": state, "optimizer_state_dict": {"state": {}}},
    "an empty average": lambda state: {"state_dict_ema": {}, "state_dict": state},
    "an average without weights": lambda state: {"model_ema": {"updates": torch.tensor(0)}, "model": state},
    "lightning": lightning,
    "hugging face": lambda state: under("timm_model.", state),
    "DataParallel in a LightningModule": lambda state: {"state_dict": under("model.module.", state)},
}


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN.keys())
def test_files_of_other_programs_are_matched_by_name(written, tmp_path):
    theirs = rgb(RESNET)
    torch.save(written(theirs.state_dict()), tmp_path / "w.pth")
    found = load(RESNET, tmp_path / "w.pth")
    assert found.rule.startswith("matched by name")
    name = "layer4.0.conv2.weight"
    assert torch.equal(found.tensors[f"body.{name}"], theirs.state_dict()[name])
    assert {"fc.weight", "fc.bias"} <= {name.removeprefix("classifier_net.") for name in found.left_out}


def test_prefix_and_tensors_beside_the_network_are_named(tmp_path):
    torch.save(lightning(rgb(RESNET).state_dict()), tmp_path / "w.pth")
    found = load(RESNET, tmp_path / "w.pth")
    assert found.rule == "matched by name after the prefix 'classifier_net.'" and "criterion.weight" in found.left_out


def test_a_file_with_two_copies_of_the_network_is_refused(tmp_path):
    state = rgb(RESNET).state_dict()
    torch.save(under("student.", state) | under("teacher.", state), tmp_path / "w.pth")
    with pytest.raises(FerKitError, match=r"w.pth: .*2 times \('student.', 'teacher.'\); save only one"):
        load(RESNET, tmp_path / "w.pth")


def test_layers_that_the_network_does_not_have_are_no_extras(tmp_path):
    """The file of a network with further layers has all names of the smaller network."""
    torch.save(rgb(RESNET).state_dict() | {"norm_pre.weight": ONE}, tmp_path / "w.pth")
    with pytest.raises(FerKitError, match="1 unexpected: norm_pre.weight"):
        load(RESNET, tmp_path / "w.pth")


def renamed(state):
    """The names of efficientnet_pytorch: blocks are numbered throughout, modules begin with `_`."""
    words = {"conv_stem": "_conv_stem", "conv_head": "_conv_head", "classifier": "_fc"}
    numbers = {"bn1": "_bn0", "bn2": "_bn1", "bn3": "_bn2"}
    blocks, names = list[str](), {}
    for name in state:
        stage = re.match(r"blocks\.\d+\.\d+", name)
        if stage and stage.group() not in blocks:
            blocks.append(stage.group())
        place = f"_blocks.{blocks.index(stage.group())}." if stage else ""
        module, _, leaf = name.removeprefix(stage.group() + "." if stage else "").rpartition(".")
        names[name] = f"{place}{words.get(module, numbers.get(module, f'_{module}'))}.{leaf}"
    return {names[name]: value for name, value in state.items()}


@pytest.mark.slow
def test_names_of_efficientnet_pytorch_are_matched_by_order_and_shapes(tmp_path):
    theirs = rgb(LITE0)
    torch.save(renamed(theirs.state_dict()), tmp_path / "w.pth")
    found = load(LITE0, tmp_path / "w.pth")
    assert found.rule.startswith("matched by order and shapes (_conv_stem.weight as conv_stem.weight")
    assert found.left_out == ("_fc.weight", "_fc.bias")
    for name, value in theirs.state_dict().items():
        if not name.startswith(("classifier", "conv_stem")):
            assert torch.equal(found.tensors[f"body.{name}"], value), name

    safetensors.torch.save_file(renamed(theirs.state_dict()), tmp_path / "w.safetensors")
    with pytest.raises(FerKitError, match="safetensors sorts the names: save .* by torch.save"):
        load(LITE0, tmp_path / "w.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("mobilenet_v2", "mobilenetv2_100"), ("efficientnet_b0", "efficientnet_b0"), ("mnasnet1_0", "mnasnet_100")],
)
def test_a_network_of_torchvision_gives_the_same_features(theirs, ours, tmp_path):
    torch.manual_seed(0)
    net = torchvision.models.get_model(theirs, weights=None).eval()
    torch.save(net.state_dict(), tmp_path / "w.pth")
    backbone = Backbone(ours, image_px=64).eval()
    found = load(f"timm/{ours}", tmp_path / "w.pth")
    backbone.load_state_dict(found.tensors, strict=False)
    grey, features = torch.randn(2, 1, 64, 64), []
    for network, classifier, images in (
        (net, net.classifier, grey.expand(-1, 3, -1, -1)),
        (backbone.body, backbone.body.classifier, grey),
    ):
        with torch.no_grad(), classifier.register_forward_pre_hook(lambda _, given: features.append(given[0])):
            network(images)
    torch.testing.assert_close(features[1], features[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("theirs", "ours"), [("efficientnet_b0", "mobilenetv2_100"), ("resnet18", "resnet34")])
def test_another_network_of_torchvision_is_refused_with_its_keys(theirs, ours, tmp_path):
    torch.save(torchvision.models.get_model(theirs, weights=None).state_dict(), tmp_path / "w.pth")
    with pytest.raises(FerKitError, match=rf"not the weights of timm/{ours}: \d+ missing: "):
        load(f"timm/{ours}", tmp_path / "w.pth")


def state(*names, side=4):
    return {name: torch.zeros(side, side) for name in names}


@pytest.mark.parametrize(
    ("file", "network", "fits"),
    [
        (("a.0.weight", "a.1.weight"), ("b.1.weight", "b.2.weight"), True),
        (("a.1.weight", "a.0.weight"), ("b.1.weight", "b.2.weight"), None),  # the file counts down
        (("att.query.weight", "att.key.weight"), ("qkv.0.weight", "qkv.1.weight"), None),
        (("att.query.weight", "att.key.weight"), ("a.query.weight", "a.key.weight"), True),
        (("att.query.weight", "att.key.weight"), ("a.key.weight", "a.query.weight"), None),
        (("a.0.weight", "a.1.bias"), ("b.0.weight", "b.1.weight"), False),
        (("a.0.weight",), ("b.0.weight", "b.1.weight"), False),
    ],
)
def test_order_counts_only_where_numbers_or_words_confirm_it(file, network, fits):
    """None: shapes fit, but the layers could be meant the other way round."""
    target = Target(state(*network))
    if fits is None:
        with pytest.raises(InDoubtError, match=f"{file[0].removesuffix('.weight')} and "):
            by_order(state(*file), target)
    else:
        assert (by_order(state(*file), target) is not None) == fits


@pytest.mark.slow
def test_networks_that_timm_loads_loosely_are_not_left_random(tmp_path):
    """timm's DLA ignores names that it does not know: nothing would be loaded, without an error."""
    torch.save(under("other.", rgb("dla46x_c").state_dict()) | {"a.weight": ONE, "b.weight": ONE}, tmp_path / "w.pth")
    found = load("timm/dla46x_c", tmp_path / "w.pth")  # the network is whole, below a prefix
    assert found.rule.endswith("'other.'")
    nonsense = {f"x{number}.weight": value for number, value in enumerate(rgb("dla46x_c").state_dict().values())}
    torch.save(nonsense, tmp_path / "w.pth")
    with pytest.raises(FerKitError, match=r"not the weights of timm/dla46x_c: \d+ missing: .*unexpected"):
        load("timm/dla46x_c", tmp_path / "w.pth")


def test_own_networks_take_files_with_prefix_and_other_names(tmp_path):
    config = small("deep_v1", "image_px=0")
    net = models.build(config)
    torch.save({"state_dict": under("net.", net.state_dict()) | {"loss.weight": ONE}}, tmp_path / "w.pth")
    found = fitted(config, models.build(config), read(tmp_path / "w.pth"), tmp_path / "w.pth")
    assert all(torch.equal(found.tensors[name], value) for name, value in net.state_dict().items())
    assert isinstance(net, nn.Module) and found.left_out == ("loss.weight",)
