"""Twins: images that come from the same source photo, found from the pixels alone.

About 28% of FER2013's train rows share their photo with another train row, in another crop, contrast
or with a watermark. Rows that share a photo must share a fold, or out-of-fold scores flatter every
network that memorises.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fer_kit.errors import FerKitError, did_you_mean

Images = NDArray[np.uint8]  # (N, 48, 48)
Ints = NDArray[np.int64]

METHODS = ("auto", "exact")
FLAT_STD = 5.0  # grey levels; an image with less contrast matches everything and shows no photo
GROUP_LIMIT = 100  # images; the largest true group of FER2013 has fewer than 50


@dataclass(frozen=True)
class Twins:
    """Which images belong together, and how that was found.

    groups: int64 (N,), 0, 1, 2 … in order of first appearance; a group of one is an image without twin
    method, thresholds, counts: what goes into the record; the same images always give the same
    seconds: wall time of each stage, which differs from run to run
    """

    groups: Ints
    method: str
    thresholds: dict[str, float]
    counts: dict[str, int]
    seconds: dict[str, float] = field(default_factory=dict, compare=False)


def find(images: Images, method: str = "auto", threads: int | None = None) -> Twins:
    """Group the twins among `images`, uint8 (N, 48, 48).

    The partition depends on the set of images alone: not on their order, nor on the number of threads.
    Images with a standard deviation under 5 grey levels stay alone even where they are identical: they
    share no photo, they lack one, and their labels are independent draws.

    Raises:
        FerKitError: an unknown method, or a group of more than 100 images.
    """
    if method not in METHODS:
        raise FerKitError(f"method {method!r} must be one of {', '.join(METHODS)}{did_you_mean(method, METHODS)}")
    start = time.perf_counter()
    flat = images.reshape(len(images), -1).std(axis=1, dtype=np.float32) < FLAT_STD
    solid = np.flatnonzero(~flat)
    _, first, image_of = np.unique(content_keys(images[solid]), return_index=True, return_inverse=True)
    groups = np.empty(len(images), np.int64)
    groups[solid] = image_of
    groups[flat] = len(first) + np.arange(int(flat.sum()))
    groups = by_first_appearance(groups)
    check_sizes(groups)
    counts = {"images": len(images), "flat": int(flat.sum()), "exact_copies": len(solid) - len(first)}
    return Twins(groups, "exact", {"flat_std": FLAT_STD}, counts, {"exact": time.perf_counter() - start})


def content_keys(images: Images) -> NDArray[np.bytes_]:
    """A hash of each image's pixels, (N,) of 32 hex digits: equal for equal images, sortable, free of positions."""
    return np.array([hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() for image in images], "S32")


def by_first_appearance(groups: Ints) -> Ints:
    """The same partition with its groups numbered 0, 1, 2 … in order of first appearance, (N,)."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def check_sizes(groups: Ints, limit: int = GROUP_LIMIT) -> None:
    """Raise FerKitError where a group has more than `limit` images: strangers were chained together."""
    sizes = np.bincount(groups, minlength=1)
    if sizes.max() > limit:
        raise FerKitError(
            f"a twin group of {sizes.max():,} images (first: row {np.flatnonzero(groups == sizes.argmax())[0]}) is over"
            f" the limit of {limit}: look at these images, then remove mass copies or use --method exact"
        )
