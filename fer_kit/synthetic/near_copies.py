"""Altered copies of photos, as on web sites: mirrored, cropped, with another contrast, with a watermark."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fer_kit.competition import SIDE_PX
from fer_kit.synthetic.faces import Floats

KINDS = ("exact", "mirror", "crop", "contrast", "watermark")

_CROP_FRAC = (0.86, 0.95)  # side of the crop, as a share of the side of the image
_LETTERS = 6  # letters of a watermark


def make(images: NDArray[np.uint8], kind: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Make one altered copy of each image.

    Args:
        images: uint8 (N, 48, 48).
        kind: one of `KINDS`.
        rng: random generator; its state advances.

    Returns:
        uint8 (N, 48, 48).

    Raises:
        ValueError: `kind` is unknown.
    """
    n = len(images)
    if kind == "exact":
        return images.copy()
    if kind == "mirror":
        return images[:, :, ::-1].copy()
    values: Floats = images.astype(np.float32)
    if kind == "crop":
        values = _cropped(values, rng)
    elif kind == "contrast":
        values = (values - 128) * _evenly(rng, n, 0.55, 1.25) + 128 + _evenly(rng, n, -25, 25)
    elif kind == "watermark":
        values = values + _evenly(rng, n, 0.25, 0.5) * _watermarks(n, rng) * (255 - values)
    else:
        raise ValueError(f"kind {kind!r} must be one of {KINDS}")
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _evenly(rng: np.random.Generator, n: int, low: float, high: float) -> Floats:
    """Draw one value per image from the uniform distribution on [low, high): float32 (n, 1, 1)."""
    return low + (high - low) * rng.random((n, 1, 1), np.float32)


def _cropped(values: Floats, rng: np.random.Generator) -> Floats:
    """Crop each image at a random position and resize the crop to the full size (bilinear)."""
    n = len(values)
    scale = _evenly(rng, n, *_CROP_FRAC)  # (n, 1, 1)
    steps = (np.arange(SIDE_PX, dtype=np.float32) + 0.5) * scale - 0.5  # (n, 1, 48)
    room = (1 - scale) * SIDE_PX
    at_x = np.clip(steps + room * rng.random((n, 1, 1), np.float32), 0, SIDE_PX - 1.001)
    at_y = np.clip(steps + room * rng.random((n, 1, 1), np.float32), 0, SIDE_PX - 1.001).reshape(n, SIDE_PX, 1)
    x, y, picture = at_x.astype(np.int64), at_y.astype(np.int64), np.arange(n)[:, None, None]
    right, down = at_x - x.astype(np.float32), at_y - y.astype(np.float32)
    above = values[picture, y, x] * (1 - right) + values[picture, y, x + 1] * right
    below = values[picture, y + 1, x] * (1 - right) + values[picture, y + 1, x + 1] * right
    cropped: Floats = above * (1 - down) + below * down
    return cropped


def _watermarks(n: int, rng: np.random.Generator) -> Floats:
    """Masks of a line of random letters of 3×5 pixels at a random position: float32 (n, 48, 48)."""
    letters = np.zeros((n, 5, _LETTERS, 4), np.float32)
    letters[..., :3] = rng.random((n, 5, _LETTERS, 3)) < 0.55
    lines = letters.reshape(n, 5, 4 * _LETTERS)
    masks = np.zeros((n, SIDE_PX, SIDE_PX), np.float32)
    corners = rng.integers((2, 1), (SIDE_PX - 6, SIDE_PX - 4 * _LETTERS), (n, 2))
    for mask, line, (top, left) in zip(masks, lines, corners, strict=True):
        mask[top : top + 5, left : left + 4 * _LETTERS] = line
    return masks
