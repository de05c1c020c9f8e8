"""Find pairs of images that are worth aligning, by their pooled edge orientations. Needs numpy alone.

An image is described by soft orientation maps (eight bins of the doubled angle, square-root magnitude), pooled over a
coarse grid, projected on their principal axes with partly equalised variances, and scaled to unit length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fer_kit.errors import FerKitError

if TYPE_CHECKING:
    from concurrent.futures import Executor

Images = NDArray[np.uint8]  # (N, 48, 48)
Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

BINS = 8
GRID = 4
POOL_SIGMA_PX = 8.0
AXES = 96
EVENING = 0.45  # each axis is divided by variance^.45: 0 = unchanged, .5 = all axes have equal variance
SCALE = 2048  # unit vectors are stored as integers in units of 1/2048
CHUNK = 32  # images described at once; their maps fit into the cache of a core
# Rows and columns of the similarity matrix that are computed at once: 2 MB, which stay in the cache between product
# and comparison and halve the time.
BLOCK, TILE = 512, 1024
FEW = 32  # with at most this many images, all pairs are aligned
MOST_PER_IMAGE = 50  # candidate pairs; FER2013 has 0.7 an image, and groups over 100 images are refused anyway
# Candidates that are aligned, per image. The number of similar pairs of different photos grows with the square of the
# number of images; the number of pairs of the same photo grows linearly, and these are the most similar. FER2013 has
# 0.7 and 0.05 candidates per image, so no candidate is left out.
ALIGNED_PER_IMAGE, MIRRORED_PER_IMAGE = 1.0, 0.1
ALWAYS_ALIGNED = 10_000  # pairs that are aligned even if there are few images
SMALL_SIDE = 16  # pixels, for the comparison of brightness


def describe(images: Images, pool: Executor) -> Floats:
    """Pooled orientation maps of images uint8 (N, 48, 48), as unit vectors: float32 (N, BINS, GRID, GRID)."""
    chunks = [images[start : start + CHUNK] for start in range(0, len(images), CHUNK)]
    return np.concatenate(list(pool.map(_describe, chunks)))


def _describe(images: Images) -> Floats:
    padded = np.pad(images.astype(np.float32), ((0, 0), (1, 1), (1, 1)), "edge")
    across = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    down = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    across2, down2 = across * across, down * down
    squared = across2 + down2 + 1e-6
    cosine, sine = (across2 - down2) / squared, 2 * across * down / squared  # of the doubled angle
    weight = np.sqrt(np.sqrt(squared))
    window = _window(images.shape[1])
    out = np.empty((len(images), BINS, GRID, GRID), np.float32)
    for bin_ in range(BINS):
        angle = 2 * np.pi * bin_ / BINS
        near = np.maximum(np.float32(np.cos(angle)) * cosine + np.float32(np.sin(angle)) * sine, 0)
        out[:, bin_] = window @ (near * near * weight) @ window.T
    unit: Floats = out / np.sqrt((out * out).sum(axis=(1, 2, 3), keepdims=True))
    return unit


def _window(side_px: int) -> Floats:
    """Gaussian weights of each pixel column in each grid cell, (GRID, side_px); each row sums to 1."""
    centres = (np.arange(GRID) + 0.5) * side_px / GRID - 0.5
    weights = np.exp(-0.5 * ((np.arange(side_px) - centres[:, None]) / POOL_SIGMA_PX) ** 2)
    window: Floats = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return window


def mirrored(descriptions: Floats) -> Floats:
    """Descriptions of the images flipped left to right: angles change sign, columns are reversed."""
    return descriptions[:, -np.arange(BINS) % BINS, :, ::-1]


def embedding(descriptions: Floats, axes: int = AXES) -> Callable[[Floats], Floats]:
    """Fit a projection to `descriptions` (N, BINS, GRID, GRID); returns a function from such an array to (N, axes).

    The projected vectors have length SCALE and integer entries, so their products are exact in float32 for any order of
    summation and any number of threads. Only the fit differs between machines, in the last digits of the axes: a few
    entries are rounded to the neighbouring integer, and with the BLAS kernels tried FER2013 has the same candidates.
    """
    flat = descriptions.reshape(len(descriptions), -1).astype(np.float64)
    mean = flat.mean(axis=0)
    variances, vectors = np.linalg.eigh((flat - mean).T @ (flat - mean) / len(flat))
    kept = np.flatnonzero(variances > 1e-9 * variances[-1])[::-1][:axes]
    basis = vectors[:, kept] * variances[kept] ** -EVENING

    def embed(descriptions: Floats) -> Floats:
        points = (descriptions.reshape(len(descriptions), -1) - mean) @ basis
        lengths = np.sqrt((points**2).sum(axis=1, keepdims=True))
        whole: Floats = np.round(SCALE * points / np.maximum(lengths, 1e-12)).astype(np.float32)
        return whole

    return embed


@dataclass(frozen=True, eq=False)
class Near:
    """Pairs i < j of similar images.

    pairs: int64 (P, 2), in ascending order. cosines: float32 (P,). least: all pairs with at least this cosine are
    included. left_out: number of pairs above the requested cosine that `most_alike` left out.
    """

    pairs: Ints
    cosines: Floats
    least: float
    left_out: int = 0

    def most_alike(self, count: int) -> Near:
        """The `count` pairs with the largest cosines, and all pairs with the same cosine as the last of these."""
        if len(self.pairs) <= count:
            return self
        least = np.partition(self.cosines, -count)[-count]
        kept = self.cosines >= least
        return Near(self.pairs[kept], self.cosines[kept], float(least), int((~kept).sum()))


def worth_aligning(descriptions: Floats, upright: float, flipped: float) -> tuple[Near, Near]:
    """Pairs i < j that may show the same photo, and pairs that may show the same photo after j is mirrored.

    Args:
        descriptions: float32 (N, BINS, GRID, GRID).
        upright, flipped: least cosines of the two kinds of pairs. If too many pairs reach them, only the most similar
            pairs are kept: about one per image, and one per ten images for mirrored pairs.

    Few images span few axes, on which vectors of different photos are almost orthogonal. So few images get fewer axes,
    and up to 32 images are all paired with each other.
    """
    count = len(descriptions)
    if count <= FEW:
        pairs = np.stack(np.triu_indices(count, 1), axis=1)
        everyone = Near(pairs, np.ones(len(pairs), np.float32), -1.0)
        return everyone, everyone
    embed = embedding(descriptions, min(AXES, count // 4))
    rows, mirrored_rows = embed(descriptions), embed(mirrored(descriptions))
    most, most_mirrored = (
        max(ALWAYS_ALIGNED, int(count * an_image)) for an_image in (ALIGNED_PER_IMAGE, MIRRORED_PER_IMAGE)
    )
    return (
        near_pairs(rows, rows, upright).most_alike(most),
        near_pairs(rows, mirrored_rows, flipped).most_alike(most_mirrored),
    )


def near_pairs(rows: Floats, columns: Floats, least: float) -> Near:
    """Pairs i < j with cosine(rows[i], columns[j]) ≥ `least`.

    rows, columns: results of `embedding`, both float32 (N, A).

    Raises:
        FerKitError: there are more than 50 N pairs.
    """
    threshold = np.float32(least * SCALE * SCALE)
    found, products, count = [np.empty((0, 2), np.int64)], [np.empty(0, np.float32)], 0
    for start in range(0, len(rows), BLOCK):
        pairs, alike = _near_in_block(rows, columns, start, threshold)
        found.append(pairs)
        products.append(alike)
        count += len(pairs)
        if count > MOST_PER_IMAGE * len(rows):
            raise FerKitError(
                f"more than {MOST_PER_IMAGE} pairs per image (of {len(rows):,} images) look like the same photo; the "
                "images are too similar to find twins; use --method exact"
            )
    return Near(np.concatenate(found), np.concatenate(products) / np.float32(SCALE * SCALE), least)


def _near_in_block(rows: Floats, columns: Floats, start: int, threshold: np.float32) -> tuple[Ints, Floats]:
    """The pairs of `near_pairs` whose first row is in the block that begins at `start`: (P, 2), and products (P,)."""
    block, found, alike = rows[start : start + BLOCK], [], []
    for left in range(start, len(columns), TILE):
        products = block @ columns[left : left + TILE].T  # (BLOCK, TILE), smaller at the ends
        where = np.flatnonzero(products >= threshold)
        first, second = np.divmod(where, products.shape[1])
        first, second = first + start, second + left
        above = second > first
        found.append(np.stack([first[above], second[above]], axis=1))
        alike.append(products.ravel()[where[above]])
    pairs = np.concatenate(found)
    order = np.argsort(pairs[:, 0], kind="stable")  # stable, since the tiles are in the order of their columns
    return pairs[order], np.concatenate(alike)[order]


def brightness_correlations(images: Images, pairs: Ints) -> Floats:
    """Pearson's correlation of the two images of each pair, reduced to 16×16 pixels: float32 (P,)."""
    step = images.shape[1] // SMALL_SIDE
    small = images.reshape(len(images), SMALL_SIDE, step, SMALL_SIDE, step).mean(axis=(2, 4), dtype=np.float32)
    flat = small.reshape(len(images), -1)
    flat -= flat.mean(axis=1, keepdims=True)
    flat /= np.maximum(np.sqrt((flat * flat).sum(axis=1, keepdims=True)), 1e-6)
    correlations: Floats = (flat[pairs[:, 0]] * flat[pairs[:, 1]]).sum(axis=1)
    return correlations
