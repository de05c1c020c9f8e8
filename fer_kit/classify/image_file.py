"""Read a photo of any common form as 8-bit RGB, upright, within bounds of memory."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_kit.errors import FerKitError, first_line

MOST_PIXELS = 100_000_000  # of a photo: 300 MB as RGB
MOST_BYTES = 256 << 20  # of a file
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "AVIF")
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".webp"),
    *(".pgm", ".ppm", ".pnm", ".avif"),
)
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
_WHITE = (255, 255, 255)


@dataclass(frozen=True, eq=False)
class Photo:
    """pixels: uint8 (H, W, 3), RGB, upright. notes: what was done to the image, such as "first of 12 frames"."""

    pixels: NDArray[np.uint8]
    notes: tuple[str, ...]


def read(path: Path) -> Photo:
    """Read a photo: rotated as its EXIF data say, on white where it is transparent, the first frame of several.

    Raises:
        FerKitError: the file is missing, is no image of `FORMATS`, is damaged, has floating-point values, or is larger
            than `MOST_PIXELS` or `MOST_BYTES`; the message does not name the file.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    content = _content(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the size is checked here; notes on metadata do not matter
            with Image.open(io.BytesIO(content), formats=_known()) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise Image.DecompressionBombError
                frames = int(getattr(image, "n_frames", 1)) if image.format != "MPO" else 1
                notes = [f"first of {frames} frames"] if frames > 1 else []
                image.load()
                upright = ImageOps.exif_transpose(image)
                pixels, note = _rgb(upright)
    except FerKitError:
        raise
    except Image.DecompressionBombError:  # Pillow's own limit is larger
        raise FerKitError(f"more than {MOST_PIXELS // 10**6} megapixels, the most that are read; reduce it") from None
    except UnidentifiedImageError:
        raise FerKitError(f"not an image in a form that is read ({', '.join(FORMATS)})") from None
    except Exception as error:  # Pillow's decoders raise many kinds for damaged files
        raise FerKitError(f"damaged image ({first_line(error)})") from None
    return Photo(pixels, (*notes, *([note] if note else [])))


def size(path: Path) -> tuple[int, int] | None:
    """Width and height of a photo from its header; None if it cannot be read."""
    from PIL import Image

    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=_known()) as image:
            return image.size
    except Exception:  # `read` names the fault
        return None


def _known() -> list[str]:
    """Those of `FORMATS` that this version of Pillow reads."""
    from PIL import Image

    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise FerKitError("no such file" if not path.exists() else "not a regular file")
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise FerKitError(f"{size:,} bytes; at most {MOST_BYTES:,} are read")
    if not size:
        raise FerKitError("the file is empty")
    try:
        return path.read_bytes()
    except OSError as error:
        raise FerKitError(f"cannot be read ({error.strerror or error})") from None


def _rgb(image: object) -> tuple[NDArray[np.uint8], str]:
    """The image as uint8 (H, W, 3), and a note on a conversion that loses something."""
    from PIL import Image

    assert isinstance(image, Image.Image)
    if image.mode in _SIXTEEN_BIT or image.mode == "I":
        values = np.asarray(image).astype(np.int64)
        if image.mode == "I" and values.size and not 0 <= values.min() <= values.max() < 1 << 16:
            raise FerKitError("its values are 32-bit numbers; save the image with 8 or 16 bits a channel")
        grey = (values >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2), "16 bits reduced to 8"
    if image.mode == "F":
        raise FerKitError("its values are floating-point numbers; save the image with 8 or 16 bits a channel")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        over = image.convert("RGBA")
        ground = Image.new("RGBA", over.size, (*_WHITE, 255))
        return np.asarray(Image.alpha_composite(ground, over).convert("RGB")), "transparent parts on white"
    return np.asarray(image.convert("RGB")), ""
