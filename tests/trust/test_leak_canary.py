"""A canary for leaks: labels mean nothing, but copies of a photo share theirs, so only who saw a copy can know one.

A predictor that remembers every row it was given and names the label of the nearest picture is good exactly as far as
copies cross from the rows to train on into the rows to predict. On folds and watched rows as the kit makes them it has
to be as bad as chance; where their making does not keep copies together, the same test must fail.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fer_kit.config import recipes
from fer_kit.data import loading
from fer_kit.folds import __main__ as folds_command
from fer_kit.folds import deal, splits, twins
from fer_kit.synthetic import draw, faces, near_copies

PHOTOS, COPIES, CLASSES = 150, 4, 7
CONFIG = recipes.get("deep_v1")  # cuts watched rows from those to train on
CHANCE = 1 / CLASSES
# rows of a photo are right or wrong together, so it is photos that count: three standard errors
MARGIN = 3 * math.sqrt(CHANCE * (1 - CHANCE) / PHOTOS)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A competition of 150 photos in four copies each, with a random label for each photo."""
    rng = np.random.default_rng(5)
    photos = faces.render(faces.traits(rng.integers(0, CLASSES, PHOTOS), rng), rng)
    shown = np.concatenate([photos, *(near_copies.make(photos, kind, rng) for kind in ("mirror", "crop", "contrast"))])
    order = rng.permutation(len(shown))
    labels = np.tile(rng.integers(0, CLASSES, PHOTOS), COPIES)
    drawn = draw.draw(100, 20, seed=1)
    competition = dataclasses.replace(drawn, train_images=shown[order], train_labels=labels[order])
    folder = tmp_path_factory.mktemp("canary")
    draw.write(folder, competition)
    return folder


def remembered(images: np.ndarray) -> np.ndarray:
    """float32 (N, 2304): pictures that can be compared by a product, whatever their light."""
    rows = images.reshape(len(images), -1).astype(np.float32)
    rows -= rows.mean(1, keepdims=True)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def right(images: np.ndarray, labels: np.ndarray, known: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Which rows of `asked` have the label of the nearest of the `known` rows, or of its mirror image."""
    memory = remembered(images[known])
    nearness = np.maximum(*(remembered(pictures) @ memory.T for pictures in (images[asked], images[asked][:, :, ::-1])))
    return labels[known][nearness.argmax(1)] == labels[asked]


def scores(world: Path, runs: Path, *options: str) -> dict[str, float]:
    """Accuracy of the memory on the rows out of fold and on the watched rows, over all folds that the command made."""
    assert folds_command.main(["--data", str(world), "--runs", str(runs), *options]) == 0
    train, table = loading.load(world, runs / "cache").train, deal.read(runs / "folds.csv")
    found: dict[str, list[np.ndarray]] = {"out of fold": [], "watched": []}
    for fold in range(table.count):
        part = splits.split(table, fold, CONFIG)
        seen = np.concatenate([part.train, part.watch])
        found["out of fold"].append(right(train.images, train.labels, seen, part.out))
        found["watched"].append(right(train.images, train.labels, part.train, part.watch))
    return {name: float(np.concatenate(hits).mean()) for name, hits in found.items()}


def no_leak(found: dict[str, float]) -> None:
    """The canary lives."""
    for name, accuracy in found.items():
        assert accuracy < CHANCE + MARGIN, f"{name}: {accuracy:.0%} right by memory alone, chance is {CHANCE:.0%}"


@pytest.mark.slow
def test_memory_is_worth_nothing_on_the_folds_of_the_kit(world, tmp_path, record_property):
    found = scores(world, tmp_path / "runs")
    record_property("scores", found)
    no_leak(found)


def each_alone(groups: np.ndarray, *_: object) -> np.ndarray:
    return np.arange(len(groups))


def rows_drawn(groups: np.ndarray, share: float, seed: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).random(len(groups)) < share


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "options", "name", "broken"),
    [
        ("out of fold", ["--method", "none"], None, None),  # switched off by the user
        ("out of fold", ["--method", "exact"], None, None),  # only copies of the same bytes are kept together
        ("out of fold", [], (twins, "by_first_appearance"), each_alone),  # known to the folds, and not heeded
        ("watched", [], (splits, "draw_groups"), rows_drawn),
    ],
)
def test_the_canary_dies_where_copies_are_let_across(
    world, tmp_path, monkeypatch, where, options, name: tuple[object, str] | None, broken: Callable[..., object]
):
    if name is not None:
        monkeypatch.setattr(*name, broken)
    found = scores(world, tmp_path / "runs", *options)
    assert found[where] > 0.6
    with pytest.raises(AssertionError, match=f"{where}: .* right by memory alone, chance is 14%"):
        no_leak(found)
