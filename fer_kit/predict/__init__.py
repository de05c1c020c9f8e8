"""Predict the rows of finished folds."""
