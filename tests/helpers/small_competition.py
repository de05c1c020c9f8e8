"""A competition of eight train and five test rows, written as any of the files it can come in."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

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
