"""The photos and files of faces that the words of the command line name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fer_kit.classify import image_file, pixel_files
from fer_kit.files import atomic

MOST_FILES = 1_000_000  # of a folder


@dataclass(frozen=True)
class Source:
    """A photo or a file of faces. fault: why it cannot be read, or "". name: as the user knows the file."""

    path: Path
    holds_faces: bool = False
    fault: str = ""

    @property
    def name(self) -> str:
        """The path as a string."""
        return str(self.path)


def find(words: Sequence[str | Path]) -> Iterator[Source]:
    """The files that `words` name: files as they are, folders with all images below them, sorted by name.

    A word that names nothing gives a source with a fault, so that the others are still read.
    """
    for word in words:
        path = atomic.expanded(word)
        if path.is_dir():
            yield from _in_folder(path)
        else:
            yield Source(path, holds_faces=path.suffix.lower() in pixel_files.SUFFIXES)


def _in_folder(folder: Path) -> Iterator[Source]:
    """The images below a folder, by their suffixes; hidden files and folders are left out, links are not followed."""
    count, refused = 0, []
    for where, inside, files in os.walk(folder, onerror=lambda error: refused.append(error.filename)):
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and name.lower().endswith(image_file.SUFFIXES):
                count += 1
                if count > MOST_FILES:
                    yield Source(folder, fault=f"more than {MOST_FILES:,} images; name its folders one by one")
                    return
                yield Source(Path(where) / name)
    for name in refused:
        yield Source(Path(name), fault="the folder cannot be read; change its permissions")
    if not count and not refused:
        yield Source(folder, fault=f"no images in this folder (looked for {' '.join(image_file.SUFFIXES)})")
