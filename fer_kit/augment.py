"""Augmentation of a whole batch on the device it lives on: one affine warp, light, erasing, normalisation.

Each image draws its own parameters. Everything comes from one generator, so that an epoch repeats exactly.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from fer_kit.config import TrainConfig

# Mean and standard deviation of the grey values of FER2013's train rows, as shares of white.
PIXEL_MEAN, PIXEL_STD = 0.5077, 0.2550

# Share and aspect ratio (height / width) of an erased rectangle, as in Zhong et al., "Random Erasing", AAAI 2020.
ERASED_SHARE, ERASED_RATIO = (0.02, 0.33), (0.3, 3.3)


def augment(images: Tensor, config: TrainConfig, rng: Generator) -> Tensor:
    """uint8 (B, 48, 48) → float32 (B, 1, 48, 48), warped, lit, normalised and erased as `config` says."""
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
    """Shares of white to zero mean and unit spread, in place."""
    return x.sub_(PIXEL_MEAN).div_(PIXEL_STD)


def drawn(count: int, rng: Generator, low: float = 0.0, high: float = 1.0) -> Tensor:
    """`count` numbers drawn evenly from [low, high), on the generator's device: (count,)."""
    return torch.rand(count, generator=rng, device=rng.device).mul_(high - low).add_(low)


def draw_matrices(count: int, config: TrainConfig, rng: Generator) -> Tensor:
    """Inverse affine maps in units of half the image side: (B, 2, 3), from a place in the result to one in the source.

    They undo, for each image: mirror left-right, scale, shear along x, rotate (clockwise on the screen, where y points
    down), shift. Forward: out = R·H·S·M·in + shift, so in = M·S⁻¹·H⁻¹·R⁻¹·(out − shift).
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
    """Sample (B, 1, H, W) bilinearly at the places that the inverse maps (B, 2, 3) name; one pass over the batch."""
    grid = F.affine_grid(matrices, list(x.shape), align_corners=False)  # (B, H, W, 2)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode=edges, align_corners=False)


def relight(x: Tensor, config: TrainConfig, rng: Generator) -> Tensor:
    """Brightness times 1 ± its range, then contrast around each image's mean times 1 ± its range; kept in 0..1."""
    shape = (-1, 1, 1, 1)
    brightness = 1.0 + drawn(len(x), rng, -1, 1).view(shape) * config.brightness_frac
    contrast = 1.0 + drawn(len(x), rng, -1, 1).view(shape) * config.contrast_frac
    mean = x.mean((1, 2, 3), keepdim=True) * brightness
    return x.mul_(brightness * contrast).add_(mean * (1.0 - contrast)).clamp_(0.0, 1.0)


def erase(x: Tensor, prob: float, rng: Generator) -> Tensor:
    """In each image, with probability `prob`, one rectangle set to the mean grey."""
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
