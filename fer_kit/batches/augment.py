"""Augmentation of whole batches on their device: affine warp, brightness and contrast, normalisation, random erasing.

Each image gets its own random parameters. All are drawn from one generator, so an epoch can be repeated exactly.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from fer_kit.competition import PIXEL_MEAN, PIXEL_STD
from fer_kit.config.train_config import TrainConfig

# Share and aspect ratio (height / width) of an erased rectangle, as in Zhong et al., "Random Erasing", AAAI 2020.
ERASED_SHARE, ERASED_RATIO = (0.02, 0.33), (0.3, 3.3)


def augment(images: Tensor, config: TrainConfig, rng: Generator) -> Tensor:
    """Augment and normalise images uint8 (B, 48, 48) as `config` says; returns float32 (B, 1, 48, 48)."""
    x = images[:, None].float().div_(255.0)  # (B, 1, 48, 48) in 0..1
    if config.warps:
        x = warp(x, draw_matrices(len(x), config, rng), config.edges)
    elif config.flip_prob:
        flipped = drawn(len(x), rng) < config.flip_prob  # (B,)
        x = torch.where(flipped[:, None, None, None], x.flip(-1), x)
    if config.brightness_frac or config.contrast_frac:
        x = relight(x, config, rng)
    x = normalise(x)
    return erase(x, config.erase_prob, rng) if config.erase_prob else x


def normalise(x: Tensor) -> Tensor:
    """Normalise pixels from 0 to 1 to mean 0 and standard deviation 1, in place."""
    return x.sub_(PIXEL_MEAN).div_(PIXEL_STD)


def drawn(count: int, rng: Generator, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Draw from the uniform distribution on [low, high): float32 (count,) on the device of the generator."""
    return torch.rand(count, generator=rng, device=rng.device).mul_(high - low).add_(low)


def draw_matrices(count: int, config: TrainConfig, rng: Generator) -> Tensor:
    """Draw inverse affine maps (B, 2, 3), from places in the result to places in the source.

    Lengths are in units of half the side of the image. The forward map mirrors left to right (M), scales (S), shears
    along x (H), rotates (R, clockwise on the screen, where y points down) and shifts: out = R·H·S·M·in + shift. So
    the inverse map is in = M·S⁻¹·H⁻¹·R⁻¹·(out − shift).
    """
    mirror = torch.where(drawn(count, rng) < config.flip_prob, -1.0, 1.0)
    angle = drawn(count, rng, -1, 1) * math.radians(config.rotation_deg)
    scale = 1.0 + drawn(count, rng, -1, 1) * config.scale_frac
    shear = torch.tan(drawn(count, rng, -1, 1) * math.radians(config.shear_deg))
    shift = torch.stack([drawn(count, rng, -1, 1), drawn(count, rng, -1, 1)], 1) * (2 * config.shift_frac)  # (B, 2)
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    linear = torch.stack([mirror * (cos + shear * sin), mirror * (sin - shear * cos), -sin, cos], 1).view(-1, 2, 2)
    return torch.cat([linear, -linear @ shift[:, :, None]], 2)  # (B, 2, 3)


def warp(x: Tensor, matrices: Tensor, edges: str) -> Tensor:
    """Warp square images (B, 1, H, W) by inverse maps (B, 2, 3) with bilinear interpolation, in one pass over the batch."""
    side = x.shape[-1]
    centre = (torch.arange(side, device=x.device) * 2 + 1) / side - 1  # (W,) pixel centres from −1 to 1
    across = matrices[:, None, None, :, 0] * centre[:, None]  # (B, 1, W, 2)
    down = matrices[:, None, None, :, 1] * centre[:, None, None] + matrices[:, None, None, :, 2]  # (B, H, 1, 2)
    grid = across + down  # (B, H, W, 2); F.affine_grid gives the same by a matrix product, which takes twice as long
    return F.grid_sample(x, grid, mode="bilinear", padding_mode=edges, align_corners=False)


def relight(x: Tensor, config: TrainConfig, rng: Generator) -> Tensor:
    """Multiply brightness, then the contrast around each image's mean, by random factors; clamp to 0..1.

    The factors are from 1 − brightness_frac to 1 + brightness_frac, and likewise for contrast_frac.
    """
    shape = (-1, 1, 1, 1)
    brightness = 1.0 + drawn(len(x), rng, -1, 1).view(shape) * config.brightness_frac
    contrast = 1.0 + drawn(len(x), rng, -1, 1).view(shape) * config.contrast_frac
    mean = x.mean((1, 2, 3), keepdim=True) * brightness
    return x.mul_(brightness * contrast).add_(mean * (1.0 - contrast)).clamp_(0.0, 1.0)


def erase(x: Tensor, prob: float, rng: Generator) -> Tensor:
    """Set one random rectangle of each image to the mean grey, with probability `prob`."""
    count, side = len(x), x.shape[-1]
    chosen = drawn(count, rng) < prob
    share = drawn(count, rng, *ERASED_SHARE)
    ratio = torch.exp(drawn(count, rng, math.log(ERASED_RATIO[0]), math.log(ERASED_RATIO[1])))
    height, width = (share * ratio).sqrt().clamp(max=1.0), (share / ratio).sqrt().clamp(max=1.0)  # of the side
    top, left = drawn(count, rng) * (1.0 - height), drawn(count, rng) * (1.0 - width)
    place = (torch.arange(side, device=x.device) + 0.5) / side  # (48,) pixel centres
    rows = (place >= top[:, None]) & (place < (top + height)[:, None])  # (B, 48)
    columns = (place >= left[:, None]) & (place < (left + width)[:, None])  # (B, 48)
    hole = rows[:, :, None] & columns[:, None, :] & chosen[:, None, None]  # (B, 48, 48)
    return x.masked_fill_(hole[:, None], 0.0)
