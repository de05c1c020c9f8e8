"""Losses and class weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fer_kit.config import TrainConfig
from fer_kit.labels import NUM_CLASSES

EFFECTIVE_NUMBER_BETA = 0.9999


def make_loss(
    config: TrainConfig, labels: NDArray[np.int64], device: torch.device
) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of `config`: logits float32 (B, 7) and targets, int64 (B,) or shares (B, 7), to a scalar.

    labels: of the training rows, for the class weights.
    """
    weights = torch.tensor(class_weights(config.loss_weights, labels), dtype=torch.float32, device=device)  # (7,)
    smoothing = config.label_smoothing

    def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits, targets, weights, label_smoothing=smoothing)

    def focal(logits: Tensor, targets: Tensor) -> Tensor:
        """Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017; for shares, of each class's own term."""
        shares = F.one_hot(targets, NUM_CLASSES).float() if targets.ndim == 1 else targets  # (B, 7)
        shares = shares * (1.0 - smoothing) + smoothing / NUM_CLASSES
        log_probs = F.log_softmax(logits, dim=1)  # (B, 7)
        doubt = (1.0 - log_probs.exp()).clamp_min(1e-6) ** config.focal_gamma  # the root of 0 has no gradient
        return -(shares * weights * doubt * log_probs).sum(1).mean()

    return focal if config.loss == "focal" else cross_entropy


def class_weights(kind: str, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weight of each class, (7,), with mean 1 over the rows; a class without rows gets 1.

    "balanced" is inverse frequency; "effective" the effective number of samples of Cui et al., "Class-Balanced
    Loss", CVPR 2019, with beta 0.9999; "none" is 1 for all.
    """
    counts = np.bincount(labels, minlength=NUM_CLASSES).astype(np.float64)
    if kind == "none":
        return np.ones(NUM_CLASSES)
    seen = np.maximum(counts, 1.0)
    weights = 1.0 / seen if kind == "balanced" else (1 - EFFECTIVE_NUMBER_BETA) / (1 - EFFECTIVE_NUMBER_BETA**seen)
    weights = weights / ((weights * counts).sum() / counts.sum())
    return np.where(counts > 0, weights, 1.0)
