"""Rates of layers and classifier, freezing, and growing images: what each asks of the optimizer and of an epoch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fer_kit import models
from fer_kit.batches import epoch as batches
from fer_kit.config import recipes
from fer_kit.config.train_config import override
from fer_kit.engine import loop, optim
from fer_kit.engine.device import Precision
from fer_kit.engine.losses import make_loss
from fer_kit.models import fine_tuning
from tests.helpers.timm_files import RESNET, VIT, small

CPU = torch.device("cpu")


def rates(net: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """The rate in force of each parameter."""
    lr_of = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert len(lr_of) == len(list(net.parameters()))
    return {name: lr_of[id(p)] for name, p in net.named_parameters()}


def test_each_layer_learns_slower_than_the_next_and_the_classifier_faster():
    config = small(VIT, "layer_decay=0.5", "head_lr_mult=3", "lr=0.1", "schedule=constant")
    net = models.build(config)
    lr = rates(net, optim.make_optimizer(net, config))
    depth = len(net.body.blocks)
    assert lr["body.head.weight"] == pytest.approx(0.3) and lr["body.norm.weight"] == pytest.approx(0.05)
    for block in range(depth):  # the norm counts to the last one
        assert lr[f"body.blocks.{block}.mlp.fc1.weight"] == pytest.approx(0.1 * 0.5 ** (depth - block))
    assert lr["body.patch_embed.proj.weight"] == pytest.approx(0.1 * 0.5 ** (depth + 1))


@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
def test_a_schedule_moves_all_rates_alike(schedule):
    config = small(RESNET, "head_lr_mult=10", "lr=0.1", f"schedule={schedule}", "warmup_epochs=1", "epochs=4")
    net = models.build(config)
    optimizer = optim.make_optimizer(net, config)
    made = optim.make_schedule(optimizer, config, 10)
    seen = []
    for step in range(40):
        made.before_step(step)
        lr = rates(net, optimizer)
        assert lr["body.fc.bias"] == pytest.approx(10 * lr["body.conv1.0.weight"])
        assert made.lr == pytest.approx(lr["body.conv1.0.weight"])
        seen.append(made.lr)
        made.after_epoch(0.5)
    if schedule == "cosine":
        assert seen[0] == pytest.approx(0.001) and max(seen) == pytest.approx(0.1, rel=1e-2) and seen[-1] < 0.001
    else:
        assert seen[0] == 0.1 and seen[-1] < 0.01


def test_norms_biases_and_what_timm_names_do_not_decay():
    config = small(VIT, "layer_decay=0.9", "weight_decay=0.05")
    net = models.build(config)
    for changed in (config, override(config, ["layer_decay=1", "head_lr_mult=2"]), override(config, ["layer_decay=1"])):
        optimizer = optim.make_optimizer(net, changed)
        decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
        free = {name for name, p in net.named_parameters() if decay[id(p)] == 0}
        assert {"body.cls_token", "body.pos_embed", "body.norm.weight", "body.head.bias"} <= free
        assert "body.head.weight" not in free and "body.blocks.0.attn.qkv.weight" not in free


@pytest.mark.parametrize("recipe", ["residual", "deep_v1"])
def test_at_neutral_values_an_optimizer_is_what_it_was(recipe):
    config = recipes.get(recipe)
    net = models.build(config)
    groups = optim.make_optimizer(net, config).param_groups
    assert all("lr_scale" not in group and group["lr"] == config.lr for group in groups)
    assert len(groups) == (1 if config.decay_norms else 2)


def test_a_faster_classifier_goes_with_our_own_networks_too():
    config = override(recipes.get("deep_v1"), ["head_lr_mult=10"])
    net = models.build(config)
    assert fine_tuning.classifier(net) == (list(dict(net.named_modules()))[-1],)
    lr = rates(net, optim.make_optimizer(net, config))
    assert sorted(set(lr.values())) == pytest.approx([config.lr, 10 * config.lr])
    assert sum(value == max(lr.values()) for value in lr.values()) == 2  # weight and bias


def trained(config, epochs, seed=0):
    """A network after each of so many epochs on 64 images: copies of its state."""
    torch.manual_seed(seed)
    images, labels = torch.randint(0, 256, (64, 48, 48), dtype=torch.uint8), torch.arange(64) % 7
    precision = Precision("fp32", CPU)
    state = loop.start(config, precision, 2)
    states = [{name: value.clone() for name, value in state.net.state_dict().items()}]
    loss_of = make_loss(config, labels.numpy(), CPU)
    for epoch in range(epochs):
        rng = torch.Generator().manual_seed(epoch)
        loop.train_epoch(state, batches.epoch(images, labels, config, rng), loss_of, config, precision)
        states.append({name: value.clone() for name, value in state.net.state_dict().items()})
    return state, states


@pytest.mark.slow
@pytest.mark.parametrize("model", [RESNET, "deep_v1"])
def test_a_frozen_network_changes_in_its_classifier_alone(model):
    own = ("image_px=0", "optimizer=sgd") if model == "deep_v1" else ()
    config = small(model, *own, "weights=hub", "freeze_epochs=2", "epochs=3", "warmup_epochs=0")
    state, (fresh, *frozen, thawed) = trained(config, 3)
    head = fine_tuning.classifier(state.net)
    for after in frozen:
        changed = {name for name in fresh if not torch.equal(fresh[name], after[name])}
        assert changed and all(fine_tuning.belongs(name, head) for name in changed)  # no batch-norm statistic either
    moved = {name for name in fresh if not torch.equal(frozen[-1][name], thawed[name])}
    assert {name for name, _ in state.net.named_parameters()} <= moved
    assert any("running_mean" in name for name in moved)


def test_dropout_of_a_frozen_part_rests():
    net = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 7)))
    fine_tuning.freeze(net.train(), frozen=True)
    assert net.training and not net[1].training and not net[2][0].training and net[2][1].training
    assert [p.requires_grad for p in net.parameters()] == [False, False, True, True]
    fine_tuning.freeze(net.train(), frozen=False)
    assert all(module.training for module in net.modules()) and all(p.requires_grad for p in net.parameters())


def test_images_grow_in_multiples_of_the_stride_and_end_at_full_size():
    config = small(RESNET, "progressive_px=60", "image_px=200", "epochs=6")
    net = models.build(config)
    assert [fine_tuning.px_of_epoch(net, epoch, config) for epoch in range(6)] == [64, 96, 128, 128, 160, 200]
    for epoch in (4, 0):
        fine_tuning.begin_epoch(net, epoch, config)
        assert net.px == [64, 96, 128, 128, 160, 200][epoch]
    assert net.image_px == 200
    once = override(config, ["epochs=1"])
    assert fine_tuning.px_of_epoch(net, 0, once) == 200


def test_training_sees_the_sizes_of_its_epochs_and_prediction_the_full_one():
    config = small(RESNET, "weights=", "freeze_epochs=0", "progressive_px=32", "image_px=96", "epochs=3")
    state, _ = trained(config, 0)
    sides = []
    state.net.body.register_forward_pre_hook(lambda module, given: sides.append(given[0].shape[-1]))
    images, labels = torch.randint(0, 256, (32, 48, 48), dtype=torch.uint8), torch.arange(32) % 7
    loss_of = make_loss(config, labels.numpy(), CPU)
    for epoch in range(3):
        rng = torch.Generator().manual_seed(epoch)
        batch = batches.epoch(images, labels, config, rng)
        loop.train_epoch(state, batch, loss_of, config, Precision("fp32", CPU))
        loop.predict(state.net, images[:4], "none", Precision("fp32", CPU))
    assert sides == [32, 96, 64, 96, 96, 96]
