"""How alike two images are once one is laid over the other. Needs OpenCV.

Alignment is affine, by maximising the enhanced correlation coefficient (Evangelidis and Psarakis, 2008:
`cv2.findTransformECC`) from the best plain shift. It sees brightness and contrast evened out over some six
pixels; the verdict looks at two pixels, where wrinkles, hair and noise differ between strangers whose
faces, hair and light agree.
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
CONTRAST_FLOOR = 4.0  # grey levels: weaker texture than this is noise and stays weak
SHIFT_PX = 8  # largest plain shift tried as a start
ITERATIONS, PRECISION = 25, 1e-4
OVERLAP_PX = 900  # of 2,304
AREA_RATIO = (0.4, 2.5)  # determinant of the affine map
CHUNK = 64  # pairs handed to a thread at once
UNALIGNED = -1.0
NO_BLUR = 1  # size of OpenCV's own smoothing before alignment


def available() -> bool:
    """Whether OpenCV can be imported."""
    try:
        import cv2  # noqa: F401
    except ImportError:
        return False
    return True


def similarities(
    images: Images, pairs: Ints, pool: Executor, mirror: bool = False, done: Callable[[int], object] = lambda n: None
) -> Floats:
    """Correlation of each pair, (P,) in −1 … 1, after the second image is aligned with the first.

    pairs: int64 (P, 2), positions in `images`; mirror: flip the second image left to right first
    done: called with the number of pairs that have just been finished

    Pairs that cannot be aligned, overlap on less than 900 pixels or differ over 2.5 times in area get −1.
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
    cv2.setNumThreads(1)  # the pairs are spread over threads, not the work inside each
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
    except cv2.error:  # how OpenCV says that the iteration diverged: these two have nothing to align
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
    """Pearson's correlation of two vectors of equal length; 0 where one of them is constant."""
    one, two = one - one.mean(), two - two.mean()
    scale = float(np.sqrt((one @ one) * (two @ two)))
    return float(one @ two) / scale if scale > 0 else 0.0


def _evened(images: Images, sigma_px: float, blur_px: float) -> Floats:
    """Local mean taken away, local contrast divided out, float32 (N, 48, 48)."""
    import cv2

    out = np.empty(images.shape, np.float32)
    for image, result in zip(images, out, strict=True):
        smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), blur_px)
        centred = smooth - cv2.GaussianBlur(smooth, (0, 0), sigma_px)
        variance = cv2.GaussianBlur(centred * centred, (0, 0), sigma_px)
        result[:] = centred / np.sqrt(variance + CONTRAST_FLOOR**2)
    return out
