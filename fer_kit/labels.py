"""Classes and image size of the competition, in the order of its own files."""

from __future__ import annotations

CLASSES = ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral")
NUM_CLASSES = len(CLASSES)
SIDE_PX = 48
PIXELS = SIDE_PX * SIDE_PX
