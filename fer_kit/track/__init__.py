"""Weights & Biases beside a run, in a process of its own."""
