"""Similarity of two images after one image is aligned with the other. Needs OpenCV.

The alignment is an affine map that maximises the enhanced correlation coefficient (Evangelidis and Psarakis, 2008:
`cv2.findTransformECC`), starting from the best shift. For the alignment brightness and contrast are normalised at a
scale of six pixels; for the similarity at a scale of two pixels, where wrinkles, hair and noise differ between
different people whose faces, hair and light look alike.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from concurrent.futures import Executor

Images = NDArray[np.uint8]  # (N, 48, 48)
Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

COARSE_SIGMA_PX, COARSE_BLUR_PX = 6.0, 1.0
FINE_SIGMA_PX, FINE_BLUR_PX = 2.0, 0.7
CONTRAST_FLOOR = 4.0  # grey levels: weaker texture is noise and is not amplified
SHIFT_PX = 8  # largest shift tried as a start of the alignment
ITERATIONS, PRECISION = 25, 1e-4
OVERLAP_PX = 900  # least overlap, of 2,304 pixels
AREA_RATIO = (0.4, 2.5)  # allowed determinants of the affine map
CHUNK = 64  # pairs that a thread processes at once
UNALIGNED = -1.0  # similarity of pairs that cannot be aligned
NO_BLUR = 1  # size of OpenCV's smoothing before the alignment; 1 = none


def available() -> bool:
    """True if OpenCV can be imported."""
    try:
        import cv2  # noqa: F401
    except ImportError:
        return False
    return True


def similarities(
    images: Images, pairs: Ints, pool: Executor, mirror: bool = False, done: Callable[[int], object] = lambda n: None
) -> Floats:
    """Correlation of each pair, float32 (P,) from −1 to 1, after the second image is aligned with the first image.

    Args:
        images: uint8 (N, 48, 48).
        pairs: int64 (P, 2), positions in `images`.
        pool: threads that compute the pairs.
        mirror: flip the second image left to right before the alignment.
        done: called with the number of pairs that have just been finished.

    A pair gets −1 if the images cannot be aligned, overlap on fewer than 900 pixels, or differ in area by a factor of
    more than 2.5.
    """
    import cv2

    used, where = np.unique(pairs, return_inverse=True)
    where = where.reshape(pairs.shape)
    coarse = _evened(images[used], COARSE_SIGMA_PX, COARSE_BLUR_PX)
    fine = _evened(images[used], FINE_SIGMA_PX, FINE_BLUR_PX)

    def one(first: int, second: int) -> float:
        moving, detail = coarse[second], fine[second]
        if mirror:
            moving, detail = np.ascontiguousarray(moving[:, ::-1]), np.ascontiguousarray(detail[:, ::-1])
        return _similarity(coarse[first], moving, fine[first], detail)

    def some(chunk: Ints) -> Floats:
        values = np.array([one(first, second) for first, second in chunk], np.float32)
        with lock:
            done(len(chunk))
        return values

    lock = threading.Lock()
    chunks = [where[start : start + CHUNK] for start in range(0, len(where), CHUNK)]
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)  # each thread of `pool` computes whole pairs
    try:
        return np.concatenate([np.empty(0, np.float32), *pool.map(some, chunks)])
    finally:
        cv2.setNumThreads(before)


def _similarity(still: Floats, moving: Floats, still_detail: Floats, moving_detail: Floats) -> float:
    import cv2

    centre = still[SHIFT_PX:-SHIFT_PX, SHIFT_PX:-SHIFT_PX]
    _, _, _, (x, y) = cv2.minMaxLoc(cv2.matchTemplate(moving, centre, cv2.TM_CCOEFF_NORMED))
    start = np.array([[1, 0, x - SHIFT_PX], [0, 1, y - SHIFT_PX]], np.float32)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, ITERATIONS, PRECISION)
    everywhere = np.full(still.shape, 255, np.uint8)
    try:
        _, warp = cv2.findTransformECC(still, moving, start, cv2.MOTION_AFFINE, stop, everywhere, NO_BLUR)
    except cv2.error:  # the iteration diverged: the two images have nothing in common
        return UNALIGNED
    area = warp[0, 0] * warp[1, 1] - warp[0, 1] * warp[1, 0]
    if not AREA_RATIO[0] < area < AREA_RATIO[1]:
        return UNALIGNED
    side = still.shape[::-1]
    flags = cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(moving_detail, warp, side, flags=flags | cv2.INTER_LINEAR)
    overlap = cv2.warpAffine(everywhere, warp, side, flags=flags | cv2.INTER_NEAREST) > 0
    if np.count_nonzero(overlap) < OVERLAP_PX:
        return UNALIGNED
    return correlation(still_detail[overlap], moved[overlap].astype(np.float32, copy=False))


def correlation(one: Floats, two: Floats) -> float:
    """Pearson's correlation of two vectors of equal length; 0 if a vector is constant."""
    one, two = one - one.mean(), two - two.mean()
    scale = float(np.sqrt((one @ one) * (two @ two)))
    return float(one @ two) / scale if scale > 0 else 0.0


def _evened(images: Images, sigma_px: float, blur_px: float) -> Floats:
    """Subtract the local mean and divide by the local contrast, float32 (N, 48, 48)."""
    import cv2

    out = np.empty(images.shape, np.float32)
    for image, result in zip(images, out, strict=True):
        smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), blur_px)
        centred = smooth - cv2.GaussianBlur(smooth, (0, 0), sigma_px)
        variance = cv2.GaussianBlur(centred * centred, (0, 0), sigma_px)
        result[:] = centred / np.sqrt(variance + CONTRAST_FLOOR**2)
    return out
