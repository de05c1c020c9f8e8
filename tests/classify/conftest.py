"""Photos with a drawn face, and a detector that knows where the face is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_kit.classify.detect import Box
from fer_kit.synthetic import draw

FIRST_VERSION = Path(__file__).resolve().parents[1] / "fixtures" / "first_version" / "runs"
BY = ["--by", "residual-small/fold0", "--runs", str(FIRST_VERSION), "--device", "cpu"]
SIZE, AT = (160, 120), Box(40, 20, 48)  # width and height of the photos; place of the face
GROUND = 200


class Dark:
    """Finds the photo's dark square; photos without one have no face."""

    name = "dark"

    def find(self, pixels: np.ndarray) -> list[Box]:
        rows, columns = np.nonzero(pixels.mean(axis=2) < GROUND - 30)
        if len(rows) < 100:
            return []
        return [Box(float(columns.min()), float(rows.min()), float(np.ptp(rows) + 1))]


@pytest.fixture(scope="session")
def face() -> np.ndarray:
    """A drawn face, uint8 (48, 48), below the grey of the photos' ground."""
    return np.minimum(draw.draw(100, 20, seed=1).train_images[0], GROUND - 40)


@pytest.fixture(scope="session")
def photo(face: np.ndarray) -> Image.Image:
    """A photo with the face in it."""
    pixels = np.full((*SIZE[::-1], 3), GROUND, np.uint8)
    left, top = int(AT.left), int(AT.top)
    pixels[top : top + 48, left : left + 48] = face[:, :, None]
    return Image.fromarray(pixels)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the stub as OpenCV's detector."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fer_kit.classify.detect.make", lambda file: Dark())
    return tmp_path
