"""`Air` with the start-up ideas of airbench, one at a time and all together: networks for the ablation.

Source: Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv 2404.00498, sections 3.2, 3.3 and 3.4, and its
code, github.com/KellerJordan/cifar10-airbench.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fer_kit.models.networks.air import Air

# The eigenvectors of 2×2 patches of the train faces are, to two digits, half the signs of sum, vertical difference,
# horizontal difference and diagonal difference. The eigenvalues are those of the normalised pixels.
DIRECTIONS = ((1, 1, 1, 1), (1, 1, -1, -1), (1, -1, 1, -1), (1, -1, -1, 1))
EIGENVALUES = (3.674, 0.0955, 0.1143, 0.0196)
SMALLEST = 5e-4  # airbench adds this to each eigenvalue, so that none divides by nearly 0
BIAS_RATE = 10.0  # airbench trains the biases of its norms at 64 times the rate, with SGD
LOGITS_SCALE = 1 / 9


def whiten_(net: Air) -> None:
    """Replace the first convolution by the eight whitening filters (each direction and its negative), frozen.

    The bias of the convolution is trained.
    """
    directions = torch.tensor(DIRECTIONS, dtype=torch.float32).reshape(4, 1, 2, 2) / 2
    scale = (torch.tensor(EIGENVALUES) + SMALLEST).rsqrt().reshape(4, 1, 1, 1)
    first = net.features[0]
    assert isinstance(first, nn.Conv2d) and first.weight.shape == (8, 1, 2, 2), "whitening has 2 × 4 filters of 2×2"
    with torch.no_grad():
        first.weight.copy_(torch.cat([directions * scale, -directions * scale]))
    first.weight.requires_grad_(False)


def identity_(net: Air) -> None:
    """Let each 3×3 convolution pass on its input channels unchanged, in as many output channels."""
    for module in net.features:
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            with torch.no_grad():
                nn.init.dirac_(module.weight[: module.in_channels])


class FastBiasNorm(nn.BatchNorm2d):
    """Batch norm whose bias is `BIAS_RATE` times its parameter, which AdamW thus moves at a multiple of the rate."""

    def forward(self, x: Tensor) -> Tensor:
        bias = self.bias * BIAS_RATE
        if self.training:
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
        momentum = 0.0 if self.momentum is None else self.momentum
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, bias, self.training, momentum, self.eps
        )


def quicken_biases_(net: Air) -> None:
    """Replace the norms of the blocks by `FastBiasNorm`."""
    for index, module in enumerate(net.features):
        if isinstance(module, nn.BatchNorm2d):
            net.features[index] = FastBiasNorm(module.num_features)


class Whitened(Air):
    """The first convolution whitens the pixels and is frozen, as in airbench."""

    def __init__(self) -> None:
        super().__init__(stem=8)
        whiten_(self)


class Identity(Air):
    """The 3×3 convolutions begin as identities where they can, as in airbench."""

    def __init__(self) -> None:
        super().__init__()
        identity_(self)


class FastBias(Air):
    """The biases of the norms have a higher learning rate, as in airbench."""

    def __init__(self) -> None:
        super().__init__()
        quicken_biases_(self)


class ScaledLogits(Air):
    """The logits are divided by 9, as in airbench."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * LOGITS_SCALE


class Start(ScaledLogits):
    """All four ideas."""

    def __init__(self) -> None:
        super().__init__(stem=8)
        whiten_(self)
        identity_(self)
        quicken_biases_(self)
