"""Cut a face out of a photo as FER2013 shows faces: 48×48, grey."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fer_kit.classify.detect import Box
from fer_kit.competition import SIDE_PX

Pixels = NDArray[np.uint8]  # (H, W, 3), RGB
Face = NDArray[np.uint8]  # (48, 48)


def crop(pixels: Pixels, box: Box) -> Face:
    """The face in `box`, averaged to 48×48; outside the photo its edge is repeated."""
    height, width = pixels.shape[:2]
    left, top = math.floor(box.left), math.floor(box.top)
    side = max(1, round(box.side))
    rows = np.clip(np.arange(top, top + side), 0, height - 1)
    columns = np.clip(np.arange(left, left + side), 0, width - 1)
    return to_face(pixels[rows[:, None], columns])


def whole(pixels: Pixels) -> Face:
    """The largest centred square of a photo as a face."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return to_face(pixels[top : top + side, left : left + side])


def to_face(square: Pixels) -> Face:
    """A square of any size as grey 48×48; each pixel is the mean of its area where the square is larger."""
    from PIL import Image

    grey = Image.fromarray(square).convert("L")
    if grey.size != (SIDE_PX, SIDE_PX):
        shrinks = grey.width > SIDE_PX
        grey = grey.resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC)
    return np.asarray(grey, np.uint8)
