"""Members drawn from a known truth: what is right, and how sure one may be of it, is given."""

from __future__ import annotations

import numpy as np

from fer_kit import metrics


def truth(rows: int, seed: int = 0, sharpness: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, 7) whose softmax the labels (N,) were drawn from: the best and best calibrated answer there is."""
    rng = np.random.default_rng(seed)
    logits = sharpness * rng.normal(size=(rows, 7))
    return logits, (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)


def members(logits: np.ndarray, noises: list[float], seed: int = 1, shared: float = 0.5) -> np.ndarray:
    """Log-probabilities (M, N, 7): the truth with noise that all share and noise of each member's own."""
    rng = np.random.default_rng(seed)
    common = logits + shared * rng.normal(size=logits.shape)
    return np.array([metrics.log_softmax(common + noise * rng.normal(size=logits.shape)) for noise in noises])


def useless(count: int, rows: int, seed: int = 2) -> np.ndarray:
    """Log-probabilities (count, N, 7) that know nothing."""
    drawn = np.random.default_rng(seed).normal(size=(count, rows, 7))
    return np.array([metrics.log_softmax(member) for member in drawn])
