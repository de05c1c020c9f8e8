"""`FaceNetwork`: a network together with normalisation of the grey values and test-time views."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fer_kit.batches.augment import normalise
from fer_kit.engine import views


class FaceNetwork(nn.Module):
    """Maps uint8 faces (N, 48, 48) to logits float32 (N, 7): normalises, makes test-time views, averages their logits.

    Args:
        net: a network that maps normalised faces float32 (N, 1, 48, 48) to logits (N, 7).
        view_set: a key of `engine.views.VIEWS`.
    """

    def __init__(self, net: nn.Module, view_set: str) -> None:
        super().__init__()
        self.net, self.view_set = net, view_set

    def forward(self, faces: Tensor) -> Tensor:
        """Logits float32 (N, 7) of uint8 faces (N, 48, 48), which must be on the network's device."""
        x = normalise(faces[:, None].float().div_(255.0)).contiguous(memory_format=torch.channels_last)
        logits = torch.stack([self.net(view).float() for view in views.seen(x, self.view_set)])  # (V, N, 7)
        return logits.mean(0)
