"""Test-time views: what each shows, that old predictions keep their bits, and that memory does not grow with them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from fer_kit import models
from fer_kit.batches import augment
from fer_kit.config import recipes, settings
from fer_kit.engine import device, loop, views

CPU = torch.device("cpu")
EXACT = device.choose_precision("fp32", CPU)
COUNTS = {"none": 1, "flip": 2, "flip_shifts": 10, "ten_crops": 10, "rotations": 6}


def faces(count: int, seed: int = 0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 48, 48), dtype=torch.uint8, generator=rng)


def dot(row: int, column: int) -> torch.Tensor:
    """A black image with a white 3×3 dot around (row, column): float (1, 1, 48, 48)."""
    x = torch.zeros(1, 1, 48, 48)
    x[..., row - 1 : row + 2, column - 1 : column + 2] = 1.0
    return x


def centre_px(x: torch.Tensor) -> tuple[float, float]:
    """Row and column of the centre of mass."""
    place, mass = torch.arange(48.0), x[0, 0]
    return float((mass.sum(1) * place).sum() / mass.sum()), float((mass.sum(0) * place).sum() / mass.sum())


def at(row: float, column: float) -> tuple[object, object]:
    return pytest.approx(row, abs=0.05), pytest.approx(column, abs=0.05)


class Recorder(nn.Module):
    """Remembers what it was shown; its logits are sums over seven bands of rows."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.shown.append(x)
        return x[:, 0, :42].reshape(len(x), 7, -1).sum(2)


def test_the_config_names_the_sets_that_there_are():
    assert set(views.VIEWS) == set(settings.TABLE["views"].choices) == set(COUNTS)


@pytest.mark.parametrize("name", COUNTS)
def test_each_set_has_its_views_all_different_and_the_face_itself_first(name):
    x = torch.rand(3, 1, 48, 48, generator=torch.Generator().manual_seed(1))
    shown = list(views.seen(x.contiguous(memory_format=torch.channels_last), name))
    assert len(shown) == COUNTS[name]
    assert all(view.shape == x.shape and view.is_contiguous(memory_format=torch.channels_last) for view in shown)
    assert name == "ten_crops" or torch.equal(shown[0], x)
    half = len(shown) // 2
    for one, other in zip(shown[:half], shown[half:], strict=False):
        torch.testing.assert_close(other, one.flip(-1))  # the second half is the first in a mirror
    flat = torch.stack(shown).flatten(1)
    assert len(torch.unique(flat, dim=0)) == len(shown)


def test_shifts_move_by_whole_pixels_and_repeat_the_edge():
    places = [centre_px(view) for view in views.seen(dot(20, 30), "flip_shifts")]
    s = views.SHIFT_PX
    assert places[:5] == [at(20, 30), at(20, 30 - s), at(20, 30 + s), at(20 - s, 30), at(20 + s, 30)]
    x = torch.rand(1, 1, 48, 48)
    right = views.shift(x, s, 0)
    assert torch.equal(right[..., s:], x[..., :-s])
    assert torch.equal(right[..., :s], x[..., :1].expand(-1, -1, -1, s))


def test_crops_are_the_centre_and_the_corners_enlarged():
    scale, margin = 48 / views.CROP_PX, 48 - views.CROP_PX

    def where(row: int, column: int, top: float, left: float) -> tuple[object, object]:
        return at((row + 0.5 - top) * scale - 0.5, (column + 0.5 - left) * scale - 0.5)

    corners = [(margin / 2, margin / 2), (0, 0), (0, margin), (margin, 0), (margin, margin)]
    found = [centre_px(view) for view in views.seen(dot(20, 30), "ten_crops")]
    assert found[:5] == [where(20, 30, *corner) for corner in corners]


