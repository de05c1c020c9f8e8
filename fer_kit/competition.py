"""The competition: its name at Kaggle, its classes in the order of its own files, its image size."""

from __future__ import annotations

COMPETITION = "challenges-in-representation-learning-facial-expression-recognition-challenge"
CLASSES = ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral")
NUM_CLASSES = len(CLASSES)
SIDE_PX = 48
PIXELS = SIDE_PX * SIDE_PX
