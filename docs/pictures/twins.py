"""Draw twins.png: four drawn photos, each beside the kinds of twins that the synthetic competition plants.

python docs/pictures/twins.py docs/pictures/twins.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from fer_kit.drawing import pictures
from fer_kit.synthetic import faces, near_copies

LABELS = (3, 5, 0, 6)  # Happy, Surprise, Angry, Neutral
NAMES = {"exact": "same pixels", "mirror": "mirrored", "crop": "cropped", "contrast": "contrast"}


def main(path: Path, seed: int = 3) -> None:
    """Write the picture to `path`."""
    rng = np.random.default_rng(seed)
    photos = faces.render(faces.traits(np.array(LABELS), rng), rng)
    columns = [photos, *(near_copies.make(photos, kind, rng) for kind in near_copies.KINDS)]
    captions = ["photo", *(NAMES.get(kind, kind) for kind in near_copies.KINDS)]
    sheet = np.stack(columns, axis=1).reshape(-1, *photos.shape[1:])
    texts = [""] * (len(columns) * (len(photos) - 1)) + captions
    pictures.save(pictures.face_sheet(sheet, texts, len(columns)), path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
