"""Self-distillation: targets that move from the labels towards the network's own earlier predictions.

The network predicts each training row once an epoch anyway, so the predictions cost nothing. Where they persist in
contradicting a label, the label is probably wrong or the expression is mixed.

Sources: the target that moves in proportion to the epochs is that of Kim et al., "Self-Knowledge Distillation with
Progressive Refinement of Targets", ICCV 2021 (arXiv 2006.12000); the running mean over epochs is that of Laine and
Aila, "Temporal Ensembling for Semi-Supervised Learning", ICLR 2017 (arXiv 1610.02242).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from fer_kit.competition import NUM_CLASSES
from fer_kit.config.train_config import TrainConfig

DECAY = 0.8  # of the running mean over epochs


def targets_of_epoch(
    labels: Tensor, targets: Tensor | None, predicted: Tensor | None, epoch: int, config: TrainConfig
) -> Tensor | None:
    """The targets of one epoch, float32 (N, 7): target and prediction weighted by 1 - s and s.

    s = self_distillation * epoch / epochs.

    Args:
        labels: int64 (N,).
        targets: the targets without self-distillation, float32 (N, 7); None for the labels.
        predicted: what `updated` returned after the previous epoch; None before the first one.
        epoch: number of finished epochs.

    Returns:
        The targets; `targets` itself if the own predictions have no weight.
    """
    share = config.self_distillation * epoch / config.epochs
    if predicted is None or not share:
        return targets
    given = F.one_hot(labels, NUM_CLASSES).float() if targets is None else targets
    return torch.lerp(given, predicted, share)


def updated(predicted: Tensor | None, order: Tensor, logits: Tensor) -> Tensor:
    """The running mean of the class probabilities of each row after one more epoch, float32 (N, 7).

    Args:
        predicted: the running mean so far; None after the first epoch.
        order: int64 (N,), the rows in the order of `logits`, each row once.
        logits: float32 (N, 7), the predictions in training mode, made before the step that uses them.
    """
    latest = torch.empty_like(logits)
    latest[order] = logits.softmax(1)
    return latest if predicted is None else torch.lerp(latest, predicted, DECAY)
