"""Every network and every recipe: shapes, gradients, a round trip through weights on disk."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from fer_kit import models
from fer_kit.batches import epoch as batches
from fer_kit.config import recipes
from fer_kit.config.networks import NETWORKS
from fer_kit.config.train_config import TrainConfig
from fer_kit.engine import loop
from fer_kit.engine.device import Precision, choose_precision
from fer_kit.engine.losses import make_loss
from fer_kit.errors import FerKitError
from fer_kit.models import weights

CPU = torch.device("cpu")
OWN = [name for name in recipes.RECIPES if recipes.get(name).model in NETWORKS]


def build(name: str) -> nn.Module:
    return models.build(TrainConfig(recipe=name, model=name, epochs=1))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_grey_faces_in_logits_out_and_every_weight_gets_a_gradient(name):
    torch.manual_seed(0)
    net = build(name)
    logits = net(torch.randn(4, 1, 48, 48))
    assert logits.shape == (4, 7)
    logits.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


def convolutions(net: nn.Module) -> list[tuple[int, int, int]]:
    return [(m.in_channels, m.out_channels, m.kernel_size[0]) for m in net.modules() if isinstance(m, nn.Conv2d)]


def linears(net: nn.Module) -> list[tuple[int, int]]:
    return [(m.in_features, m.out_features) for m in net.modules() if isinstance(m, nn.Linear)]


def dropouts(net: nn.Module, kind: type[nn.Module]) -> list[float]:
    return [m.p for m in net.modules() if type(m) is kind]


def test_the_study_networks_are_those_of_the_study():
    v1, v2 = build("baseline_v1"), build("baseline_v2")
    assert convolutions(v1) == convolutions(v2) == [(1, 32, 5), (32, 64, 5)]
    assert linears(v1) == [(9216, 128), (128, 7)] and dropouts(v1, nn.Dropout) == [0.3, 0.3]
    assert [out for _, out in linears(v2)] == [512, 256, 128, 7]
    assert dropouts(v2, nn.Dropout2d) == [0.2, 0.2] and set(dropouts(v2, nn.Dropout)) == {0.6}
    d1, d2 = build("deep_v1"), build("deep_v2")
    assert [out for _, out, _ in convolutions(d1)] == [32, 32, 64, 64, 128, 128, 256]
    assert [out for _, out, _ in convolutions(d2)] == [32, 32, 64, 64, 128, 128, 192]
    assert linears(d1) == [(256, 512), (512, 7)] and linears(d2) == [(192, 256), (256, 7)]
    assert dropouts(d1, nn.Dropout) == [0.5] and dropouts(d2, nn.Dropout) == [0.7]
    assert set(dropouts(d2, nn.Dropout2d)) == {0.1} and not dropouts(d1, nn.Dropout2d)
    attention = build("attention")
    assert [out for _, out, size in convolutions(attention) if size == 3] == [32, 32, 64, 64, 128, 128]
    assert linears(attention) == [(128, 256), (256, 7)] and dropouts(attention, nn.Dropout) == [0.5]


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_every_recipe_learns_a_toy_and_its_weights_round_trip(name, tmp_path):
    """Bright against dark: a few steps must lower the loss; saved weights predict the same bits."""
    gentle = {"brightness_frac": 0.0, "contrast_frac": 0.0, "warmup_epochs": 0.0, "lr": min(recipes.get(name).lr, 0.01)}
    config = dataclasses.replace(recipes.get(name), batch_size=8, epochs=3, **gentle)
    torch.manual_seed(0)
    labels = torch.arange(24) % 2 * 3
    images = (labels[:, None, None] * 60 + torch.randint(0, 60, (24, 48, 48))).to(torch.uint8)
    precision = choose_precision("auto", CPU)
    state = loop.start(config, precision, batches.count(len(images), config.batch_size))
    loss_of = make_loss(config, labels.numpy(), CPU)
    losses = []
    for epoch in range(config.epochs):
        rng = torch.Generator().manual_seed(epoch)
        batch = batches.epoch(images, labels, config, rng)
        losses.append(loop.train_epoch(state, batch, loss_of, config, precision)[0])
    assert losses[-1] < losses[0]
    logits = loop.predict(state.averaged_net, images[:4], config.views, precision)
    assert logits.shape == (4, 7)

    weights.save_weights(tmp_path / "model.safetensors", state.averaged_net, {"recipe": name})
    again = models.build(config).to(memory_format=torch.channels_last)
    weights.load_weights(tmp_path / "model.safetensors", again)
    assert (loop.predict(again, images[:4], config.views, precision) == logits).all()


def test_flip_views_make_a_mirror_image_predict_the_same():
    net = build("deep_v2")
    images = torch.randint(0, 256, (8, 48, 48), dtype=torch.uint8)
    precision = Precision("fp32", CPU)
    one, two = (loop.predict(net, x, "flip", precision) for x in (images, images.flip(-1)))
    torch.testing.assert_close(torch.from_numpy(one), torch.from_numpy(two), atol=1e-5, rtol=1e-4)


def test_weights_of_another_network_are_refused(tmp_path):
    weights.save_weights(tmp_path / "w.safetensors", build("deep_v1"), {})
    with pytest.raises(FerKitError, match="w.safetensors: not the weights of Attention"):
        weights.load_weights(tmp_path / "w.safetensors", build("attention"))
    (tmp_path / "w.safetensors").write_bytes(b"nonsense")
    with pytest.raises(FerKitError, match="not the weights of Attention"):
        weights.load_weights(tmp_path / "w.safetensors", build("attention"))
