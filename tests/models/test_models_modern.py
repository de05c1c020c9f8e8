"""The networks for 48 pixels: nothing is thrown away early, place counts, whole branches drop out in training."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest
import torch
from timm.layers import DropPath
from torch import nn

from fer_kit import models
from fer_kit.config import recipes
from fer_kit.config.growth import side_of_epoch, work_of_epochs
from fer_kit.config.networks import NETWORKS
from fer_kit.config.train_config import TrainConfig, override
from fer_kit.errors import FerKitError
from fer_kit.models import cost, fine_tuning
from fer_kit.models.networks.head import PlaceConv, scaled

DROP_PATH_MODELS = [name for name, row in NETWORKS.items() if row.has_drop_path]
WIDTH_MODELS = [name for name, row in NETWORKS.items() if row.has_width]
GROWING_MODELS = [name for name, row in NETWORKS.items() if row.grows]
MODERN = ("residual", "vgg", "wide", "convnext", "air")


def recipe_of(model: str) -> TrainConfig:
    """The model at its own width: air comes in narrower recipes alone."""
    return recipes.get(model) if model in recipes.RECIPES else override(recipes.get(f"{model}_small"), ["width_mult=1"])


def build(name: str, drop_path_prob: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    return models.build(dataclasses.replace(recipe_of(name), drop_path_prob=drop_path_prob))


def probs(net: nn.Module) -> list[float]:
    return [m.drop_prob for m in net.modules() if isinstance(m, DropPath)]


@pytest.mark.parametrize("name", MODERN)
def test_the_first_block_sees_a_large_map_and_the_last_a_small_one(name):
    """Sides of the maps in the order of the convolutions: no ImageNet stem, which would start at 12."""
    sides: list[int] = []
    net = build(name).eval()
    for module in net.features.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda module, given, output: sides.append(output.shape[-1]))
    with torch.inference_mode():
        net(torch.zeros(1, 1, 48, 48))
    sides = [side for side in sides if side > 1]  # squeeze-excitation looks at one number a channel
    assert sorted(sides, reverse=True) == sides
    assert list(dict.fromkeys(sides)) == {"convnext": [24, 12, 6], "air": [47, 23, 11, 5]}.get(name, [48, 24, 12, 6])


@pytest.mark.parametrize("name", ["residual", "vgg", "wide", "air"])
def test_pooling_takes_the_place_of_strides(name):
    assert all(m.stride == (1, 1) for m in build(name).modules() if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize("name", MODERN)
def test_the_head_knows_where_in_the_face_it_looks(name):
    head = build(name).eval().head
    side = head[0].kernel_size[0]
    maps = torch.rand(1, head[0].in_channels, side, side)
    moved = maps.flip(-1)  # the same values elsewhere: an average over places could not tell
    assert not torch.allclose(head(maps), head(moved), atol=1e-4)


@pytest.mark.parametrize("name", DROP_PATH_MODELS)
def test_drop_path_rises_with_depth_and_changes_neither_weights_nor_names(name):
    plain, dropping = build(name), build(name, 0.3)
    assert probs(plain) == [] and not any(isinstance(m, DropPath) for m in plain.modules())
    found = probs(dropping)
    assert found == sorted(found) and found[-1] == pytest.approx(0.3) and 0.0 < found[0] < 0.3
    one, two = plain.state_dict(), dropping.state_dict()
    assert list(one) == list(two) and all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("name", DROP_PATH_MODELS)
def test_branches_are_left_out_in_training_alone(name):
    plain, dropping = build(name), build(name, 0.9)
    for net in (plain, dropping):
        for module in net.modules():  # the same answer to the same face in a batch, unless a branch is missing
            if isinstance(module, (nn.BatchNorm2d, nn.Dropout)):
                module.eval()
            for key in ("gamma", "weight"):  # branches start at 0, where nobody could tell
                given = getattr(module, key, None)
                if isinstance(given, nn.Parameter) and given.ndim == 1:
                    nn.init.ones_(given)
        net.eval()
    x = torch.randn(1, 1, 48, 48).expand(6, -1, -1, -1)
    with torch.inference_mode():
        torch.testing.assert_close(dropping(x), plain(x))
        for module in dropping.modules():
            if isinstance(module, DropPath):
                module.train()
        assert len(dropping(x).round(decimals=3).unique(dim=0)) > 1


def test_drop_path_without_a_residual_branch_is_refused():
    for name in set(NETWORKS) - set(DROP_PATH_MODELS):
        with pytest.raises(FerKitError) as caught:
            override(recipe_of(name), ["drop_path_prob=0.1"])
        assert f"drop_path_prob=0.1: {name} " in str(caught.value)
        assert str(caught.value).endswith("set drop_path_prob=0, or take one of residual, wide, convnext")
    with pytest.raises(FerKitError, match="image_px=96: wide takes faces of 48 pixels; set image_px=0, or take"):
        override(recipes.get("wide"), ["image_px=96"])


@pytest.mark.slow
@pytest.mark.parametrize("name", WIDTH_MODELS)
def test_half_as_wide_costs_about_a_quarter(name):
    """Every layer gets narrower: weights and FLOPs of a layer fall with the square, but for the first and the last."""
    config = recipe_of(name)
    full, half = cost.measure(config), cost.measure(override(config, ["width_mult=0.5"]))
    assert 0.23 < half.parameters / full.parameters < 0.33 and 0.23 < half.flops / full.flops < 0.33
    twice = cost.measure(override(config, ["width_mult=2"]))
    assert 3.5 < twice.flops / full.flops < 4.1
    net = models.build(override(config, ["width_mult=0.125"])).eval()
    assert net(torch.zeros(2, 1, 48, 48)).shape == (2, 7)


def test_channels_come_in_eights_and_not_much_below_what_was_asked_for():
    assert [scaled(32, mult) for mult in (0.125, 0.25, 0.5, 1.0, 1.5)] == [8, 8, 16, 32, 48]
    for channels in (32, 64, 80, 512):
        for mult in (0.3, 0.37, 0.71, 1.0, 1.19):
            assert scaled(channels, mult) % 8 == 0 and scaled(channels, mult) >= 0.9 * channels * mult


def test_networks_of_one_width_say_so():
    for name in [*sorted(set(NETWORKS) - set(WIDTH_MODELS)), "timm/resnet50"]:
        with pytest.raises(FerKitError) as caught:
            override(recipes.get(name), ["width_mult=0.5"])
        assert "width_mult=0.5: " in str(caught.value) and recipes.get(name).model in str(caught.value)
        assert str(caught.value).endswith("one of residual, vgg, wide, convnext, air")


def test_air_pools_before_norm_and_activation():
    kinds = [type(module) for module in build("air").features[2:9]]
    conv = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert kinds == [nn.Conv2d, nn.MaxPool2d, nn.BatchNorm2d, nn.ReLU, *conv]


def test_a_smaller_map_is_weighed_by_the_resized_kernel():
    """A map that is the same everywhere sums to the same; where the head looks goes with the face."""
    net = PlaceConv(8, 8, 5, groups=8, bias=False)
    nn.init.ones_(net.weight)
    for side in (5, 4, 3):
        torch.testing.assert_close(net(torch.ones(1, 8, side, side)), net.weight.sum((2, 3))[None, :, :, None])
    nn.init.zeros_(net.weight)
    net.weight.data[..., 0, 0] = 1.0
    left, right = torch.zeros(1, 8, 3, 3), torch.zeros(1, 8, 3, 3)
    left[..., 0, 0] = right[..., 2, 2] = 1.0
    assert net(left).min() > 0.5 and not net(right).any()


@pytest.mark.parametrize("name", GROWING_MODELS)
def test_growing_networks_take_each_size_of_their_epochs(name):
    net = build(name).train()
    config = override(recipe_of(name), ["progressive_px=24", "epochs=7"])
    fine_tuning.check(config, net)
    sides = [side_of_epoch(epoch, config, 48) for epoch in range(7)]
    assert sides == [24, 32, 32, 32, 40, 48, 48]
    assert work_of_epochs(config) == [(side / 48) ** 2 for side in sides]
    assert work_of_epochs(override(config, ["progressive_px=0"])) == [1.0] * 7
    for side in set(sides):
        net(torch.randn(2, 1, side, side)).sum().backward()
    assert all(weight.grad is not None for weight in net.parameters())
    for px in (4, 48):
        with pytest.raises(FerKitError, match=f"progressive_px={px}: .*give 8 to 47"):
            fine_tuning.check(override(config, [f"progressive_px={px}"]), net)


def test_residual_is_drawn_as_it_was_when_the_first_runs_began():
    """Its runs of the first day go on bit for bit: same names, same draws, in the same order."""
    digest = hashlib.sha256()
    for key, value in build("residual").state_dict().items():
        digest.update(key.encode() + value.numpy().tobytes())
    assert digest.hexdigest()[:16] == "ef897388c8f14beb"


@pytest.mark.parametrize("name", MODERN[:-1])
def test_a_modern_recipe_has_a_modern_training(name):
    recipe = recipes.get(name)
    assert recipe.optimizer == ("adamw" if name == "convnext" else "sgd") and not recipe.decay_norms
    assert recipe.schedule == "cosine" and not recipe.watches  # trains on every row of the other folds
    assert min(recipe.warmup_epochs, recipe.average_decay, recipe.label_smoothing, recipe.mixup_alpha) > 0
    assert min(recipe.flip_prob, recipe.rotation_deg, recipe.shift_frac, recipe.scale_frac) > 0
