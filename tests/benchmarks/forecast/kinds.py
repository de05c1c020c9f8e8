"""Quick models of several kinds for pretended leaderboards: functions of train rows and rows to predict.

Their accuracy matters little. They must differ in what a forecast has to cope with: how much they remember of a train
row's twins, how much five networks gain over one, and how far their probabilities are off.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fer_kit.competition import NUM_CLASSES

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

ORIENTATIONS, CELL_PX, COMPONENTS = 8, 6, 160
RIDGE_FEATURES, RIDGE_WIDTH, RIDGE_PENALTY, RIDGE_SCALE = 2000, 1.5, 1.0, 6.0
NEIGHBOURS, NEIGHBOUR_SHARPNESS, NEIGHBOUR_FLOOR = 8, 12.0, 0.05
NET_BATCH, NET_RATE, NET_SMOOTHING, NET_SHIFT = 128, 6e-3, 0.1, 2
SOFT_SHARE = 0.5  # weight of a soft target, the default of `targets_share`


@dataclass(frozen=True, eq=False)
class Faces:
    """N train faces of the competition. images: uint8 (N, 48, 48). labels: int64 (N,)."""

    images: NDArray[np.uint8]
    labels: Ints

    @cached_property
    def gradients(self) -> Floats:
        """Principal components of soft orientation maps, unit length, float32 (N, COMPONENTS)."""
        maps = np.concatenate([_maps(part) for part in np.array_split(self.images, 8)])
        maps -= maps.mean(0)
        components = np.linalg.svd(maps[::5], full_matrices=False)[2][:COMPONENTS]
        made = maps @ components.T
        return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)

    @cached_property
    def small(self) -> Floats:
        """Faces at half size, (N, 1, 24, 24), about −2 to 2."""
        halved = self.images.reshape(-1, 24, 2, 24, 2).mean((2, 4)).astype(np.float32)
        return ((halved - 128) / 64)[:, None]

    @cached_property
    def waves(self) -> Floats:
        """Random Fourier features of `gradients` for a Gaussian kernel (Rahimi and Recht 2007)."""
        rng = np.random.default_rng(1)
        directions = rng.normal(size=(self.gradients.shape[1], RIDGE_FEATURES)) * np.sqrt(2 * RIDGE_WIDTH)
        phases = rng.uniform(0, 2 * np.pi, RIDGE_FEATURES)
        made = np.cos(self.gradients @ directions.astype(np.float32) + phases.astype(np.float32))
        return (made * np.sqrt(2 / RIDGE_FEATURES)).astype(np.float32)


Fit = Callable[
    [Faces, Ints, Ints], Floats
]  # logits (n, 7) of the rows in the third, by a fit to the rows in the second


class SoftFit(Protocol):
    """A `Fit` that also takes soft targets of all faces, (N, 7); those outside the train rows are not read."""

    def __call__(self, faces: Faces, train: Ints, rows: Ints, shares: Floats | None = None) -> Floats:
        """Logits (n, 7) of `rows`."""
        ...


@dataclass(frozen=True)
class Student:
    """A kind that is trained on the out-of-fold probabilities of other kinds (`ensembles.targets`, scheme oof), or on
    those of a kind in `SEEN`.

    plain: the same network on labels alone.
    """

    fit: SoftFit
    teachers: tuple[str, ...]
    plain: str


def ridge(faces: Faces, train: Ints, rows: Ints) -> Floats:
    """Kernel ridge regression on gradients, by random features."""
    known = faces.waves[train]
    targets = (np.eye(NUM_CLASSES)[faces.labels[train]] - 1 / NUM_CLASSES).astype(np.float32)
    gram = known.T @ known + np.float32(RIDGE_PENALTY) * np.eye(RIDGE_FEATURES, dtype=np.float32)
    weights = np.linalg.solve(gram.astype(np.float64), (known.T @ targets).astype(np.float64))
    return (faces.waves[rows] @ weights.astype(np.float32)) * np.float32(RIDGE_SCALE)


def neighbours(faces: Faces, train: Ints, rows: Ints) -> Floats:
    """Weighted votes of the nearest neighbours by gradients: remembers every twin."""
    found = np.empty((len(rows), NUM_CLASSES))
    known = faces.gradients[train]
    for start in range(0, len(rows), 1000):
        alike = faces.gradients[rows[start : start + 1000]] @ known.T
        nearest = np.argpartition(-alike, NEIGHBOURS, 1)[:, :NEIGHBOURS]
        values = np.take_along_axis(alike, nearest, 1)
        weights = np.exp((values - values.max(1, keepdims=True)) * NEIGHBOUR_SHARPNESS)
        votes = np.zeros((len(values), NUM_CLASSES))
        for place in range(NEIGHBOURS):
            votes[np.arange(len(values)), faces.labels[train][nearest[:, place]]] += weights[:, place]
        votes += NEIGHBOUR_FLOOR * votes.sum(1, keepdims=True)
        found[start : start + 1000] = np.log(votes / votes.sum(1, keepdims=True))
    return found.astype(np.float32)


def hidden_layer(width: int, epochs: int, penalty: float) -> Fit:
    """A network of one hidden layer on gradients."""

    def fit(faces: Faces, train: Ints, rows: Ints) -> Floats:
        from sklearn.neural_network import MLPClassifier

        options = {"batch_size": 256, "random_state": 0, "learning_rate_init": 2e-3, "n_iter_no_change": epochs}
        net = MLPClassifier((width,), alpha=penalty, max_iter=epochs, **options)
        with warnings.catch_warnings():  # it stops before it has converged, on purpose
            warnings.simplefilter("ignore")
            net.fit(faces.gradients[train], faces.labels[train])
        return np.log(net.predict_proba(faces.gradients[rows]) + 1e-6).astype(np.float32)

    return fit


def convolutions(widths: tuple[int, ...], epochs: int, dropout: float, augment: bool) -> SoftFit:
    """A convolutional network on half-size faces. Its function takes soft targets as well, (N, 7) for all faces."""

    def fit(faces: Faces, train: Ints, rows: Ints, shares: Floats | None = None) -> Floats:
        import torch

        torch.manual_seed(0)
        net: Any = _net(widths, dropout)
        _train(net, torch.from_numpy(faces.small), torch.from_numpy(_targets(faces, shares)), train, epochs, augment)
        net.eval()
        with torch.no_grad():
            logits = torch.cat([net(part) for part in torch.from_numpy(faces.small[rows]).split(1000)])
        return logits.numpy()

    return fit


NET = convolutions((16, 48, 96), 5, 0.3, True)
KINDS: dict[str, Fit] = {
    "ridge": ridge,
    "neighbours": neighbours,
    "mlp": hidden_layer(96, 8, 1e-3),
    "mlp_memory": hidden_layer(256, 24, 0.0),
    "net": NET,
    "net_memory": convolutions((24, 64, 128), 12, 0.0, False),
}
STUDENTS: dict[str, Student] = {
    "net_student": Student(NET, ("net", "mlp"), "net"),
    "net_student_of_memory": Student(NET, ("net", "mlp_memory"), "net"),
    "net_student_of_seen": Student(NET, ("net_seen",), "net"),
}
# A network of the kind trained on all rows, held-out rows among them, predicts the rows that it was trained on, as the
# network that ships with fer_kit does for `fer-kit targets --shipped`.
SEEN = {"net_seen": "net"}


def _targets(faces: Faces, shares: Floats | None) -> Ints | Floats:
    """The targets of all faces: labels (N,), or their mean with `shares`, (N, 7)."""
    if shares is None:
        return faces.labels
    return ((1 - SOFT_SHARE) * np.eye(NUM_CLASSES)[faces.labels] + SOFT_SHARE * shares).astype(np.float32)


def _maps(images: NDArray[np.uint8]) -> Floats:
    """Square roots of gradients by orientation, pooled in cells: float32 (n, ORIENTATIONS · 64)."""
    x = images.astype(np.float32) / 255
    x = x - x.mean((1, 2), keepdims=True)
    x /= x.std((1, 2), keepdims=True) + 0.05
    across, down = np.zeros_like(x), np.zeros_like(x)
    across[:, :, 1:-1] = x[:, :, 2:] - x[:, :, :-2]
    down[:, 1:-1] = x[:, 2:] - x[:, :-2]
    strength, angle = np.sqrt(np.hypot(across, down)), np.arctan2(down, across)
    cells = 48 // CELL_PX
    pooled = []
    for number in range(ORIENTATIONS):
        weight = np.maximum(0, np.cos(angle - number * 2 * np.pi / ORIENTATIONS)) ** 2 * strength
        pooled.append(weight.reshape(-1, cells, CELL_PX, cells, CELL_PX).mean((2, 4)).reshape(len(x), -1))
    return np.concatenate(pooled, 1)


def _net(widths: tuple[int, ...], dropout: float) -> Any:
    import torch
    from torch import nn

    layers: list[nn.Module] = []
    channels = 1
    for width in widths:
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.MaxPool2d(2), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    side = 24 >> len(widths)
    net = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels * side * side, NUM_CLASSES))
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _train(net: Any, faces: Any, targets: Any, train: Ints, epochs: int, augment: bool) -> None:
    import torch
    from torch.nn import functional

    batches, rows = len(train) // NET_BATCH, torch.from_numpy(train)
    optimizer = torch.optim.AdamW(net.parameters(), 4e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, NET_RATE, epochs * batches)
    net.train()
    for _ in range(epochs):
        order = rows[torch.randperm(len(rows))]
        for number in range(batches):
            batch = order[number * NET_BATCH : (number + 1) * NET_BATCH]
            x = faces[batch]
            if augment and torch.rand(()) < 0.5:
                x = x.flip(-1)
            if augment:
                down, across = torch.randint(-NET_SHIFT, NET_SHIFT + 1, (2,)).tolist()
                x = torch.roll(x, (down, across), (2, 3))
            logits = net(x.contiguous(memory_format=torch.channels_last))
            loss = functional.cross_entropy(logits, targets[batch], label_smoothing=NET_SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
