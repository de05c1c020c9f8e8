"""Batches, splits, losses and precision: what a run feeds its network with."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fer_kit.batches import epoch
from fer_kit.config import recipes
from fer_kit.config.train_config import TrainConfig
from fer_kit.engine import device, losses, optim
from fer_kit.errors import FerKitError
from fer_kit.folds import splits
from fer_kit.folds.deal import Folds

PLAIN = TrainConfig(recipe="plain", model="deep_v1", epochs=2, batch_size=16)
CPU = torch.device("cpu")


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(count: int) -> torch.Tensor:
    """Images whose grey is their row number."""
    return torch.arange(count, dtype=torch.uint8)[:, None, None].expand(-1, 48, 48).contiguous()


def test_an_epoch_shows_every_row_once_in_batches_of_nearly_one_size():
    labels = torch.arange(100) % 7
    seen, sizes = [], []
    for x, y in epoch.epoch(numbered(100), labels, PLAIN, rng()):
        assert x.shape[1:] == (1, 48, 48) and x.is_contiguous(memory_format=torch.channels_last)
        grey = ((x[:, 0, 0, 0] * 0.2550 + 0.5077) * 255).round().long()
        assert torch.equal(y, grey % 7)  # labels stay with their images
        seen.append(grey)
        sizes.append(len(y))
    assert sorted(torch.cat(seen).tolist()) == list(range(100))
    assert max(sizes) - min(sizes) <= 1 and max(sizes) <= 16
    assert len(sizes) == epoch.count(100, 16)


def test_epochs_repeat_by_seed_and_differ_between_seeds():
    labels = torch.zeros(100, dtype=torch.int64)
    one, two, three = (
        torch.cat([x for x, _ in epoch.epoch(numbered(100), labels, recipes.get("deep_v3"), rng(seed))])
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, two) and not torch.equal(one, three)


def test_the_balanced_sampler_shows_rare_classes_as_often_as_common_ones():
    labels = torch.tensor([0] * 900 + [1] * 60 + [3] * 40)
    drawn = labels[epoch.draw_rows(labels, "balanced", rng())]
    share = torch.bincount(drawn, minlength=7) / len(drawn)
    assert share[[0, 1, 3]].min() > 0.28 and share[[2, 4, 5, 6]].max() == 0


def folds_of(groups: np.ndarray, count: int = 5) -> Folds:
    rows = np.arange(len(groups))
    return Folds(rows, rows % 7, groups, groups % count, "0" * 64)


@pytest.mark.parametrize("recipe", ["baseline_v1", "residual"])
def test_no_row_and_no_twin_group_is_in_two_parts(recipe):
    folds = folds_of(np.random.default_rng(0).integers(0, 400, 1000))
    config = recipes.get(recipe)
    parts = splits.split(folds, 2, config)
    rows = [parts.train, parts.watch, parts.out]
    assert sorted(np.concatenate(rows).tolist()) == list(range(1000))
    groups = [set(folds.groups[part].tolist()) for part in rows]
    assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])
    assert np.array_equal(parts.out, folds.rows_out(2))  # early stopping never looks at the fold's own rows
    if config.watches:
        assert 0.06 * 800 < len(parts.watch) <= 0.1 * 800
    else:
        assert len(parts.watch) == 0


def test_too_few_rows_and_wrong_folds_are_refused():
    folds = folds_of(np.arange(20))
    with pytest.raises(FerKitError, match="fold 0 leaves 15 rows to train on, fewer than one batch of 16"):
        splits.split(folds, 0, dataclasses.replace(PLAIN, early_stop_epochs=1))
    with pytest.raises(FerKitError, match="fold 5 does not exist: choose 0 to 4"):
        splits.split(folds, 5, PLAIN)


def test_class_weights():
    labels = np.repeat(np.arange(7), [10, 20, 30, 40, 50, 60, 0])
    assert (losses.class_weights("none", labels) == 1).all()
    balanced = losses.class_weights("balanced", labels)
    counts = np.bincount(labels, minlength=7)
    np.testing.assert_allclose((balanced * counts)[:6], 35)  # every class weighs the same; the mean over rows is 1
    assert balanced[6] == 1
    effective = losses.class_weights("effective", labels)
    assert (np.diff(effective[:6]) < 0).all()
    assert effective[0] / effective[5] <= balanced[0] / balanced[5]
    assert (effective * counts).sum() == pytest.approx(counts.sum())


def test_balanced_weights_are_those_of_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.repeat(np.arange(7), [10, 20, 30, 40, 50, 60, 7])
    theirs = compute_class_weight("balanced", classes=np.arange(7), y=labels)
    np.testing.assert_allclose(losses.class_weights("balanced", labels), theirs)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_focal_loss_without_focus_is_cross_entropy(smoothing):
    config = dataclasses.replace(PLAIN, loss="focal", focal_gamma=0.0, label_smoothing=smoothing)
    logits, targets = torch.randn(32, 7, generator=rng()), torch.arange(32) % 7
    focal = losses.make_loss(config, targets.numpy(), CPU)
    expected = F.cross_entropy(logits, targets, label_smoothing=smoothing)
    torch.testing.assert_close(focal(logits, targets), expected)
    torch.testing.assert_close(focal(logits, F.one_hot(targets, 7).float()), expected)


def test_focal_loss_of_one_row_by_hand():
    config = dataclasses.replace(PLAIN, loss="focal")
    focal = losses.make_loss(config, np.arange(7), CPU)
    logits = torch.log(torch.tensor([[0.7, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05]]))
    assert float(focal(logits, torch.tensor([0]))) == pytest.approx(-(0.3**2) * np.log(0.7), rel=1e-5)


def test_weights_without_smoothing_are_those_of_torch():
    config = dataclasses.replace(PLAIN, loss_weights="balanced", label_smoothing=0.0)
    logits, targets = torch.randn(60, 7, generator=rng()), torch.arange(60) ** 2 % 7
    loss = losses.make_loss(config, targets.numpy(), CPU)
    torch.testing.assert_close(loss(logits, targets), F.cross_entropy(logits, targets, loss.class_weights))
    torch.testing.assert_close(loss(logits, F.one_hot(targets, 7).float()), loss(logits, targets))


@pytest.mark.parametrize("kind", ["balanced", "effective"])
@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_weights_leave_alone_what_an_image_is_to_be_answered_with(kind, loss):
    """The best answer to an image is its smoothed label, whatever its class weighs; torch's weights would move it."""
    config = dataclasses.replace(PLAIN, loss=loss, loss_weights=kind, label_smoothing=0.1, focal_gamma=0.0)
    loss_of = losses.make_loss(config, np.repeat(np.arange(7), [3995, 436, 4097, 7215, 4830, 3171, 4965]), CPU)
    shares = torch.eye(7) * 0.6 + torch.eye(7).roll(2, 1) * 0.4
    logits = (shares * 0.9 + 0.1 / 7).log().requires_grad_()
    loss_of(logits, shares).backward()
    torch.testing.assert_close(logits.grad, torch.zeros(7, 7), atol=1e-7, rtol=0)


