"""Find twins, images that come from the same source photo, by their pixels.

28% of FER2013's train rows share their photo with another train row, in another crop or contrast, or with a watermark.
Rows that share a photo must be in the same fold. Otherwise out-of-fold scores are too high for networks that memorise
photos.

    aligned    exact copies, and pairs with similar edges that correlate in fine detail after alignment (needs OpenCV)
    unaligned  exact copies, and pairs with similar edges and brightness without alignment; as few false pairs as
               aligned, finds half the pairs
    exact      exact copies only
    none       no search: each image is a group of its own (to measure the effect of twins on a score)
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fer_kit.competition import PIXELS
from fer_kit.errors import FerKitError, did_you_mean
from fer_kit.folds import twin_alignment, twin_candidates

if TYPE_CHECKING:
    from concurrent.futures import Executor

Images = NDArray[np.uint8]  # (N, 48, 48)
Ints = NDArray[np.int64]

METHODS = ("auto", "aligned", "unaligned", "exact", "none")
FLAT_STD = 5.0  # grey levels; an image with less contrast shows no photo and is similar to all images
GROUP_LIMIT = 100  # images; the largest true group of FER2013 has 36

# Chosen by inspecting pairs of FER2013: tests/benchmarks/records/bench_folds.json
CANDIDATE_COSINE = 0.53  # 0.60 finds 92% of the pairs in half the time
MIRRORED_CANDIDATE_COSINE = 0.62
# Correlation. False pairs: one in 10 from 0.75 to 0.78, one in 20 from 0.78 to 0.81, none above. The alignment rounds
# as the processor's vector instructions do, and one pair more or less changes all folds. So both thresholds lie in
# gaps: FER2013 has no pair from 0.7788 to 0.7798, and no mirrored one from 0.8294 to 0.8307.
SAME_PHOTO = 0.7793
MIRRORED_SAME_PHOTO = 0.83  # higher, since a nearly symmetric face resembles its mirror image
UNALIGNED_COSINE = 0.80
UNALIGNED_BRIGHTNESS = 0.80  # correlation at 16×16 pixels; with the cosine, 0.2% of the pairs fail the alignment


@dataclass(frozen=True, eq=False)
class Twins:
    """Groups of twins, and a record of the search.

    groups: int64 (N,), numbered 0, 1, 2 … in order of first appearance; an image without a twin is a group of one.
    pairs: int64 (P, 2), rows that were joined because they look alike; rows with equal pixels appear as the first of
    these rows. method, thresholds, counts: record of the search, the same for the same images. seconds: wall-clock time
    and processor time of each stage.
    """

    groups: Ints
    pairs: Ints
    method: str
    thresholds: dict[str, float]
    counts: dict[str, int]
    seconds: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class _Notes:
    """Thresholds, counts and times that a search records."""

    thresholds: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, tuple[float, float]] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        clock, processor = time.perf_counter(), time.process_time()
        yield
        self.seconds[stage] = time.perf_counter() - clock, time.process_time() - processor


def find(images: Images, method: str = "auto", threads: int | None = None, progress: bool = False) -> Twins:
    """Group the twins among `images`.

    The groups depend on the set of images alone, not on their order or on the number of threads. Images with a standard
    deviation under 5 grey levels are groups of one even if they are identical: they show no photo, so their labels are
    independent.

    Args:
        images: uint8 (N, 48, 48).
        method: one of `METHODS`; "auto" is "aligned" if OpenCV is installed, else "unaligned".
        threads: number of threads; default: the number of cores.
        progress: show a progress bar even if stderr is not a terminal.

    Raises:
        FerKitError: the method is unknown, "aligned" is used without OpenCV, or a group has more than 100 images.
    """
    from concurrent.futures import ThreadPoolExecutor

    method = chosen(method)
    if method == "none":
        return Twins(np.arange(len(images)), np.empty((0, 2), np.int64), method, {}, {"images": len(images)}, {})
    notes = _Notes(thresholds={"flat_std": FLAT_STD, "group_limit": GROUP_LIMIT})
    with notes.timed("copies"):
        flat = is_flat(images)
        solid = np.flatnonzero(~flat)
        _, first, picture_of = np.unique(content_keys(images[solid]), return_index=True, return_inverse=True)
        pictures = images[solid[first]]  # one of each content, in an order that depends on the content alone
    notes.counts.update(images=len(images), flat=int(flat.sum()), exact_copies=len(solid) - len(first))
    pairs = np.empty((0, 2), np.int64)
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        if method == "aligned" and len(pictures) > 1:
            pairs = _aligned(pictures, pool, progress, notes)
        elif method == "unaligned" and len(pictures) > 1:
            pairs = _unaligned(pictures, pool, notes)
    with notes.timed("groups"):
        groups = np.empty(len(images), np.int64)
        groups[solid] = _connected(len(pictures), pairs)[picture_of]
        groups[flat] = len(pictures) + np.arange(int(flat.sum()))
        groups = by_first_appearance(groups)
    check_sizes(groups, method)
    return Twins(groups, solid[first][pairs], method, notes.thresholds, notes.counts, notes.seconds)


def chosen(method: str) -> str:
    """The method that will be used on this machine: "auto" is replaced.

    Raises:
        FerKitError: the method is unknown, or "aligned" is used without OpenCV.
    """
    if method not in METHODS:
        raise FerKitError(f"method {method!r} must be one of {', '.join(METHODS)}{did_you_mean(method, METHODS)}")
    if method == "aligned" and not twin_alignment.available():
        raise FerKitError("method 'aligned' needs OpenCV: pip install opencv-python-headless, or --method unaligned")
    if method == "auto":
        return "aligned" if twin_alignment.available() else "unaligned"
    return method


def _aligned(pictures: Images, pool: Executor, progress: bool, notes: _Notes) -> Ints:
    """Pairs of `pictures` that show the same photo after alignment, int64 (P, 2)."""
    from tqdm import tqdm

    with notes.timed("describe"):
        descriptions = twin_candidates.describe(pictures, pool)
    with notes.timed("candidates"):
        near, near_mirrored = twin_candidates.worth_aligning(descriptions, CANDIDATE_COSINE, MIRRORED_CANDIDATE_COSINE)
    upright, mirrored = near.pairs, near_mirrored.pairs
    off = None if progress else True  # None: tqdm shows the bar only if stderr is a terminal
    with tqdm(total=len(upright) + len(mirrored), desc="aligning pairs", unit="pair", disable=off) as bar:
        with notes.timed("align"):
            alike = twin_alignment.similarities(pictures, upright, pool, done=bar.update)
        with notes.timed("align_mirrored"):
            alike_mirrored = twin_alignment.similarities(pictures, mirrored, pool, mirror=True, done=bar.update)
    joined, joined_mirrored = upright[alike >= SAME_PHOTO], mirrored[alike_mirrored >= MIRRORED_SAME_PHOTO]
    notes.counts.update(
        candidates=len(upright),
        joined=len(joined),
        mirrored_candidates=len(mirrored),
        mirrored_joined=len(joined_mirrored),
    )
    if near.left_out or near_mirrored.left_out:
        notes.counts["candidates_left_out"] = near.left_out + near_mirrored.left_out
    notes.thresholds.update(
        candidate_cosine=near.least,
        mirrored_candidate_cosine=near_mirrored.least,
        same_photo_correlation=SAME_PHOTO,
        mirrored_same_photo_correlation=MIRRORED_SAME_PHOTO,
    )
    return np.concatenate([joined, joined_mirrored])


def _unaligned(pictures: Images, pool: Executor, notes: _Notes) -> Ints:
    """Pairs of `pictures` with similar edges and brightness without alignment, int64 (P, 2)."""
    with notes.timed("describe"):
        descriptions = twin_candidates.describe(pictures, pool)
    with notes.timed("candidates"):
        rows = twin_candidates.embedding(descriptions)(descriptions)
        pairs = twin_candidates.near_pairs(rows, rows, UNALIGNED_COSINE).pairs
        joined = pairs[twin_candidates.brightness_correlations(pictures, pairs) >= UNALIGNED_BRIGHTNESS]
    notes.counts.update(candidates=len(pairs), joined=len(joined))
    notes.thresholds.update(candidate_cosine=UNALIGNED_COSINE, brightness_correlation=UNALIGNED_BRIGHTNESS)
    return joined


def is_flat(images: Images) -> NDArray[np.bool_]:
    """Mask bool (N,) of images without content: their standard deviation is under 5 grey levels."""
    # Integer sums, so that the result does not depend on rounding or on the position of an image in the array.
    values = images.reshape(len(images), PIXELS)
    total = values.sum(axis=1, dtype=np.int64)
    squares = np.einsum("ij,ij->i", values, values, dtype=np.int64)
    flat: NDArray[np.bool_] = PIXELS * squares - total**2 < (FLAT_STD * PIXELS) ** 2
    return flat


def content_keys(images: Images) -> NDArray[np.bytes_]:
    """Hash of the pixels of each image, (N,) with 32 hex digits; equal images have equal hashes."""
    return np.array([hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() for image in images], "S32")


def by_first_appearance(groups: Ints) -> Ints:
    """Renumber groups (N,) as 0, 1, 2 … in order of first appearance."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    numbers: Ints = np.argsort(np.argsort(first))[inverse]
    return numbers


def check_sizes(groups: Ints, method: str) -> None:
    """Refuse groups of more than 100 images: these are chains of different photos, or copies added to the data.

    Raises:
        FerKitError: a group has more than 100 images.
    """
    sizes = np.bincount(groups, minlength=1)
    if sizes.max() <= GROUP_LIMIT:
        return
    rows = np.flatnonzero(groups == sizes.argmax())
    way_out = "remove the copies from the data" if method == "exact" else "remove mass copies or try --method exact"
    raise FerKitError(
        f"{len(rows):,} images form one twin group, over the limit of {GROUP_LIMIT} (rows {rows[0]}, {rows[1]}, "
        f"{rows[2]} …, train rows first, then test rows); look at them, then {way_out}"
    )


def _connected(count: int, pairs: Ints) -> Ints:
    """Connected component of each of `count` nodes, int64 (count,); `pairs` int64 (P, 2) are the edges."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, component = connected_components(edges, directed=False)
    return np.asarray(component, np.int64)
