"""The values of one row of a csv file of faces, and the wording of what can be wrong with them.

`where` opens each error (file, row, line); `cut` ends those that a file cut off in the middle explains.
"""

from __future__ import annotations

import csv

from fer_kit.competition import CLASSES, NUM_CLASSES, PIXELS, SIDE_PX
from fer_kit.errors import FerKitError

LABEL, PIXEL, USAGE = "emotion", "pixels", "Usage"
USAGES = ("Training", "PublicTest", "PrivateTest")


def fields(line: bytes, where: str, cut: str = "") -> list[str]:
    """The values of one row or header, quotes taken off."""
    try:
        rows = list(csv.reader([line.decode("utf-8")], strict=True, skipinitialspace=True))
    except UnicodeDecodeError as error:
        raise FerKitError(
            f"{where}: byte 0x{line[error.start]:02x} is not UTF-8; save the file as UTF-8 or download it again"
        ) from None
    except csv.Error as error:
        unclosed = str(error) == "unexpected end of data"
        fault = "a quote is opened and not closed" if unclosed else f"not valid csv ({error})"
        raise FerKitError(f"{where}: {fault}{cut}") from None
    return rows[0] if rows else []


def label(text: str, where: str) -> int:
    """A class number."""
    number = _integer(text.strip(" "))
    if number is None or number >= NUM_CLASSES:
        allowed = f"0 to {NUM_CLASSES - 1} ({CLASSES[0]} to {CLASSES[-1]})"
        raise FerKitError(f"{where}: {LABEL} is '{shown(text)}', allowed are {allowed}")
    return number


def usage(text: str, where: str, cut: str) -> int:
    """A position in USAGES."""
    if text.strip(" ") not in USAGES:
        raise FerKitError(f"{where}: {USAGE} is '{shown(text)}', allowed are {', '.join(USAGES)}{cut}")
    return USAGES.index(text.strip(" "))


def pixels(text: str, where: str, cut: str) -> list[int]:
    """The 2,304 values of one image, row by row."""
    values: list[int] = []
    for word in filter(None, text.split(" ")):
        value = _integer(word)
        if value is None or value > 255:
            raise FerKitError(
                f"{where}: pixel {len(values) + 1} is '{shown(word)}', allowed are the integers 0 to 255{cut}"
            )
        values.append(value)
    if len(values) != PIXELS:
        raise FerKitError(f"{where}: has {len(values):,} pixels, must have {PIXELS:,} ({SIDE_PX}×{SIDE_PX}){cut}")
    return values


def _integer(text: str) -> int | None:
    """The value of a string of digits 0–9 (no sign, leading zeros allowed), 999 for a large one, else None."""
    if not (text.isascii() and text.isdigit()):
        return None
    significant = text.lstrip("0")
    return 999 if len(significant) > 3 else int(significant or "0")


def shown(text: str) -> str:
    """`text` on one line of bearable length."""
    escaped = text.encode("unicode_escape").decode("ascii")
    return escaped if len(escaped) <= 40 else escaped[:37] + "..."
