"""Facts of the competition: its name at Kaggle, its classes in the order of its files, size and grey values."""

from __future__ import annotations

COMPETITION = "challenges-in-representation-learning-facial-expression-recognition-challenge"
CLASSES = ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral")
NUM_CLASSES = len(CLASSES)
SIDE_PX = 48
PIXELS = SIDE_PX * SIDE_PX

# Mean and standard deviation of the grey values of FER2013's train rows, as shares of white.
PIXEL_MEAN, PIXEL_STD = 0.5077, 0.2550
