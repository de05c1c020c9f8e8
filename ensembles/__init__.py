"""Blending of out-of-fold predictions. Training and submissions share only files with this package."""
