"""Folders of images, a folder for each class: `train/angry/*.jpg`, `test/happy/*.png`; also in a zip or tar file.

The common mirrors of FER2013 have this form. Their test folder mixes both halves of test.csv and loses its order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from fer_kit.competition import CLASSES, SIDE_PX
from fer_kit.data import archives
from fer_kit.data.archives import PLAIN, TAR, ZIP, Source
from fer_kit.data.class_words import ALLOWED, class_of
from fer_kit.data.csv_reader import Faces
from fer_kit.data.formats import encoded
from fer_kit.data.formats.rows import MOST_ROWS, UNKNOWN_HALF, Found, Rows, in_content_order, part
from fer_kit.data.formats.splits import TRAINING, split_of, split_of_folder
from fer_kit.errors import FerKitError

TEXT = "image folders (train/angry/*.jpg …)"
UNORDERED = "image folders do not keep the order of test.csv"
_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz")
_MOST_FOLDERS = 100


@dataclass(frozen=True)
class _Picture:
    """An image file, its split (see `splits`) and its class."""

    source: Source
    key: str
    split: int
    label: int


def find(place: Path) -> Found | None:
    """The images at `place`, in a folder of `place`, or in an archive."""
    for candidate in _candidates(place):
        pictures = _pictures(candidate)
        if pictures is None:
            continue
        splits = {picture.split == TRAINING for picture in pictures}
        if len(splits) < 2:
            raise FerKitError(
                f"{candidate}: has image folders for {'train' if True in splits else 'test'} rows alone; add the "
                f"folder {'test' if True in splits else 'train'}"
            )
        keys = [picture.key for picture in pictures]
        return Found(
            [one.source for one in pictures], keys, partial(_read, pictures), True, UNORDERED, in_file_order=False
        )
    return None


def _candidates(place: Path) -> Iterator[Path]:
    if place.is_file():
        if archives.kind_of(place) in (ZIP, TAR):
            yield place
        return
    yield place
    children = _listing(place)
    yield from [Path(child.path) for child in children if child.is_dir()][:_MOST_FOLDERS]
    for child in children:
        if child.name.lower().endswith(_ARCHIVES) and child.is_file():
            yield Path(child.path)


def _pictures(place: Path) -> list[_Picture] | None:
    """The images in split and class folders of `place`, in the order of their names; None if there are none."""
    made = []
    for source, split_name, class_name, file_name in _in_archive(place) if place.is_file() else _in_folder(place):
        split, label = split_of_folder(split_name), class_of(class_name)
        if split is None:
            continue
        if label is None:
            raise FerKitError(f"{source.name}: the folder '{class_name}' is no class; allowed are {ALLOWED}")
        if split == UNKNOWN_HALF:  # the names of files can tell the half: PublicTest_123.jpg
            told = split_of(file_name)
            split = split if told in (None, TRAINING) else int(told or split)
        made.append(_Picture(source, f"{split_name}/{class_name}/{file_name}", split, label))
        if len(made) > MOST_ROWS:
            raise FerKitError(f"{place}: has more than {MOST_ROWS:,} images; name the folder of FER2013 alone")
    return sorted(made, key=lambda picture: picture.key) or None


def _in_folder(place: Path) -> Iterator[tuple[Source, str, str, str]]:
    for split in _listing(place):
        if split_of_folder(split.name) is None or not split.is_dir():
            continue
        for kind in _listing(Path(split.path)):
            for file in _listing(Path(kind.path)) if kind.is_dir() else ():
                if file.name.lower().endswith(encoded.ENDINGS) and not file.name.startswith(".") and file.is_file():
                    yield Source(Path(file.path), None, 0, PLAIN), split.name, kind.name, file.name


def _in_archive(place: Path) -> Iterator[tuple[Source, str, str, str]]:
    def wanted(name: str) -> bool:
        parts = PurePosixPath(name).parts
        return (
            len(parts) >= 3
            and name.lower().endswith(encoded.ENDINGS)
            and "__MACOSX" not in parts
            and not parts[-1].startswith(".")
            and split_of_folder(parts[-3]) is not None
        )

    for source in archives.members(place, wanted, lambda names: len(names) > MOST_ROWS):
        parts = PurePosixPath(source.member or "").parts
        yield source, parts[-3], parts[-2], parts[-1]


def _listing(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []


def _read(pictures: Sequence[_Picture]) -> Rows:
    images = np.empty((len(pictures), SIDE_PX, SIDE_PX), np.uint8)
    sources = [picture.source for picture in pictures]
    for position, content in archives.contents(sources, encoded.MOST_BYTES):
        images[position] = encoded.decode(content, sources[position].name)
    labels = np.array([picture.label for picture in pictures], np.int64)
    splits = np.array([picture.split for picture in pictures], np.uint8)
    every = Faces(images, labels, splits)
    missing = [name for label, name in enumerate(CLASSES) if not (labels[splits == TRAINING] == label).any()]
    if missing:
        raise FerKitError(
            f"{sources[0].path.parent}: the train folders have no image of {', '.join(missing)}; add these folders"
        )
    return Rows(
        *(in_content_order(part(every, splits == TRAINING if train else splits != TRAINING)) for train in (1, 0))
    )
