"""A competition of eight train and five test rows, written as any of the files it can come in."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_kit.competition import CLASSES
from fer_kit.data import loading
from fer_kit.errors import FerKitError

RNG = np.random.default_rng(1)
TRAIN_IMAGES = RNG.integers(0, 256, (8, 48, 48), dtype=np.uint8)
TRAIN_LABELS = np.array([0, 1, 2, 3, 4, 5, 6, 3])
TEST_IMAGES = RNG.integers(0, 256, (5, 48, 48), dtype=np.uint8)
TEST_LABELS = np.array([6, 5, 4, 3, 2])
USAGE = ["PublicTest"] * 3 + ["PrivateTest"] * 2
SLUG = "challenges-in-representation-learning-facial-expression-recognition-challenge"


def pixels(image: np.ndarray) -> str:
    return " ".join(map(str, image.reshape(-1)))


def content(name: str) -> str:
    """The small competition as the text of one of its files."""
    train = [(f"{label}", pixels(image), "Training") for label, image in zip(TRAIN_LABELS, TRAIN_IMAGES, strict=True)]
    test = [
        (f"{label}", pixels(image), usage) for label, image, usage in zip(TEST_LABELS, TEST_IMAGES, USAGE, strict=True)
    ]
    lines = {
        "train.csv": ["emotion,pixels", *(f'{label},"{text}"' for label, text, _ in train)],
        "test.csv": ["pixels", *(f'"{text}"' for _, text, _ in test)],
        "fer2013.csv": ["emotion,pixels,Usage", *(",".join(row) for row in train + test)],
        "icml_face_data.csv": [
            "emotion, Usage, pixels",
            *(f"{label},{usage},{text}" for label, text, usage in train + test),
        ],
    }
    return "\n".join([*lines[name], ""])


def write(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(content(name))
    return folder


def write_zip(path: Path, *names: str, inside: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("readme.txt", "hello")
        for name in names:
            archive.writestr(inside + name, content(name))
    return path


def write_tar(path: Path, *names: str, inside: str = "fer2013/") -> Path:
    """A tar file, packed by gzip if the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz" if path.name.lower().endswith(("gz", "csv")) else "w") as archive:
        for name, text in (("README", "hello"), *((name, content(name)) for name in names)):
            member = tarfile.TarInfo(inside + name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


def image_names(labels: np.ndarray, words: Sequence[str] = CLASSES) -> list[str]:
    """A path below train/ or test/ for each row, in no order of the rows."""
    return [f"{words[label]}/im_{(7 * row) % 11}_{row}" for row, label in enumerate(labels)]


def images_as_files(ending: str = ".png", words: Sequence[str] = CLASSES, train: str = "train") -> dict[str, bytes]:
    """The competition as image folders: paths and contents."""
    sets = ((train, TRAIN_IMAGES, TRAIN_LABELS), ("test", TEST_IMAGES, TEST_LABELS))
    return {
        f"{split}/{name}{ending}": encoded(image, ending)
        for split, images, labels in sets
        for name, image in zip(image_names(labels, words), images, strict=True)
    }


def encoded(image: np.ndarray, ending: str = ".png") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, {".png": "PNG", ".jpg": "JPEG", ".bmp": "BMP"}[ending.lower()])
    return buffer.getvalue()


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    for name, written in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(written)
    return folder


def refusal(function: object, *args: object) -> str:
    with pytest.raises(FerKitError) as caught:
        function(*args)  # type: ignore[operator]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def assert_is_the_competition(loaded: loading.Competition) -> None:
    np.testing.assert_array_equal(loaded.train.images, TRAIN_IMAGES)
    np.testing.assert_array_equal(loaded.train.labels, TRAIN_LABELS)
    np.testing.assert_array_equal(loaded.train.ids, np.arange(8))
    np.testing.assert_array_equal(loaded.test.images, TEST_IMAGES)
    np.testing.assert_array_equal(loaded.test.ids, np.arange(5))
    for array in (loaded.train.images, loaded.test.images):
        assert array.dtype == np.uint8 and not array.flags.writeable and type(array) is np.ndarray
    for array in (loaded.train.labels, loaded.train.ids, loaded.test.ids):
        assert array.dtype == np.int64 and not array.flags.writeable
