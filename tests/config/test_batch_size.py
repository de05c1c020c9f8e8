"""Images of a step: rates that follow the batch size, and errors of --batch-size and --accumulate together."""

from __future__ import annotations

import dataclasses

import pytest

from fer_kit.config import recipes
from fer_kit.config.batch_size import scale, split
from fer_kit.config.train_config import TrainConfig
from fer_kit.errors import FerKitError
from fer_kit.train.request import TrainRequest, resolve

ADAMW = dataclasses.replace(recipes.get("vgg_small"), optimizer="adamw", lr=1e-3, weight_decay=0.05, batch_size=64)


def test_four_times_the_images_double_the_rate_and_the_decay_of_adamw():
    scaled = scale(ADAMW, 256)
    assert (scaled.batch_size, scaled.lr, scaled.weight_decay) == (256, 2e-3, 0.1)
    assert scaled.average_decay == pytest.approx(ADAMW.average_decay**4, rel=1e-5)
    assert dataclasses.replace(scaled, batch_size=64, lr=1e-3, weight_decay=0.05, average_decay=0.998) == ADAMW


def test_the_rate_of_sgd_is_proportional_and_its_coupled_decay_stays():
    sgd = dataclasses.replace(ADAMW, optimizer="sgd", lr=0.1)
    scaled = scale(sgd, 128)
    assert (scaled.lr, scaled.weight_decay) == (0.2, 0.05)


def test_rates_per_image_stay_and_a_change_and_its_reverse_cancel():
    scaled = scale(ADAMW, 512)
    assert scaled.lr * scaled.weight_decay / 512 == pytest.approx(ADAMW.lr * ADAMW.weight_decay / 64, rel=1e-5)
    assert scale(scaled, 64).lr == pytest.approx(ADAMW.lr, rel=1e-5)


def test_split_batches_count_as_one_step_and_values_of_the_user_are_kept():
    assert scale(split(ADAMW, 4), 64) == ADAMW
    assert scale(ADAMW, 256, {"lr"}).lr == ADAMW.lr
    assert scale(ADAMW, None) is ADAMW


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_recipe_can_be_scaled(name: str):
    config: TrainConfig = scale(recipes.get(name), 256)
    assert config.batch_size == 256
    assert config.lr >= recipes.get(name).lr


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (TrainRequest(0, settings=("batch_size=32",), tag="t", batch_size=64), ("--batch-size 64", "batch_size=")),
        (TrainRequest(0, tag="t", batch_size=1), ("--batch-size 1", "2 to")),
        (TrainRequest(0, batch_size=256), ("--batch-size 256", "--tag")),
    ],
)
def test_errors_name_the_option(request_: TrainRequest, words: tuple[str, ...]):
    with pytest.raises(FerKitError) as caught:
        resolve(request_)
    for word in words:
        assert word in str(caught.value)


def test_accumulate_splits_the_larger_batch():
    config = resolve(TrainRequest(0, "vgg_small", tag="t", batch_size=256, accumulate=4)).config
    assert (config.batch_size, config.accumulate) == (64, 4)
    assert config.lr == pytest.approx(2 * recipes.get("vgg_small").lr)
