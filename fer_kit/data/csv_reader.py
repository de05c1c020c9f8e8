"""The reader of the competition's csv files: fast for rows in the usual form, exact about the first faulty row.

Blocks of rows are parsed by array operations on their bytes. A block with anything unusual is parsed again row by row,
by plain code that accepts every equivalent spelling and names the fault otherwise. Both give the same arrays
(tests/data/test_csv_reader.py).
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

import numpy as np
from numpy.typing import NDArray

from fer_kit.competition import PIXELS, SIDE_PX
from fer_kit.data.class_words import ALLOWED, WORDS, class_of
from fer_kit.errors import FerKitError

USAGES = ("Training", "PublicTest", "PrivateTest")
BLOCK_BYTES = 1 << 18  # a block and its intermediate arrays fit the processor's cache
MAX_LINE_BYTES = 1 << 20  # a row of 2,304 numbers takes 9 kB
MOST_ROWS = 200_000  # the competition has 35,887; larger data is refused before it fills the memory

_PACKED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"7z\xbc\xaf": "7z",
    b"Rar!": "rar",
    b"PK\x03\x04": "zip",
}
_NO_CODE = 255
_DELIMITERS = (b"\t", b";", b",")
_QUOTES = (b"", b'"')
_SPELLINGS = {
    **{f"{code}": code for code in WORDS.values()},
    **{spelt: code for word, code in WORDS.items() for spelt in (word, word.title(), word.upper())},
}
_LABEL_CODES = {quote + spelt.encode() + quote: code for spelt, code in _SPELLINGS.items() for quote in _QUOTES}
_USAGE_CODES = {quote + name.encode() + quote: code for code, name in enumerate(USAGES) for quote in _QUOTES}


@dataclass(frozen=True)
class Faces:
    """Rows of one csv file, in its order.

    images: uint8 (N, 48, 48). labels: int64 (N,), or (0,) if that column was not requested.
    usage: uint8 (N,), positions in USAGES, or (0,) if that column was not requested.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    usage: NDArray[np.uint8]