def test_turns_are_clockwise_by_their_degrees_both_ways():
    angle = math.radians(views.TURN_DEG)
    right, down = 10.0, 4.0  # of the centre, which lies between pixels 23 and 24
    for view, a in zip(list(views.seen(dot(23 + 4, 23 + 10), "rotations"))[1:3], (-angle, angle), strict=True):
        x, y = right - 0.5, down - 0.5
        row, column = y * math.cos(a) + x * math.sin(a) + 23.5, x * math.cos(a) - y * math.sin(a) + 23.5
        assert centre_px(view) == at(row, column)


@pytest.mark.parametrize("name", COUNTS)
def test_undoing_a_view_puts_everything_back(name):
    """As the maps of `explain` need it: what a view shows of a place comes back to that place."""
    for view in views.VIEWS[name]:
        row, column = centre_px(view.undo(view.see(dot(20, 30))))
        assert abs(row - 20) < 0.15 and abs(column - 30) < 0.15
    x = torch.rand(1, 1, 48, 48)
    corner = views.cropped(0, 4)
    assert not corner.undo(corner.see(x))[..., :, :4].any() and not corner.undo(corner.see(x))[..., 44:, :].any()


def test_an_even_face_stays_even_in_every_view():
    """No view brings in a frame from outside."""
    for name in COUNTS:
        for view in views.seen(torch.full((2, 1, 48, 48), 0.3), name):
            torch.testing.assert_close(view, torch.full_like(view, 0.3))


@pytest.mark.parametrize("name", COUNTS)
def test_logits_are_the_mean_over_the_views(name):
    images, net = faces(5), Recorder()
    x = augment.normalise(images[:, None] / 255.0)
    expected = torch.stack([net(view) for view in views.seen(x, name)]).mean(0)
    found = loop.predict(net, images, name, EXACT)
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("name", COUNTS)
def test_the_network_never_holds_more_than_the_bound(name, monkeypatch):
    monkeypatch.setattr(loop, "PREDICT_BATCH", 8)
    net = Recorder()
    assert loop.predict(net, faces(21), name, EXACT).shape == (21, 7)
    assert [len(x) for x in net.shown] == [8] * 2 * COUNTS[name] + [5] * COUNTS[name]


@pytest.mark.slow
def test_a_network_that_sees_larger_images_holds_fewer():
    """As many pixels at most; those of 48 pixels, and with them the bits of every run of ours, stay together."""
    net = models.build(recipes.get("timm/test_resnet"))
    held = {}
    for side in (32, 48, 112, 113, 224, 448, 5000):
        net.image_px = side
        held[side] = loop.predict_batch(net)
    assert held == {32: 256, 48: 256, 112: 256, 113: 251, 224: 64, 448: 16, 5000: 1}
    assert {loop.predict_batch(models.build(config)) for config in recipes.RECIPES.values()} == {256}
    net.image_px, shown = 448, []
    net.body.register_forward_pre_hook(lambda _, given: shown.append(tuple(given[0].shape)))
    assert loop.predict(net, faces(18), "none", EXACT).shape == (18, 7)
    assert shown == [(16, 1, 448, 448), (2, 1, 448, 448)]


@pytest.mark.parametrize("model", ["deep_v2", "attention"])
@pytest.mark.parametrize("name", ["none", "flip"])
def test_predictions_without_and_with_flip_keep_their_bits(model, name):
    """Runs from before there were other sets are predicted again as they were: the old code, written out."""
    torch.manual_seed(0)
    net = models.build(recipes.get(model)).to(memory_format=torch.channels_last).eval()
    images = faces(20)
    old = {"none": (lambda x: x,), "flip": (lambda x: x, lambda x: x.flip(-1))}
    with torch.inference_mode():
        x = augment.normalise(images[:, None].float().div_(255.0)).contiguous(memory_format=torch.channels_last)
        expected = torch.stack([net(view(x)).float() for view in old[name]]).mean(0)
    assert torch.equal(torch.from_numpy(loop.predict(net, images, name, EXACT)), expected)
