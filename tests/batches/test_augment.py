"""Augmentation on the device: geometry, ranges, determinism."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from fer_kit.batches import augment
from fer_kit.competition import PIXEL_MEAN, PIXEL_STD
from fer_kit.config import recipes
from fer_kit.config.train_config import TrainConfig

PLAIN = TrainConfig(recipe="plain", model="deep_v1", epochs=1)
STRONG = recipes.get("deep_v3")
BLACK = -PIXEL_MEAN / PIXEL_STD  # after normalisation
WHITE = (1 - PIXEL_MEAN) / PIXEL_STD


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def faces(count: int = 64, seed: int = 1) -> torch.Tensor:
    return torch.randint(0, 256, (count, 48, 48), dtype=torch.uint8, generator=rng(seed))


def dot(row: int, column: int) -> torch.Tensor:
    """A black image with a white 3×3 dot around (row, column): float (1, 1, 48, 48)."""
    x = torch.zeros(1, 1, 48, 48)
    x[..., row - 1 : row + 2, column - 1 : column + 2] = 1.0
    return x


def centre_px(x: torch.Tensor) -> tuple[float, float]:
    """Row and column of the centre of mass."""
    place = torch.arange(48.0)
    mass = x[0, 0]
    return float((mass.sum(1) * place).sum() / mass.sum()), float((mass.sum(0) * place).sum() / mass.sum())


def test_nothing_asked_means_only_normalised():
    images = faces()
    x = augment.augment(images, PLAIN, rng())
    expected = (images[:, None].float() / 255 - PIXEL_MEAN) / PIXEL_STD
    torch.testing.assert_close(x, expected)


def forward_of(inverse: torch.Tensor) -> torch.Tensor:
    """The forward map (2, 3) of an inverse one, through a general matrix inverse."""
    full = torch.cat([inverse, torch.tensor([[0.0, 0.0, 1.0]])])
    return torch.linalg.inv(full)[:2]


@pytest.mark.parametrize("seed", range(8))
def test_a_point_lands_where_the_matrix_says(seed):
    """A dot at a known place, warped with everything at once, is found where the forward map puts it."""
    config = dataclasses.replace(STRONG, shear_deg=10.0)
    inverse = augment.draw_matrices(1, config, rng(seed))
    row, column = 20, 30
    half = torch.tensor([(column + 0.5) / 24 - 1, (row + 0.5) / 24 - 1, 1.0])  # x, y in halves of the side
    to = forward_of(inverse[0]) @ half
    found = centre_px(augment.warp(dot(row, column), inverse, "zeros"))
    assert found[1] == pytest.approx((float(to[0]) + 1) * 24 - 0.5, abs=0.25)
    assert found[0] == pytest.approx((float(to[1]) + 1) * 24 - 0.5, abs=0.25)


@pytest.mark.parametrize("seed", range(4))
def test_the_inverse_undoes_mirror_scale_shear_rotation_shift_in_that_order(seed):
    """The closed form against the product of the five matrices, each drawn again in the same order."""
    config = dataclasses.replace(STRONG, shear_deg=10.0)
    inverse = augment.draw_matrices(1, config, rng(seed))[0]
    again = rng(seed)
    mirror = -1.0 if float(augment.drawn(1, again)) < config.flip_prob else 1.0
    angle = float(augment.drawn(1, again, -1, 1)) * math.radians(config.rotation_deg)
    scale = 1 + float(augment.drawn(1, again, -1, 1)) * config.scale_frac
    shear = math.tan(float(augment.drawn(1, again, -1, 1)) * math.radians(config.shear_deg))
    dx, dy = (float(augment.drawn(1, again, -1, 1)) * 2 * config.shift_frac for _ in range(2))
    m = torch.tensor([[mirror, 0], [0, 1.0]])
    h = torch.tensor([[1.0, shear], [0, 1.0]])
    r = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = r @ h @ (scale * m)
    forward = torch.cat([linear, torch.tensor([[dx], [dy]])], 1)
    torch.testing.assert_close(forward_of(inverse), forward, atol=1e-5, rtol=1e-5)


def test_a_shift_moves_by_its_share_of_the_side():
    inverse = torch.tensor([[[1.0, 0, -2 * 0.1], [0, 1.0, 0]]])  # 10% to the right
    row, column = centre_px(augment.warp(dot(24, 20), inverse, "zeros"))
    assert (row, column) == (pytest.approx(24, abs=0.01), pytest.approx(24.8, abs=0.01))


def test_ranges_are_kept_and_reached():
    inverse = augment.draw_matrices(4000, STRONG, rng())
    forward = torch.stack([forward_of(m) for m in inverse])
    linear, shift = forward[:, :, :2], forward[:, :, 2]
    scale = torch.linalg.det(linear).abs().sqrt()
    assert 0.9 <= scale.min() < 0.905 and 1.095 < scale.max() <= 1.1001
    assert 0.195 < shift.abs().max() <= 0.2001  # 10% of the side is 0.2 of half the side
    turned = torch.atan2(linear[:, 1, 0], linear[:, 0, 0] * torch.linalg.det(linear).sign())
    assert math.radians(14.7) < turned.abs().max() <= math.radians(15.01)
    mirrored = (torch.linalg.det(linear) < 0).float().mean()
    assert 0.46 < mirrored < 0.54


def test_flip_alone_is_exact():
    config = dataclasses.replace(PLAIN, flip_prob=0.5)
    images = faces(200)
    x, plain = augment.augment(images, config, rng()), augment.augment(images, PLAIN, rng())
    same = (x == plain).flatten(1).all(1)
    mirrored = (x == plain.flip(-1)).flatten(1).all(1)
    assert bool((same ^ mirrored).all())
    assert 70 < int(mirrored.sum()) < 130


def test_light_stays_between_black_and_white():
    config = dataclasses.replace(PLAIN, brightness_frac=1.0, contrast_frac=1.0)
    x = augment.augment(faces(), config, rng())
    assert float(x.min()) >= BLACK - 1e-5 and float(x.max()) <= WHITE + 1e-5


def test_brightness_and_contrast_do_what_they_say():
    images = torch.full((500, 48, 48), 100, dtype=torch.uint8)
    images[:, ::2] = 140  # mean 120
    dim = augment.relight(images[:, None] / 255.0, dataclasses.replace(PLAIN, brightness_frac=0.2), rng()) * 255
    mean = dim.mean((1, 2, 3))
    assert 96 - 0.1 <= mean.min() < 98 and 142 < mean.max() <= 144.1
    flat = augment.relight(images[:, None] / 255.0, dataclasses.replace(PLAIN, contrast_frac=0.5), rng()) * 255
    torch.testing.assert_close(flat.mean((1, 2, 3)), torch.full((500,), 120.0), atol=0.01, rtol=0)
    swing = flat.amax((1, 2, 3)) - flat.amin((1, 2, 3))
    assert 20 - 0.1 <= swing.min() < 21 and 59 < swing.max() <= 60.1


def test_erasing_makes_one_rectangle_of_the_promised_size():
    x = augment.erase(torch.ones(3000, 1, 48, 48), 0.1, rng())
    hole = (x[:, 0] == 0).float()
    share = hole.mean((1, 2))
    erased = share > 0
    assert 0.08 < float(erased.float().mean()) < 0.12
    assert float(share[erased].min()) > 0.01 and float(share.max()) < 0.36
    rows, columns = hole.amax(2).sum(1), hole.amax(1).sum(1)
    assert torch.equal(rows[erased] * columns[erased], hole.sum((1, 2))[erased])  # a full rectangle


@pytest.mark.parametrize("recipe", ["deep_v3", "attention", "residual", "baseline_v1"])
def test_the_same_seed_gives_the_same_bits(recipe):
    config = recipes.get(recipe)
    one, two = (augment.augment(faces(), config, rng(7)) for _ in range(2))
    assert torch.equal(one, two)
    assert one.shape == (64, 1, 48, 48) and one.dtype == torch.float32
    if recipe != "baseline_v1":
        assert not torch.equal(one, augment.augment(faces(), config, rng(8)))


def test_the_images_are_left_alone():
    images = faces()
    before = images.clone()
    augment.augment(images, STRONG, rng())
    assert torch.equal(images, before)
