"""Out of memory: known by its many names, and answered in one line that can be followed."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from fer_kit import models
from fer_kit.engine import loop
from fer_kit.models import fine_tuning
from fer_kit.train import __main__ as train
from fer_kit.train import memory as out_of_memory

COMMAND = [
    "--recipe",
    "baseline_v1",
    "--set",
    "epochs=2",
    "limit_rows=128",
    "--tag",
    "t",
    "--fold",
    "0",
    "--device",
    "cpu",
]
ALLOCATOR = "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
ALLOCATOR += "allocate 4096 bytes. Error code 12 (Cannot allocate memory)"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (torch.cuda.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("FIND was unable to find an engine to execute this computation"), True),
        (RuntimeError(ALLOCATOR), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("could not create a primitive"), True),
        (RuntimeError("could not create a primitive descriptor for a convolution forward propagation"), False),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_it_is_known_by_all_its_names(error, expected):
    assert out_of_memory.caused(error) is expected


class Small:
    """A memory that holds so many images in one batch of training, and has held so many at most."""

    def __init__(self, images: int) -> None:
        self.images, self.most = images, 0

    def __call__(self, module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        if module.training and len(inputs[0]) > self.images:
            raise RuntimeError(ALLOCATOR)
        self.most = max(self.most, len(inputs[0]))


@pytest.fixture
def place(competition_dir, runs_dir):
    return ["--data", str(competition_dir), "--runs", str(runs_dir)]


def with_memory(monkeypatch, memory):
    build = models.build

    def built(config):
        net = build(config)
        net.register_forward_pre_hook(memory)
        return net

    monkeypatch.setattr(models, "build", built)


@pytest.mark.slow
@pytest.mark.parametrize(("images", "batch", "parts"), [(40, 32, 2), (17, 16, 4), (2, 2, 32)])
def test_the_answer_names_what_fits_and_works(place, runs_dir, monkeypatch, capsys, images, batch, parts):
    memory = Small(images)
    with_memory(monkeypatch, memory)
    assert train.main([*COMMAND, *place]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "Traceback" not in error
    assert "fold0: out of memory on " in error
    assert f" in epoch 1 with batches of 64; batches of {batch} fit: " in error
    assert f"--set batch_size={batch} accumulate={parts} --tag NAME (or --accumulate {parts}" in error
    assert "still 64 images per step; no epoch is saved" in error
    if images == 17:
        changed = [*COMMAND[:2], "--set", "epochs=1", "--accumulate", str(parts), "--tag", "parts", *COMMAND[-4:]]
        assert train.main([*changed, *place]) == 0
        config = json.loads((runs_dir / "baseline_v1-parts" / "fold0" / "config.json").read_text())
        assert (config["batch_size"], config["accumulate"]) == (16, 4)


@pytest.mark.parametrize(
    ("images", "parts", "expected"),
    [(64, 1, [2, 4, 8, 16, 32]), (64, 4, [8, 16, 32]), (100, 1, [2, 4, 10, 20, 50]), (97, 1, []), (6, 3, [])],
)
def test_batches_are_cut_evenly_so_that_accumulate_takes_them(images, parts, expected):
    assert list(out_of_memory.cuts(images, parts)) == expected


@pytest.mark.slow
def test_a_batch_is_tried_as_it_is_once_nothing_is_frozen_and_images_have_grown(place, monkeypatch, capsys):
    seen = []
    begin = fine_tuning.begin_epoch

    def begun(net, epoch, config):
        seen.append((config.batch_size, epoch))
        begin(net, epoch, config)

    monkeypatch.setattr(fine_tuning, "begin_epoch", begun)
    with_memory(monkeypatch, Small(40))
    epochs = next(int(word.partition("=")[2]) for word in COMMAND if word.startswith("epochs="))
    assert train.main([*COMMAND, *place]) == 2 and "batches of 32 fit" in capsys.readouterr().err
    assert epochs > 1 and seen == [(64, 0), (32, epochs - 1)]


@pytest.mark.slow
def test_what_was_trained_is_kept_and_can_go_on(place, runs_dir, monkeypatch, capsys):
    whole = loop.train_epoch

    def full(state, *args):
        if state.epoch == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return whole(state, *args)

    monkeypatch.setattr(loop, "train_epoch", full)
    assert train.main([*COMMAND, *place]) == 2
    error = capsys.readouterr().err
    assert (
        "in epoch 2 with batches of 64, and smaller batches do not fit either; choose another device with --device"
        in error
    )
    assert error.endswith("; epoch 1 is saved\n")
    folder = runs_dir / "baseline_v1-t" / "fold0"
    assert torch.load(folder / "last.pt", weights_only=True)["epoch"] == 1
    monkeypatch.setattr(loop, "train_epoch", whole)
    assert train.main([*COMMAND, *place, "--resume"]) == 0


def test_outside_of_training_it_is_one_line_too(place, monkeypatch, capsys):
    def full(*args):
        raise RuntimeError(ALLOCATOR)

    monkeypatch.setattr(loop, "predict", full)
    assert train.main([*COMMAND[:3], "epochs=1", "early_stop_epochs=0", *COMMAND[5:], *place]) == 2
    error = capsys.readouterr().err
    assert "out of memory before or after the training steps ([enforce fail" in error
    assert "--resume" in error and error.count("\n") == 1
