"""Votes of FER+ as soft targets: read, refused with the line, matched with the rows of the data."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fer_kit.config import recipes
from fer_kit.data.loading import Competition, TestSet, TrainSet
from fer_kit.errors import FerKitError
from fer_kit.runs import soft_targets
from fer_kit.train import rows as training_rows
from tests.helpers.small_competition import TEST_IMAGES, TRAIN_IMAGES, TRAIN_LABELS

HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
LINES = [
    HEADER,
    "Training,fer0000000.png,4,0,0,1,3,2,0,0,0,0",
    "Training,,0,0,0,0,0,0,0,0,0,10",
    "Training,fer0000002.png,0,9,0,0,0,0,0,1,0,0",
    "PublicTest,fer0000003.png,0,9,0,0,0,0,0,1,0,0",
    "",
]
EXPECTED = [[0.3, 0.2, 0, 0, 0.1, 0, 0.4], [np.nan] * 7, [0, 0, 0, 1, 0, 0, 0]]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text.replace(",", ";"),
        lambda text: text.replace(",", "\t"),
    ],
)
def test_shares_of_the_votes_for_train_rows(change, tmp_path):
    path = tmp_path / "fer2013new.csv"
    path.write_bytes(change("\n".join(LINES)).encode())
    setting, targets = soft_targets.named(f"targets={path}")
    assert setting.startswith("targets=fer2013new@") and targets.are_votes and targets.test is None
    np.testing.assert_allclose(targets.train[0], EXPECTED, rtol=1e-6)
    for fold in (0, 4, ()):
        assert targets.of(fold)[0].shape == (3, 7)


FAULTS = {
    "another header": (0, "label,pixels", "needs the columns Usage, Image name and one for each of Angry"),
    "fields": (1, "Training,,1", "line 2: has 3 fields, the header has 12"),
    "usage": (1, LINES[1].replace("Training", "Train"), "line 2: Usage is 'Train', allowed are Training"),
    "order": (1, LINES[1].replace("0000000", "0000007"), "line 2: Image name is 'fer0000007.png', must be fer0000000"),
    "votes": (3, LINES[3].replace(",9,", ",-9,"), "line 4: '-9' is no number of votes, allowed are 0 to 1,000"),
    "many": (3, LINES[3].replace(",9,", ",9999,"), "line 4: '9999' is no number of votes"),
    "quote": (1, 'Training,"x', "line 2: a quote is not closed"),
    "no rows": (1, LINES[4], "has no votes for train rows"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(fault, tmp_path):
    number, line, words = FAULTS[fault]
    path = tmp_path / "fer2013new.csv"
    path.write_text("\n".join([*LINES[:number], line, *LINES[number + 1 :]]))
    with pytest.raises(FerKitError) as caught:
        soft_targets.read(path)
    assert str(caught.value).startswith(f"{path}: ") and words in str(caught.value)


def test_training_rows_get_the_votes_or_keep_their_label(tmp_path):
    path = tmp_path / "fer2013new.csv"
    votes = [f"Training,fer{row:07d}.png," + ",".join(["0"] * 9 + ["10"]) for row in range(8)]
    votes[2] = "Training,fer0000002.png,5,5,0,0,0,0,0,0,0,0"
    path.write_text("\n".join([HEADER, *votes]))
    targets = soft_targets.read(path)
    ids = np.arange(8)
    data = Competition(tmp_path, TrainSet(ids, TRAIN_IMAGES, TRAIN_LABELS), TestSet(ids[:5], TEST_IMAGES), "d")
    config = dataclasses.replace(recipes.get("vgg_tiny"), targets="x@0123456789abcdef", targets_share=0.5, batch_size=2)

    def gather(data):
        split, table = SimpleNamespace(train=np.array([1, 2])), SimpleNamespace(digest="f")
        return training_rows.gather(config, 0, split, data, table, targets, torch.device("cpu")).targets.tolist()

    assert gather(data) == [[0, 1, 0, 0, 0, 0, 0], [0, 0, 0.5, 0.25, 0, 0, 0.25]]
    with pytest.raises(FerKitError, match="in their order, but for the data in .* why; name the"):
        gather(dataclasses.replace(data, unordered="why"))
    short = dataclasses.replace(data, train=TrainSet(ids[:7], TRAIN_IMAGES[:7], TRAIN_LABELS[:7]))
    with pytest.raises(FerKitError, match="votes for 8 train rows, but .* has 7"):
        gather(short)
