"""Modules that combine networks as runs and blends combine predictions: uint8 faces (N, 48, 48) → logits (N, 7).

Probabilities are combined in float64, as `metrics` and `ensembles` do with stored logits, so that the same faces get
the same probabilities up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class MeanOfNetworks(nn.Module):
    """The mean of the probabilities of several networks (folds of a run, seeds of a recipe), as logits.

    Args:
        networks: each uint8 faces (N, 48, 48) → logits (N, 7).
        shares: the weight of each network, positive and summing to 1; None for equal weights.
    """

    def __init__(self, networks: Sequence[nn.Module], shares: Sequence[float] | None = None) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.shares = list(shares or [1 / len(networks)] * len(networks))

    def forward(self, faces: Tensor) -> Tensor:
        """faces: uint8 (N, 48, 48)."""
        if len(self.networks) == 1:
            return self.networks[0](faces)
        parts = [
            network(faces).double().log_softmax(1) + math.log(share)
            for network, share in zip(self.networks, self.shares, strict=True)
        ]
        return torch.stack(parts).logsumexp(0).float()  # (N, 7)


class Tempered(nn.Module):
    """Log-probabilities (N, 7), float64, of one network, divided by a temperature and normalised again."""

    def __init__(self, network: nn.Module, temperature: float) -> None:
        super().__init__()
        self.network, self.temperature = network, temperature

    def forward(self, faces: Tensor) -> Tensor:
        """faces: uint8 (N, 48, 48)."""
        return (self.network(faces).double().log_softmax(1) / self.temperature).log_softmax(1)


class WeightedBlend(nn.Module):
    """A weighted mean of members, as `ensembles.fit.methods.Weighted` applies it.

    Args:
        members: each uint8 faces (N, 48, 48) → log-probabilities (N, 7).
        weights: the weight of each member, positive.
        of_logs: take the weighted mean of log-probabilities; False takes that of probabilities.
        sharpness: factor of the mean of log-probabilities.
    """

    def __init__(
        self,
        members: Sequence[nn.Module],
        weights: Sequence[float],
        *,
        of_logs: bool,
        sharpness: float = 1.0,
    ) -> None:
        super().__init__()
        self.members, self.weights = nn.ModuleList(members), list(weights)
        self.of_logs, self.sharpness = of_logs, sharpness

    def forward(self, faces: Tensor) -> Tensor:
        """faces: uint8 (N, 48, 48)."""
        log_probs = [member(faces) for member in self.members]
        if self.of_logs:
            parts = [(weight * self.sharpness) * part for weight, part in zip(self.weights, log_probs, strict=True)]
            return torch.stack(parts).sum(0).log_softmax(1).float()  # (N, 7)
        parts = [part + math.log(weight) for weight, part in zip(self.weights, log_probs, strict=True)]
        return torch.stack(parts).logsumexp(0).float()  # (N, 7)


class StackedBlend(nn.Module):
    """Multinomial logistic regression on the log-probabilities of all members, as `ensembles.fit.methods.Stacked`.

    Args:
        members: each uint8 faces (N, 48, 48) → log-probabilities (N, 7).
        coefficients: float64 (7, members · 7).
        intercepts: float64 (7,).
        floor: smaller log-probabilities are raised to this value.
    """

    coefficients: Tensor
    intercepts: Tensor

    def __init__(self, members: Sequence[nn.Module], coefficients: Tensor, intercepts: Tensor, floor: float) -> None:
        super().__init__()
        self.members, self.floor = nn.ModuleList(members), floor
        self.register_buffer("coefficients", coefficients)
        self.register_buffer("intercepts", intercepts)

    def forward(self, faces: Tensor) -> Tensor:
        """faces: uint8 (N, 48, 48)."""
        features = torch.cat([member(faces) for member in self.members], 1).clamp_min(self.floor)  # (N, members · 7)
        return (features @ self.coefficients.T + self.intercepts).log_softmax(1).float()  # (N, 7)
