"""Which pairs of images are worth aligning: those whose pooled edge orientations resemble each other.

Soft orientation maps (eight bins of the doubled angle, square-root magnitude) pooled over a coarse grid,
projected on their principal axes with variances partly evened out, as unit vectors. Needs numpy alone.
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
EVENING = 0.45  # each axis is divided by variance^.45: 0 keeps its share, .5 evens all out
SCALE = 2048  # unit vectors are stored as whole numbers of 1/2048
CHUNK = 32  # images described at once: their maps fit into a core's cache
BLOCK = 512  # rows of the similarity matrix held at once, and
TILE = 1024  # columns: 2 MB, which stay in the cache between the product and the comparison, at half the time
FEW = 32  # images whose pairs are all worth aligning
MOST_PER_IMAGE = 50  # candidate pairs; FER2013 has 0.7 an image, and groups over 100 images are refused anyway
# Candidates worth the time. Pairs of strangers that resemble each other grow with the square of the images, pairs of
# the same photo with the images, and are the most alike. FER2013 has 0.7 and 0.05 an image: none is left out there.
ALIGNED_PER_IMAGE, MIRRORED_PER_IMAGE = 1.0, 0.1
ALWAYS_ALIGNED = 10_000  # pairs, however few the images are
SMALL_SIDE = 16  # pixels, for brightness


def describe(images: Images, pool: Executor) -> Floats:
    """Pooled orientation maps, (N, BINS, GRID, GRID), each image's as a unit vector."""
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
    """Gaussian weights of each pixel column in each grid cell, (GRID, side_px), rows summing to 1."""
    centres = (np.arange(GRID) + 0.5) * side_px / GRID - 0.5
    weights = np.exp(-0.5 * ((np.arange(side_px) - centres[:, None]) / POOL_SIGMA_PX) ** 2)
    window: Floats = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return window


def mirrored(descriptions: Floats) -> Floats:
    """The descriptions of the images flipped left to right: angles change sign, columns change order."""
    return descriptions[:, -np.arange(BINS) % BINS, :, ::-1]


def embedding(descriptions: Floats, axes: int = AXES) -> Callable[[Floats], Floats]:
    """The projection that `descriptions` (N, BINS, GRID, GRID) call for: a function from such an array to (N, axes).

    Vectors have length SCALE and whole-number entries, so that their products are exact in float32
    whatever the order of summation: the same candidates on every machine and any number of threads.
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
    """Pairs i < j of images that resemble each other.

    pairs: int64 (P, 2), in order; cosines: float32 (P,)
    least: every pair of this cosine or more is among them; left_out: pairs below that would have been near enough
    """

    pairs: Ints
    cosines: Floats
    least: float
    left_out: int = 0

    def most_alike(self, count: int) -> Near:
        """At least `count` of the pairs, as many as are equally alike, chosen by their cosines alone."""
        if len(self.pairs) <= count:
            return self
        least = np.partition(self.cosines, -count)[-count]
        kept = self.cosines >= least
        return Near(self.pairs[kept], self.cosines[kept], float(least), int((~kept).sum()))


def worth_aligning(descriptions: Floats, upright: float, flipped: float) -> tuple[Near, Near]:
    """Pairs i < j that may be the same photo, and pairs that may be once j is mirrored.

    upright, flipped: least cosines, which rise where so many pairs reach them that one an image (one in ten of those
    mirrored) is enough. Few images span few axes, on which nothing resembles anything: they get fewer axes, and up to
    32 images are all paired with each other.
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

    rows, columns: what `embedding` gives, (N, A) both

    Raises:
        FerKitError: more than 50 N pairs.
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
                f"over {MOST_PER_IMAGE} pairs for each of {len(rows):,} images look like the same photo: these are too"
                " alike to tell twins apart; use --method exact"
            )
    return Near(np.concatenate(found), np.concatenate(products) / np.float32(SCALE * SCALE), least)


def _near_in_block(rows: Floats, columns: Floats, start: int, threshold: np.float32) -> tuple[Ints, Floats]:
    """The pairs of `near_pairs` whose first is one of the `BLOCK` rows from `start` on, (P, 2), and products, (P,)."""
    block, found, alike = rows[start : start + BLOCK], [], []
    for left in range(start, len(columns), TILE):
        products = block @ columns[left : left + TILE].T  # (BLOCK, TILE), both maybe fewer
        where = np.flatnonzero(products >= threshold)
        first, second = np.divmod(where, products.shape[1])
        first, second = first + start, second + left
        above = second > first
        found.append(np.stack([first[above], second[above]], axis=1))
        alike.append(products.ravel()[where[above]])
    pairs = np.concatenate(found)
    order = np.argsort(pairs[:, 0], kind="stable")  # tiles came in the order of their columns
    return pairs[order], np.concatenate(alike)[order]


def brightness_correlations(images: Images, pairs: Ints) -> Floats:
    """Pearson's correlation of each pair's images reduced to 16×16, (P,)."""
    step = images.shape[1] // SMALL_SIDE
    small = images.reshape(len(images), SMALL_SIDE, step, SMALL_SIDE, step).mean(axis=(2, 4), dtype=np.float32)
    flat = small.reshape(len(images), -1)
    flat -= flat.mean(axis=1, keepdims=True)
    flat /= np.maximum(np.sqrt((flat * flat).sum(axis=1, keepdims=True)), 1e-6)
    correlations: Floats = (flat[pairs[:, 0]] * flat[pairs[:, 1]]).sum(axis=1)
    return correlations
