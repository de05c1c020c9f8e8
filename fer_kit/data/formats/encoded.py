"""One face in an encoded image (PNG, JPEG, BMP, WebP), from an untrusted source."""

from __future__ import annotations

import io
import warnings

import numpy as np
from numpy.typing import NDArray

from fer_kit.competition import SIDE_PX
from fer_kit.errors import FerKitError, first_line

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
MOST_BYTES = 1 << 20  # of one file; a face of 48×48 pixels takes 2 kB
_KINDS = ("PNG", "JPEG", "BMP", "WEBP")


def decode(content: bytes, where: str) -> NDArray[np.uint8]:
    """The grey values, uint8 (48, 48). The size is checked before the pixels are unpacked.

    Raises:
        FerKitError: not such an image, or one of another size or with several pictures.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(content), formats=_KINDS) as image:
            size, pictures = image.size, getattr(image, "n_frames", 1)
            grey = None
            if size == (SIDE_PX, SIDE_PX) and pictures == 1:
                grey = np.asarray(image.convert("L"), np.uint8)
    except Exception as error:  # Pillow raises many kinds for damaged files
        raise FerKitError(
            f"{where}: not a readable image ({first_line(error)}); allowed are {', '.join(_KINDS)}; remove or replace "
            "the file"
        ) from None
    if grey is None:
        found = f"{size[0]}×{size[1]} pixels" if pictures == 1 else f"{pictures} pictures"
        raise FerKitError(f"{where}: has {found}, allowed is one picture of {SIDE_PX}×{SIDE_PX}; get the data again")
    return grey
