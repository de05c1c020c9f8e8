"""Which rows a network learns from: copies that share their labels, images of one grey value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fer_kit.config import recipes
from fer_kit.config.train_config import override
from fer_kit.data.loading import Competition, TestSet, TrainSet
from fer_kit.errors import FerKitError
from fer_kit.folds import splits
from fer_kit.train import rows as training_rows

CPU = torch.device("cpu")
SPLIT = splits.Split(np.arange(8), np.array([8, 9]), np.array([10, 11]))
LABELS = np.array([0, 1, 2, 0, 3, 3, 4, 5, 6, 6, 6, 6])


@pytest.fixture
def competition():
    """12 faces. 0, 1 and 3 are one image, as are 4 and 5, watched row 8 and row 10, out of fold, are copies of 2; 6 and
    watched row 9 are grey.
    """
    images = np.random.default_rng(0).integers(0, 256, (12, 48, 48), dtype=np.uint8)
    images[[1, 3]], images[5], images[[8, 10]] = images[0], images[4], images[2]
    images[6], images[9] = 90, 17
    train = TrainSet(images=images, labels=LABELS.copy(), ids=np.arange(12))
    return Competition(Path(), train, TestSet(images=images[:2], ids=np.arange(2)), "digest")


def gathered(competition, *settings, split=SPLIT):
    config = override(recipes.get("residual"), ["batch_size=2", *settings])
    return training_rows.gather(config, 0, split, competition, None, None, CPU)


def test_without_settings_every_row_has_its_label(competition):
    rows = gathered(competition)
    assert rows.targets is None and rows.in_words() == "8 rows to train on"
    np.testing.assert_array_equal(rows.images.numpy(), competition.train.images[:8])
    np.testing.assert_array_equal(rows.labels.numpy(), LABELS[:8])


def test_copies_share_the_mean_of_the_labels_of_training_rows_alone(competition):
    rows = gathered(competition, "soft_copies=true")
    expected = np.eye(7, dtype=np.float32)[LABELS[:8]]
    expected[[0, 1, 3]] = [2 / 3, 1 / 3, 0, 0, 0, 0, 0]
    np.testing.assert_allclose(rows.targets.numpy(), expected, rtol=1e-6)
    np.testing.assert_array_equal(rows.labels.numpy(), LABELS[:8])
    assert rows.in_words() == "8 rows to train on, 3 with the mean label of their copies"
    competition.train.labels[8:] = 0  # what is watched or out of fold may say what it likes
    np.testing.assert_array_equal(gathered(competition, "soft_copies=true").targets.numpy(), rows.targets.numpy())


def test_images_of_one_grey_value_leave_the_training_rows_alone(competition):
    rows = gathered(competition, "drop_constant=true")
    assert rows.targets is None and rows.in_words() == "7 rows to train on, 1 of one grey value left out"
    kept = np.delete(np.arange(8), 6)
    np.testing.assert_array_equal(rows.images.numpy(), competition.train.images[kept])
    np.testing.assert_array_equal(rows.labels.numpy(), LABELS[kept])
    assert SPLIT.watch.tolist() == [8, 9]
    both = gathered(competition, "drop_constant=true", "soft_copies=true")
    assert len(both.targets) == 7 and both.in_words().endswith(
        "1 of one grey value left out, 3 with the mean label of their copies"
    )


def test_too_few_rows_that_are_left_are_refused(competition):
    grey = splits.Split(np.array([6, 0]), np.array([], int), np.array([10]))
    with pytest.raises(
        FerKitError, match="drop_constant=true leaves 1 rows to train on, fewer than one batch of 2; set"
    ):
        gathered(competition, "drop_constant=true", split=grey)
