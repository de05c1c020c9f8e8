"""A pipeline of albumentations for a kernel: its file travels in the script, and lies beside runs/ there.

The trainers are given its name alone, so that the command in a fetched run is right where that file lies.
"""

from __future__ import annotations

import base64
import lzma
from pathlib import Path

from fer_kit.batches.pipeline_file import AugmentFile
from fer_kit.errors import FerKitError
from fer_kit.files import atomic

OPTION = "--augment"


def encode(file: AugmentFile) -> str:
    """The file's bytes, compressed, in base85."""
    return base64.b85encode(lzma.compress(file.written, preset=9)).decode("ascii")


def write(path: Path, text: str) -> None:
    """Write the file of a text from `encode`, byte for byte: a config names it by its digest.

    Raises:
        FerKitError: the text was damaged.
    """
    try:
        written = lzma.decompress(base64.b85decode("".join(text.split())))
    except (ValueError, lzma.LZMAError) as error:
        raise FerKitError(f"the pipeline in this script is damaged ({error}); build it again") from None
    with atomic.replacing(path) as file:
        file.write(written)