def read(file: IO[bytes], name: str, columns: Sequence[str], refused: Sequence[str] = ()) -> Faces:
    """Read the requested columns, which must include the pixels; other columns are skipped.

    Columns are found by their names in the header, ignoring spaces around them and capital letters. A line is a row: a
    quoted value cannot continue on the next line. The header decides whether commas, semicolons or tabs separate the
    values. A byte order mark, CRLF line ends, quotes, spaces around values, leading zeros, classes in words, empty
    lines and a missing last line end are accepted.

    Args:
        file: opened in binary mode; read once, forwards.
        name: of the file, for error messages.
        columns: some of LABEL, PIXEL, USAGE.
        refused: columns that the file must not have.

    Raises:
        FerKitError: there is no header, a requested column is missing, a refused one exists, there are no rows or more
            than MOST_ROWS, or a row has a fault (the first one is named).
    """
    _keep_freed_memory()
    blocks = _whole_lines(file, name)
    header, delimiter, first_block, lines_before = _header(blocks, name)
    layout = _layout(name, header, delimiter, columns, refused)
    parts: list[Faces] = []
    rows_before = 0
    for block in itertools.chain([first_block], blocks):
        line_ends = _line_ends(block)
        part = _parse_fast(block, line_ends, layout) or _parse_exactly(block, layout, rows_before, lines_before)
        parts.append(part)
        rows_before += len(part.images)
        if rows_before > MOST_ROWS:
            raise FerKitError(f"{name}: has more than {MOST_ROWS:,} rows; name the file of FER2013 alone")
        lines_before += len(line_ends)
    if rows_before == 0:
        raise FerKitError(f"{name}: has a header but no rows; download the file again")
    return Faces(
        images=np.concatenate([part.images for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        usage=np.concatenate([part.usage for part in parts]),
    )


@dataclass(frozen=True)
class _Layout:
    """Positions of the requested columns in a row of `count` fields, between `delimiter`s; `others` are skipped."""

    name: str
    delimiter: bytes
    count: int
    pixels: int
    label: int | None
    usage: int | None
    others: tuple[int, ...]


def _layout(name: str, header: list[str], delimiter: bytes, columns: Sequence[str], refused: Sequence[str]) -> _Layout:
    known = {column.lower(): column for column in (LABEL, PIXEL, USAGE)}
    header = [known.get(column.lower(), column) for column in header]
    for column in columns:
        if header.count(column) != 1:
            fault = "appears more than once in" if column in header else "is missing from"
            raise FerKitError(f"{name}: column '{column}' {fault} the header (found: {shown(', '.join(header))})")
    for column in refused:
        if column in header:
            raise FerKitError(f"{name}: must have no column '{column}'; a file with one is read as fer2013.csv")
    return _Layout(
        name=name,
        delimiter=delimiter,
        count=len(header),
        pixels=header.index(PIXEL),
        label=header.index(LABEL) if LABEL in columns else None,
        usage=header.index(USAGE) if USAGE in columns else None,
        others=tuple(place for place, column in enumerate(header) if column not in columns),
    )


def _keep_freed_memory() -> None:
    """Stop the C library (glibc) from returning the memory of each block to the system.

    Getting the memory back costs as much as the parsing. glibc keeps freed memory once a large piece was freed: see
    "dynamic mmap threshold" in mallopt(3), whose upper limit is 32 MB. With other C libraries this has no effect.
    """
    np.empty(31 << 20, np.uint8)


def _whole_lines(file: IO[bytes], name: str) -> Iterator[bytes]:
    """Blocks of whole lines, CRLF made LF; only the last block can lack the line end."""
    rest = b""
    while chunk := file.read(BLOCK_BYTES):
        body, newline, rest_of_chunk = chunk.rpartition(b"\n")
        if newline:
            lines = b"".join([rest, body, newline])
            yield lines.replace(b"\r\n", b"\n") if b"\r" in lines else lines
            rest = rest_of_chunk
        else:
            rest += chunk
        if len(rest) > MAX_LINE_BYTES:
            raise FerKitError(f"{name}: a line is longer than {MAX_LINE_BYTES:,} bytes; this is no csv file of faces")
    if rest:
        yield rest.removesuffix(b"\r")


def _header(blocks: Iterator[bytes], name: str) -> tuple[list[str], bytes, bytes, int]:
    """The column names, the byte between them, the rest of the first block, and the number of lines read."""
    lines_before = 0
    for block in blocks:
        if lines_before == 0:
            if packer := next((kind for magic, kind in _PACKED.items() if block.startswith(magic)), None):
                raise FerKitError(f"{name}: is a {packer} archive, not a csv file; unpack it")
            block = block.removeprefix(b"\xef\xbb\xbf")
        while block:
            line, _, block = block.partition(b"\n")
            lines_before += 1
            if line.strip():
                delimiter = next((one for one in _DELIMITERS if one in line), b",")
                fields = split_fields(line, f"{name}: the header (line {lines_before})", delimiter=delimiter)
                return [field.strip() for field in fields], delimiter, block, lines_before
    raise FerKitError(f"{name}: the file is empty; download it again")


def _line_ends(block: bytes) -> list[int]:
    """Positions where the lines of a block end; the file's last line can lack the newline."""
    ends = []
    end = block.find(b"\n")
    while end != -1:
        ends.append(end)
        end = block.find(b"\n", end + 1)
    return ends if block.endswith(b"\n") or not block else [*ends, len(block)]


def _parse_fast(block: bytes, line_ends: list[int], layout: _Layout) -> Faces | None:
    """The rows of a block, or None if anything in the block is not in the plainest form."""
    view = memoryview(block)  # slices are not copies: the pixels are copied only once, into one text
    pixels: list[memoryview] = []
    labels, usage = [], []
    start, delimiter = 0, layout.delimiter
    for end in line_ends:
        left, right, start = start, end, end + 1
        if left == right:
            continue
        # The fields before and after the pixels are cut off. A surplus one stays in the pixels and is found there.
        fields = [b""] * layout.count
        for place in range(layout.pixels):
            cut = block.find(delimiter, left, right)
            if cut == -1:
                return None
            fields[place], left = block[left:cut], cut + 1
        for place in range(layout.count - 1, layout.pixels, -1):
            cut = block.rfind(delimiter, left, right)
            if cut == -1:
                return None
            fields[place], right = block[cut + 1 : right], cut
        if block.startswith(b'"', left, right):
            if right - left < 2 or not block.endswith(b'"', left, right):
                return None
            left, right = left + 1, right - 1
        pixels.append(view[left:right])
        if layout.label is not None:
            labels.append(_LABEL_CODES.get(fields[layout.label], _NO_CODE))
        if layout.usage is not None:
            usage.append(_USAGE_CODES.get(fields[layout.usage], _NO_CODE))
        for place in layout.others:
            if b'"' in fields[place] or not fields[place].isascii():
                return None
    images = _parse_numbers(pixels)
    if images is None or _NO_CODE in labels or _NO_CODE in usage:
        return None
    return Faces(images, np.array(labels, np.int64), np.array(usage, np.uint8))


def _parse_numbers(texts: list[memoryview]) -> NDArray[np.uint8] | None:
    """uint8 (n, 48, 48) from n texts of 2,304 numbers 0–255 with one space between, else None."""
    # Two leading spaces, so that three bytes exist before the end of each number; one space after each text.
    text = np.frombuffer(b" ".join([b" ", *texts, b""]), np.uint8)
    digits = text - np.uint8(ord("0"))  # any other byte wraps around to 10 or more
    is_digit = digits <= 9
    ends = np.flatnonzero(~is_digit[3:])  # the last digits of numbers, counted from the third byte
    row_ends = np.cumsum([len(row) + 1 for row in texts]) - 2
    if (
        ends.size != len(texts) * PIXELS
        or not np.array_equal(ends[PIXELS - 1 :: PIXELS], row_ends)
        or np.count_nonzero(text == ord(" ")) != ends.size + 2  # no byte is other than digit or space
        or not (is_digit[2:] | is_digit[1:-1]).all()  # no number is empty
        or (is_digit[3:] & is_digit[2:-1] & is_digit[1:-2] & is_digit[:-3]).any()  # nor longer than 3 digits
    ):
        return None
    # The value of the number up to each byte: simple sums over all bytes cost less than looking up each digit.
    one = is_digit.view(np.uint8)  # 1 for a digit, else 0
    digits *= one
    below_100 = digits[2:] + np.uint8(10) * digits[1:-1]
    hundreds = digits[:-2] * one[1:-1] * one[2:]
    values = below_100 + np.uint8(100) * hundreds
    if hundreds.max(initial=0) > 2 or (values < below_100).any():  # the second: 256 to 299 wrapped round
        return None
    images: NDArray[np.uint8] = values[ends].reshape(-1, SIDE_PX, SIDE_PX)
    return images


def _parse_exactly(block: bytes, layout: _Layout, rows_before: int, lines_before: int) -> Faces:
    """The rows of a block one by one; raises at the first fault. Numbers in errors count from 1."""
    lines = block.split(b"\n")
    images: list[list[int]] = []
    labels: list[int] = []
    usage: list[int] = []
    for number, line in enumerate(lines, start=lines_before + 1):
        if not line:
            continue
        where = f"{layout.name}: row {rows_before + len(images) + 1} (line {number})"
        # Only the file's last line can lack a line end, and it ends the last block.
        cut = "; the file seems truncated, download it again" if number == lines_before + len(lines) else ""
        fields = split_fields(line, where, cut, layout.delimiter)
        if len(fields) != layout.count:
            raise FerKitError(
                f"{where}: has {len(fields)} field{'s' * (len(fields) != 1)}, the header has {layout.count}{cut}"
            )
        if layout.label is not None:
            labels.append(parse_label(fields[layout.label], where))
        images.append(parse_pixels(fields[layout.pixels], where, cut))
        if layout.usage is not None:
            usage.append(parse_usage(fields[layout.usage], where, cut))
    return Faces(
        images=np.array(images, np.uint8).reshape(-1, SIDE_PX, SIDE_PX),
        labels=np.array(labels, np.int64),
        usage=np.array(usage, np.uint8),
    )


LABEL, PIXEL, USAGE = "emotion", "pixels", "Usage"


def split_fields(line: bytes, where: str, cut: str = "", delimiter: bytes = b",") -> list[str]:
    """The values of one row or header, without quotes."""
    try:
        rows = list(
            csv.reader([line.decode("utf-8")], delimiter=delimiter.decode(), strict=True, skipinitialspace=True)
        )
    except UnicodeDecodeError as error:
        raise FerKitError(
            f"{where}: byte 0x{line[error.start]:02x} is not UTF-8; save the file as UTF-8 or download it again"
        ) from None
    except csv.Error as error:
        unclosed = str(error) == "unexpected end of data"
        fault = "a quote is not closed" if unclosed else f"not valid csv ({error})"
        raise FerKitError(f"{where}: {fault}{cut}") from None
    return rows[0] if rows else []


def parse_label(text: str, where: str) -> int:
    """A class by its number or word."""
    found = class_of(text)
    if found is None:
        raise FerKitError(f"{where}: {LABEL} is '{shown(text)}', allowed are {ALLOWED}")
    return found


def parse_usage(text: str, where: str, cut: str) -> int:
    """A position in USAGES."""
    if text.strip(" ") not in USAGES:
        raise FerKitError(f"{where}: {USAGE} is '{shown(text)}', allowed are {', '.join(USAGES)}{cut}")
    return USAGES.index(text.strip(" "))


def parse_pixels(text: str, where: str, cut: str) -> list[int]:
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
    """`text` on one line of at most 40 characters."""
    escaped = text.encode("unicode_escape").decode("ascii")
    return escaped if len(escaped) <= 40 else escaped[:37] + "..."