def test_a_sure_answer_gives_finite_focal_gradients():
    focal = losses.make_loss(dataclasses.replace(PLAIN, loss="focal", focal_gamma=0.5), np.arange(7), CPU)
    logits = torch.tensor([[200.0, 0, 0, 0, 0, 0, 0]], requires_grad=True)
    focal(logits, torch.tensor([0])).backward()
    assert bool(torch.isfinite(logits.grad).all())


def rates(config: TrainConfig, steps_an_epoch: int = 10) -> list[float]:
    optimizer = optim.make_optimizer(torch.nn.Linear(2, 2), config)
    schedule = optim.make_schedule(optimizer, config, steps_an_epoch)
    found = []
    for step in range(config.epochs * steps_an_epoch):
        schedule.before_step(step)
        found.append(schedule.lr)
    return found


def test_the_cosine_warms_up_reaches_the_rate_and_ends_near_nothing():
    config = recipes.get("residual")
    found, lr, warm = rates(config), config.lr, round(10 * config.warmup_epochs)
    assert found[0] == pytest.approx(lr / 100) and max(found) == pytest.approx(lr)
    assert found.index(max(found)) == warm > 0
    assert found[-1] < lr / 100
    assert all(a >= b for a, b in itertools.pairwise(found[warm:]))


def test_the_plateau_waits_and_then_halves():
    config = recipes.get("deep_v2")
    optimizer = optim.make_optimizer(torch.nn.Linear(2, 2), config)
    schedule = optim.make_schedule(optimizer, config, 1)
    seen = []
    for accuracy in (0.5, 0.4, 0.4, 0.4, 0.4, 0.4):
        schedule.after_epoch(accuracy)
        seen.append(schedule.lr)
    assert seen == [1e-3, 1e-3, 1e-3, 1e-3, 5e-4, 5e-4]


