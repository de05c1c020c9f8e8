"""The pictures of `explore`: rows and faces of each class, mean faces, twins with different labels, grey levels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fer_kit.competition import CLASSES
from fer_kit.data.loading import Competition
from fer_kit.drawing import pictures
from fer_kit.drawing.pictures import Colours, Images
from fer_kit.explore.facts import Groups, conflicting, grey_level_shares

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEED = 0  # of the faces drawn for the sheets
FACES_A_CLASS = 10
GROUPS_SHOWN, TWINS_A_GROUP = 14, 3  # two groups a line


@dataclass(frozen=True)
class Picture:
    """A picture of the page: file name, text alternative, caption, and a function that draws it."""

    file: str
    alt: str
    caption: str
    draw: Callable[[Colours], Figure]


def all_of(competition: Competition, groups: Groups) -> list[Picture]:
    """All pictures, not yet drawn; the picture of twins only if some twins have different labels."""
    found = [class_counts(competition), samples(competition), mean_faces(competition), levels(competition)]
    twins = different_labels(competition, groups)
    return found if twins is None else [*found, twins]


def class_counts(competition: Competition) -> Picture:
    """Train rows of each class, as a file; the page has the same bars in a table."""
    counts = np.bincount(competition.train.labels, minlength=len(CLASSES))
    texts = [f"{count:,} ({count / counts.sum():.1%})" for count in counts]
    title = f"{counts.sum():,} train rows by class"
    return Picture(
        "classes.png",
        f"Train rows of each class: {', '.join(map(' '.join, zip(CLASSES, texts, strict=True)))}",
        "Train rows of each class",
        lambda colours: pictures.bars(CLASSES, counts.tolist(), title, colours, texts),
    )


def samples(competition: Competition) -> Picture:
    """Some faces of each class, drawn at random."""
    train, rng = competition.train, np.random.default_rng(SEED)
    rows, names = [], []
    for label, name in enumerate(CLASSES):
        ids = np.flatnonzero(train.labels == label)
        chosen = np.sort(rng.choice(ids, min(FACES_A_CLASS, len(ids)), replace=False))
        rows.append((train.images[chosen], [f"#{number}" for number in chosen]))
        names.append(name)
    images, captions = pictures.padded(rows, FACES_A_CLASS)
    return Picture(
        "samples.png",
        f"{FACES_A_CLASS} randomly drawn train faces of each of the seven classes, one class a row",
        f"{FACES_A_CLASS} faces of each class drawn at random (seed {SEED}), with their row numbers in train.csv",
        lambda colours: pictures.face_sheet(images, captions, FACES_A_CLASS, "", names, colours),
    )


def mean_faces(competition: Competition) -> Picture:
    """The mean over the train images of each class, and over all."""
    train = competition.train
    total = [train.images[train.labels == label] for label in range(len(CLASSES))]
    means = np.stack([_mean(images) for images in (*total, train.images)])
    shown = np.clip(np.rint(_stretched(means)), 0, 255).astype(np.uint8)
    names = [f"{name}\n{len(images):,}" for name, images in zip(CLASSES, total, strict=True)]
    captions = [*names, f"all\n{len(train.images):,}"]
    return Picture(
        "mean-faces.png",
        "The average train face of each of the seven classes and of all train rows: eight blurred faces side by side",
        "Mean image of each class, with the same contrast stretch for all. Differences show what the position of "
        "features alone tells about the class",
        lambda colours: pictures.face_sheet(shown, captions, len(shown), "", (), colours),
    )


def levels(competition: Competition) -> Picture:
    """How often each grey level occurs."""
    shares = [
        ("train", grey_level_shares(competition.train.images)),
        ("test", grey_level_shares(competition.test.images)),
    ]
    return Picture(
        "grey-levels.png",
        "Share of pixels at each grey level from 0 to 255, a line for train and one for test",
        "Grey levels of train and test. Equal lines mean that both come from the same source",
        lambda colours: pictures.grey_levels(shares, "", colours),
    )


def different_labels(competition: Competition, groups: Groups) -> Picture | None:
    """Twins with different labels; None if there are none."""
    labels = competition.train.labels
    clash = conflicting(groups.train, labels)
    if not len(clash):
        return None
    chosen = np.sort(np.random.default_rng(SEED).choice(clash, min(GROUPS_SHOWN, len(clash)), replace=False))
    rows = []
    for number in chosen:
        ids = np.flatnonzero(groups.train == number)
        ids = ids[_one_of_each_first(labels[ids])][:TWINS_A_GROUP]
        rows.append((competition.train.images[ids], [f"{CLASSES[labels[row]]}\n#{row}" for row in ids]))
    images, captions = pictures.padded(rows, TWINS_A_GROUP + 1)  # an empty place between two groups
    columns = (TWINS_A_GROUP + 1) * min(2, len(rows))
    return Picture(
        "twins-with-different-labels.png",
        f"{len(chosen)} groups of images that show the same photo under different labels, two groups a line",
        f"{len(chosen)} of {len(clash):,} groups of twins with different labels, drawn at random (seed {SEED}); twins: "
        f"{groups.in_words}. No network can get all of these right",
        lambda colours: pictures.face_sheet(images, captions, columns, "", (), colours),
    )


def _mean(images: Images) -> NDArray[np.float64]:
    """Mean image (48, 48); medium grey without images."""
    if not len(images):
        return np.full(images.shape[1:], 127.5)
    return np.asarray(images.sum(axis=0, dtype=np.int64) / len(images), np.float64)


def _stretched(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rescaled so that the darkest value of all is 0 and the brightest 255."""
    low, high = means.min(), means.max()
    return (means - low) * (255 / max(high - low, 1e-9))


def _one_of_each_first(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions with the first row of each label in front, so that the first few rows show different labels."""
    first = np.sort(np.unique(labels, return_index=True)[1])
    rest = np.setdiff1d(np.arange(len(labels)), first)
    return np.concatenate([first, rest])
