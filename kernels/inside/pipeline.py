"""A pipeline of albumentations for a kernel: the script contains its file, and the kernel writes the file beside runs/.

The trainings get the name of the file without a folder, so that the command that a fetched run records also works
locally, in the folder with the file.
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
    """The bytes of the file, compressed, in base85."""
    return base64.b85encode(lzma.compress(file.written, preset=9)).decode("ascii")


def write(path: Path, text: str) -> None:
    """Write the file from a text of `encode`, with the same bytes, since a config names the file by its digest.

    Raises:
        FerKitError: the text is damaged.
    """
    try:
        written = lzma.decompress(base64.b85decode("".join(text.split())))
    except (ValueError, lzma.LZMAError) as error:
        raise FerKitError(f"the pipeline in this script is damaged ({error}); build the script again") from None
    with atomic.replacing(path) as file:
        file.write(written)
