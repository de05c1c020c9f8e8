"""Trainings of a sweep on a Ray cluster whose machines share no folder."""
