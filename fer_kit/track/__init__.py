"""Logging to Weights & Biases, in a separate process."""