def test_weight_decay_spares_norms_where_the_recipe_says_so():
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4))
    modern = optim.make_optimizer(net, recipes.get("residual"))
    decayed = [p.ndim for g in modern.param_groups if g["weight_decay"] for p in g["params"]]
    assert decayed == [4]
    assert all(g["nesterov"] and g["momentum"] == 0.9 for g in modern.param_groups)
    study = optim.make_optimizer(net, recipes.get("deep_v1"))
    assert sum(len(g["params"]) for g in study.param_groups if g["weight_decay"] == 1e-4) == 4


def test_muon_takes_convolutions_and_spares_norms_biases_and_depthwise_ones():
    net = torch.nn.Sequential(
        torch.nn.Conv2d(8, 16, 3), torch.nn.BatchNorm2d(16), torch.nn.Conv2d(16, 16, 5, groups=16)
    )
    optimizer = optim.make_optimizer(net, recipes.get("air_small"))
    decayed = [p.ndim for g in optimizer.param_groups if g["weight_decay"] for p in g["params"]]
    assert decayed == [4, 4] and all(g["nesterov"] for g in optimizer.param_groups)
    net(torch.randn(2, 8, 7, 7)).sum().backward()
    optimizer.step()
    by_muon = {name for name, p in net.named_parameters() if "momentum_buffer" in optimizer.state[p]}
    assert by_muon == {"0.weight"}


def test_sgd_without_momentum_is_plain_descent():
    net = torch.nn.Linear(2, 2)
    plain = optim.make_optimizer(net, dataclasses.replace(recipes.get("residual"), momentum=0.0))
    assert not any(g["nesterov"] or g["momentum"] for g in plain.param_groups)


def test_devices_and_formats_that_are_not_there_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.choose_device("auto") == CPU
    with pytest.raises(FerKitError, match="--device cuda: this machine has cpu; choose one of them or auto"):
        device.choose_device("cuda")
    monkeypatch.setattr(device, "cpu_has_bf16", lambda: False)
    assert device.choose_precision("auto", CPU).name == "fp32"
    with pytest.raises(FerKitError, match="precision=bf16: cpu computes in fp32; choose one of them or auto"):
        device.choose_precision("bf16", CPU)
    monkeypatch.setattr(device, "cpu_has_bf16", lambda: True)
    assert device.choose_precision("auto", CPU).name == "bf16"
    with pytest.raises(FerKitError, match="precision=fp16: cpu computes in bf16, fp32"):
        device.choose_precision("fp16", CPU)


@pytest.mark.parametrize(
    ("built_for", "capability", "runs"),
    [
        (["sm_75", "sm_80"], (7, 5), True),
        (["sm_75", "sm_80"], (8, 6), True),
        (["sm_75", "sm_86"], (8, 0), False),
        (["sm_75", "sm_80"], (7, 0), False),
        (["sm_75", "sm_90a"], (10, 0), False),
        (["sm_75", "sm_90", "compute_90"], (12, 0), True),
        (["sm_75", "compute_120f"], (10, 0), False),
    ],
)
def test_a_gpu_that_this_torch_was_not_built_for_is_refused(monkeypatch, built_for, capability, runs):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: built_for)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Quadro")
    assert device.choose_device("cpu") == CPU
    for wanted in ("auto", "cuda", "cuda:0"):
        if runs:
            assert device.choose_device(wanted) == torch.device("cuda:0")
        else:
            message = f"--device {wanted}: torch .* has no code for Quadro with compute capability .*; install a torch"
            with pytest.raises(FerKitError, match=message):
                device.choose_device(wanted)


@pytest.mark.parametrize(("gpu", "name"), [(0, "fp16"), (1, "bf16")])
def test_a_gpu_takes_bf16_where_it_has_it_and_else_fp16(monkeypatch, gpu, name):
    """A T4 beside an H200: each is asked for itself, not the one that is current."""
    capabilities = {torch.device("cuda:0"): (7, 5), torch.device("cuda:1"): (9, 0)}
    monkeypatch.setattr(torch.cuda, "get_device_capability", capabilities.__getitem__)
    chosen = device.choose_precision("auto", torch.device(f"cuda:{gpu}"))
    assert chosen.name == name
