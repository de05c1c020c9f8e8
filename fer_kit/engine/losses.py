"""The loss: cross-entropy or focal loss, with label smoothing and class weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fer_kit.competition import NUM_CLASSES
from fer_kit.config.train_config import TrainConfig

EFFECTIVE_NUMBER_BETA = 0.9999


@dataclass(frozen=True, eq=False)
class Loss:
    """The loss of `config`: maps logits float32 (B, 7) and targets, int64 (B,) or float32 (B, 7), to a scalar.

    With `loss_weights`, the weight of an image is the mean of the class weights under its target, and applies to the
    whole loss of the image. torch's own class weights apply to each class's term instead, and so also scale the share
    that label smoothing gives to the other classes: with a smoothing of 0.1, Disgust (balanced weight 9.4) would get 10
    to 19% of the target of any other face.

    class_weights: float32 (7,), on the device.
    """

    config: TrainConfig
    class_weights: Tensor

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of a batch, weighted as `loss_weights` says."""
        weighted = self.config.loss_weights != "none"
        if self.config.loss == "focal":
            loss = self.focal(logits, targets)  # (B,)
        else:
            smoothing, reduction = self.config.label_smoothing, "none" if weighted else "mean"
            loss = F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction=reduction)  # (B,) or its mean
        if not weighted:
            return loss.mean()
        weights = self.image_weights(targets)
        return (weights * loss).sum() / weights.sum()

    def focal(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The focal loss of each image, (B,); for soft targets the factor applies to each class's term.

        Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017.
        """
        smoothing = self.config.label_smoothing
        shares = F.one_hot(targets, NUM_CLASSES).float() if targets.ndim == 1 else targets  # (B, 7)
        shares = shares * (1.0 - smoothing) + smoothing / NUM_CLASSES
        log_probs = F.log_softmax(logits, dim=1)  # (B, 7)
        doubt = (1.0 - log_probs.exp()).clamp_min(1e-6) ** self.config.focal_gamma  # a root has no finite gradient at 0
        return -(shares * doubt * log_probs).sum(1)

    def image_weights(self, targets: Tensor) -> Tensor:
        """The weight of each image, float32 (B,): the mean of the class weights under its target."""
        if targets.ndim == 1:
            return self.class_weights[targets]
        return (targets * self.class_weights).sum(1)  # not a matrix product, which autocast would round to bfloat16

    def weight_sum(self, targets: Tensor) -> Tensor | int:
        """The sum of the image weights, the divisor in the batch's mean loss; without weights the number of images."""
        return len(targets) if self.config.loss_weights == "none" else self.image_weights(targets).sum()


def make_loss(config: TrainConfig, labels: NDArray[np.int64], device: torch.device) -> Loss:
    """The loss of `config`. labels: int64 (N,), labels of the training rows, from which class weights are computed."""
    return Loss(config, torch.tensor(class_weights(config.loss_weights, labels), dtype=torch.float32, device=device))


def class_weights(kind: str, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """The weight of each class, (7,), scaled to a mean of 1 over the rows; a class without rows gets 1.

    "balanced" is the inverse frequency; "effective" uses the effective number of samples (Cui et al., "Class-Balanced
    Loss", CVPR 2019) with beta 0.9999; "none" is 1 for all classes.
    """
    counts = np.bincount(labels, minlength=NUM_CLASSES).astype(np.float64)
    if kind == "none":
        return np.ones(NUM_CLASSES)
    seen = np.maximum(counts, 1.0)
    weights = 1.0 / seen if kind == "balanced" else (1 - EFFECTIVE_NUMBER_BETA) / (1 - EFFECTIVE_NUMBER_BETA**seen)
    weights = weights / ((weights * counts).sum() / counts.sum())
    return np.where(counts > 0, weights, 1.0)
