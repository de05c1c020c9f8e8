"""Draw the answers on a photo: a numbered box and bars of probabilities for each face."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fer_kit.classify.answers import Answer
from fer_kit.classify.detect import Box
from fer_kit.competition import CLASSES
from fer_kit.files import atomic

if TYPE_CHECKING:
    from PIL import Image

MOST_PX = 1600  # longer side of the photo in the picture
LEAST_PX = 240  # shorter side; smaller photos are enlarged
PANEL_PX, ROW_PX, TEXT_PX, BAR_PX = 250, 17, 13, 90
COLOURS = ((230, 85, 13), (49, 130, 189), (49, 163, 84), (117, 107, 177), (214, 39, 112), (140, 109, 49))
PAPER, INK, FAINT = (255, 255, 255), (29, 36, 48), (216, 221, 228)
QUALITY = 90


def picture(pixels: NDArray[np.uint8], answers: Sequence[Answer]) -> Image.Image:
    """The photo with boxes, and beside it the bars of each face in the colour of its box."""
    from PIL import Image, ImageDraw, ImageFont

    photo = Image.fromarray(pixels)
    scale = min(1.0, MOST_PX / max(photo.size))
    scale = max(scale, min(LEAST_PX / min(photo.size), MOST_PX / max(photo.size)))
    if scale != 1.0:
        photo = photo.resize((max(1, round(photo.width * scale)), max(1, round(photo.height * scale))))
    block = ROW_PX * (len(CLASSES) + 1) + 12
    beside = max(1, (max(photo.height, block) - 12) // block)  # faces in one column of bars
    columns = -(-len(answers) // beside)
    sheet = Image.new("RGB", (photo.width + columns * PANEL_PX, max(photo.height, block + 12)), PAPER)
    sheet.paste(photo, (0, 0))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT_PX)
    for number, one in enumerate(answers):
        colour = COLOURS[number % len(COLOURS)]
        box = one.box or Box(0, 0, min(pixels.shape[:2]))
        _box(pen, box, scale, photo.size, colour, f"{number}", font)
        left = photo.width + number // beside * PANEL_PX + 12
        _bars(pen, one, (left, 12 + number % beside * block), colour, number, font)
    return sheet


def _box(
    pen: Any, box: Box, scale: float, size: tuple[int, int], colour: tuple[int, int, int], text: str, font: Any
) -> None:
    """A box, cut at the edges of the photo, with its number in the upper left corner."""
    left, top = max(0, round(box.left * scale)), max(0, round(box.top * scale))
    right = min(size[0] - 1, round((box.left + box.side) * scale))
    bottom = min(size[1] - 1, round((box.top + box.side) * scale))
    if right <= left or bottom <= top:
        return
    pen.rectangle((left, top, right, bottom), outline=colour, width=max(2, round(min(size) / 250)))
    width = 10 + 8 * len(text)
    pen.rectangle((left, top, left + width, top + ROW_PX), fill=colour)
    pen.text((left + width / 2, top + ROW_PX / 2), text, fill=PAPER, font=font, anchor="mm")


def _bars(pen: Any, one: Answer, at: tuple[int, int], colour: tuple[int, int, int], number: int, font: Any) -> None:
    """The seven probabilities as bars, below the number and label of the face."""
    left, top = at
    pen.text((left, top), f"{number}: {one.label} {one.probabilities.max():.0%}", fill=colour, font=font)
    for row, (name, share) in enumerate(zip(CLASSES, one.probabilities, strict=True), start=1):
        y = top + row * ROW_PX
        pen.text((left + 68, y + ROW_PX / 2), name, fill=INK, font=font, anchor="rm")
        pen.rectangle((left + 76, y + 3, left + 76 + BAR_PX, y + ROW_PX - 4), fill=FAINT)
        if share > 0.005:
            pen.rectangle((left + 76, y + 3, left + 76 + BAR_PX * float(share), y + ROW_PX - 4), fill=colour)
        pen.text((left + 84 + BAR_PX, y + ROW_PX / 2), f"{share:.0%}", fill=INK, font=font, anchor="lm")


def file_name(source: Path) -> str:
    """The name of the picture of a photo; photos of the same name in different folders get different names."""
    digest = hashlib.sha256(str(source).encode("utf-8", "surrogateescape")).hexdigest()[:6]
    stem = "".join(one if one.isalnum() or one in "._-" else "_" for one in source.stem)[:60]
    return f"{stem or 'photo'}-{digest}.jpg"


def save(image: Image.Image, path: Path) -> None:
    """Write the picture as JPEG."""
    with atomic.replacing(path) as file:
        image.save(file, "JPEG", quality=QUALITY)
