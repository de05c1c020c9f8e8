"""The loop itself: what it counts, and that its techniques do what they say and nothing where they are off."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.transforms.v2 import MixUp

from fer_kit.batches import epoch
from fer_kit.config import recipes
from fer_kit.config.train_config import override
from fer_kit.engine import averaging, device, loop, losses, optim
from fer_kit.errors import FerKitError
from fer_kit.train import checkpoints
from tests.helpers.toy_training import CPU, EXACT, PLAIN, Oracle, drawn, small_net, start, train, weights


def test_accuracy_under_mixup_counts_the_heavier_image():
    torch.manual_seed(0)
    config = recipes.get("residual")
    labels = torch.arange(56) % 7
    images = torch.zeros(56, 1, 48, 48)
    images[torch.arange(56), 0, 0, labels] = 1.0  # mixed images hold the mixed targets
    _, _, accuracy = train(Oracle(), config, [(images, labels)] * 40)
    assert accuracy == 1.0


def test_without_techniques_the_loop_is_the_plain_one_bit_for_bit():
    """What finished runs were trained with, written out: same weights, same average, same draws."""
    config = recipes.get("residual")
    groups = drawn([16, 16, 15])
    state, loss, _ = train(small_net(), config, groups)
    after = torch.get_rng_state()

    net = small_net()
    average = copy.deepcopy(net)
    optimizer = optim.make_optimizer(net, config)
    schedule = optim.make_schedule(optimizer, config, 8)
    torch.manual_seed(2)
    mixup = MixUp(alpha=0.2, num_classes=7)
    total = 0.0
    net.train()
    for step, (x, labels) in enumerate(groups):
        schedule.before_step(step)
        inputs, targets = mixup(x, labels)
        batch_loss = F.cross_entropy(net(inputs).float(), targets, torch.ones(7), label_smoothing=0.1)
        batch_loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        total += batch_loss.item() * len(x)
        decay = min(0.998, 1 - (1 + step) ** (-2 / 3))  # timm's ModelEmaV3 with warm-up
        with torch.no_grad():
            for mean, value in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
                mean.lerp_(value, 1 - decay) if mean.is_floating_point() else mean.copy_(value)
    assert torch.equal(weights(state.net), weights(net))
    assert torch.equal(weights(state.averaged_net), weights(average))
    assert torch.equal(after, torch.get_rng_state())
    assert loss == pytest.approx(total / 47, rel=1e-6)


@pytest.mark.parametrize(
    "loss", ["loss_weights=none", "loss_weights=balanced", "loss=focal", "mixed", "mixed balanced"]
)
def test_accumulated_batches_are_one_large_batch(loss):
    """Also in the last step, which has fewer batches than the others."""
    mixed, balanced = loss.startswith("mixed"), loss.endswith("balanced")
    config = override(PLAIN, ["loss_weights=balanced"] if balanced else [] if mixed else [loss])
    groups = drawn([9, 8, 8, 8, 7])
    large = [tuple(map(torch.cat, zip(*part, strict=True))) for part in (groups[:3], groups[3:])]
    if mixed:
        groups, large = ([(x, F.one_hot(y, 7).float()) for x, y in some] for some in (groups, large))
    one, one_loss, one_hits = train(small_net(norm=False), config, large)
    some, loss_of_all, hits = train(small_net(norm=False), override(config, ["accumulate=3"]), groups)
    assert (one.step, some.step) == (2, 2)
    torch.testing.assert_close(weights(some.net), weights(one.net), rtol=1e-5, atol=1e-6)
    assert hits == one_hits
    if not balanced:  # whose mean over a batch is weighted, and its mean over images is not
        assert loss_of_all == pytest.approx(one_loss, rel=1e-5)
    alone, _, _ = train(small_net(norm=False), config, groups)
    assert (weights(alone.net) - weights(one.net)).abs().max() > 1e-3  # five steps go elsewhere


def test_a_first_step_that_the_scaler_skips_leaves_no_momentum():
    """Fused SGD would keep what happened to lie in memory, and add it to the weights in the second step."""
    net = small_net()
    optimizer = optim.make_optimizer(net, override(recipes.get("residual"), ["lr=0.1"]))
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**100)
    before = nn.utils.parameters_to_vector(net.parameters()).clone()
    scaler.scale(net(torch.randn(8, 1, 48, 48)).square().mean() * 1e30).backward()
    scaler.step(optimizer)
    scaler.update()
    assert torch.equal(nn.utils.parameters_to_vector(net.parameters()), before)
    assert all(bool((state["momentum_buffer"] == 0).all()) for state in optimizer.state.values())


def test_a_run_saved_in_another_number_format_goes_on_in_fp16(tmp_path):
    """Begun on a GPU with bf16, where nothing is scaled, and ended on a T4."""
    config = recipes.get("residual")
    checkpoints.save(tmp_path / "last.pt", start(small_net(), config), {})
    fp16 = device.Precision("fp16", CPU)
    state = start(small_net(), config, form=fp16)
    checkpoints.load(tmp_path / "last.pt", state, {})
    assert state.scaler.is_enabled() and state.scaler.get_scale() == fp16.scaler().get_scale()


def test_schedules_count_steps_and_not_batches():
    config = override(recipes.get("residual"), ["batch_size=10", "accumulate=4"])
    assert (epoch.count(95, 10), epoch.steps(95, config)) == (10, 3)
    assert epoch.steps(95, recipes.get("residual")) == epoch.count(95, 64)


@pytest.mark.parametrize("form", [EXACT, device.Precision("fp16", CPU)])
def test_a_clipped_gradient_has_the_norm_asked_for(form):
    """In fp16 too, where the gradient is scaled until the step."""
    for setting, bound in (("grad_clip_norm=0.01", 0.01), ("grad_clip_norm=1000", None)):
        net = small_net()
        before = nn.utils.parameters_to_vector(net.parameters()).clone()
        train(net, override(PLAIN, ["lr=1", setting]), drawn([32]), form)
        moved = (nn.utils.parameters_to_vector(net.parameters()) - before).norm().item()
        assert moved > 0.1 if bound is None else moved == pytest.approx(bound, rel=1e-3)


@pytest.mark.parametrize(("settings", "kinds"), [(["cutmix_alpha=1"], {"cut"}), (["mixup_alpha=1"], {"mix"})])
def test_mixed_images_have_the_targets_of_what_is_in_them(settings, kinds):
    kind, shares = looked_at(settings, 20)
    assert kind == kinds
    assert not all(share.max() == 1 for share in shares)


def test_with_both_a_batch_is_either_mixed_or_cut():
    kinds = [looked_at(["cutmix_alpha=1", "mixup_alpha=1"], 1, seed)[0] for seed in range(40)]
    assert 10 < sum(kind == {"cut"} for kind in kinds) < 30 and all(len(kind) == 1 for kind in kinds)


def looked_at(settings, rounds, seed=0):
    """How batches of even images, as bright as their label, came out mixed; targets are checked by the pixels."""
    torch.manual_seed(seed)
    mix = epoch.make_mix(override(PLAIN, settings))
    labels = torch.arange(7)
    images = labels.float()[:, None, None, None].expand(7, 1, 48, 48).contiguous()
    kinds, found = set(), []
    for _ in range(rounds):
        mixed, targets = mix(images, labels)
        parts = torch.stack([(mixed == label).float().mean((1, 2, 3)) for label in range(7)], 1)
        cut = bool(torch.allclose(parts, targets, atol=1e-6))
        if not cut:
            torch.testing.assert_close(mixed.mean((1, 2, 3)), targets @ labels.float())
        kinds.add("cut" if cut else "mix")
        found.append(targets)
    return kinds, found


def test_the_mean_of_the_last_epochs_with_statistics_of_its_own():
    config = override(recipes.get("residual"), ["average_decay=0", "epochs=4", "average_epochs=3"])
    net, groups = small_net(), drawn([16, 16])
    state = start(net, config)
    loss_of = losses.make_loss(config, groups[0][1].numpy(), CPU)
    seen = []
    for _ in range(4):
        loop.train_epoch(state, groups, loss_of, config, EXACT)
        seen.append(nn.utils.parameters_to_vector(net.parameters()).detach().clone())
    mean = torch.stack(seen[1:]).mean(0)
    torch.testing.assert_close(nn.utils.parameters_to_vector(state.averaged_net.parameters()), mean)
    averaging.renew_statistics(state.average, (x for x, _ in groups), EXACT)
    outputs = torch.stack([state.averaged_net[0](x).mean((0, 2, 3)) for x, _ in groups]).mean(0)
    torch.testing.assert_close(state.averaged_net[1].running_mean, outputs)
    assert not torch.allclose(net[1].running_mean, outputs, rtol=1e-3)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["average_epochs=41"], "average_epochs=41 .*epochs=40"),
        (["average_epochs=5", "early_stop_epochs=3"], "average_epochs=5 with early_stop_epochs=3"),
    ],
)
def test_a_mean_over_epochs_that_there_may_not_be_is_refused(settings, words):
    with pytest.raises(FerKitError, match=words):
        override(recipes.get("residual"), ["average_decay=0", *settings])


def test_an_average_follows_a_buffer_that_a_module_replaces():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(3))
            self.register_buffer("seen", torch.zeros(()))

    net = Counting()
    config = override(recipes.get("residual"), ["average_decay=0.5"])
    average = averaging.make(net, config)
    for step in range(3):
        net.seen = torch.tensor(float(step))  # another tensor, not the old one in place
        averaging.after_step(average, config)
    assert 0 < float(average.module.seen) < 2


def test_image_weights_are_float32_inside_autocast():
    config = override(recipes.get("residual"), ["loss_weights=balanced"])
    loss = losses.make_loss(config, np.arange(70) % 7, CPU)
    loss = dataclasses.replace(loss, class_weights=torch.tensor([0.57, 9.41, 1.003, 0.571, 0.84, 1.29, 0.83]))
    targets = torch.rand(64, 7).softmax(1)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss.image_weights(targets)
    assert found.dtype == torch.float32
    exact = targets.double() @ loss.class_weights.double()
    torch.testing.assert_close(found.double(), exact, rtol=1e-6, atol=0)
