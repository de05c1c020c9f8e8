"""Packed networks: one file without a folder of runs, safe to read, with the predictions of what was packed."""

from __future__ import annotations

import json

import numpy as np
import pytest
import safetensors.torch
import torch

import fer_kit
from fer_kit.models.weights import PACKED
from fer_kit.predict import named, packed
from tests.classify.conftest import FIRST_VERSION

FOLD = FIRST_VERSION / "residual-small" / "fold0"
FACES = np.random.default_rng(0).integers(0, 256, (40, 48, 48), np.uint8)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "small.safetensors"
    packed.write(path, "residual-small/fold0", [FOLD], {"commit": "tests"})
    return path


def changed(path, about, tensors=None):
    """The file with another header or other tensors."""
    weights = safetensors.torch.load_file(path) if tensors is None else tensors
    path.write_bytes(safetensors.torch.save(weights, {PACKED: json.dumps(about)}))
    return path


def fault(path) -> str:
    with pytest.raises(fer_kit.FerKitError) as caught:
        packed.read(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_predictions_are_those_of_the_fold(file):
    model, original = fer_kit.load_model(file, device="cpu"), fer_kit.load_model(
        "residual-small", runs=FIRST_VERSION, folds=0, device="cpu"
    )  # fmt: skip
    np.testing.assert_allclose(model(FACES), original(FACES), atol=2e-3)
    assert np.array_equal(model.predict(FACES), original.predict(FACES)) and model.name == "residual-small/fold0"
    assert file.stat().st_size < 0.6 * (FOLD / "model.safetensors").stat().st_size
    by_name = fer_kit.load_model("residual-small/fold0", runs=FIRST_VERSION, device="cpu")
    assert np.array_equal(by_name(FACES), original(FACES))


def test_several_folds_are_averaged(tmp_path):
    packed.write(tmp_path / "two.safetensors", "residual-small", [FOLD, FOLD], {})
    two = packed.read(tmp_path / "two.safetensors")
    assert len(two.network.networks) == 2 and two.about["networks"][0] == two.about["networks"][1]


def test_other_files_are_refused(file, tmp_path):
    assert "without their config" in fault(FOLD / "model.safetensors")
    (tmp_path / "text.safetensors").write_text("hello, this is no file of weights")
    assert "not a packed network" in fault(tmp_path / "text.safetensors")
    assert "no such file" in fault(tmp_path / "none.safetensors")
    about = packed.read(file).about
    assert "schema 9" in fault(changed(file, {**about, "schema": 9}))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"networks": []}, "1 to 50 networks"),
        ({"name": None}, "lacks a name"),
        ({"networks": [{"model": "os:system"}]}, "settings are missing"),
    ],
)
def test_headers_that_are_refused(change, words, file):
    assert words in fault(changed(file, {**packed.read(file).about, **change}))


def test_code_is_never_imported(file):
    about = packed.read(file).about
    own = {**about["networks"][0], "model": f"my_net:Net@{'0' * 16}", "width_mult": 1.0}
    assert "your own code" in fault(changed(file, {**about, "networks": [own]}))


def test_weights_that_do_not_fit(file):
    tensors = safetensors.torch.load_file(file)
    name = next(name for name, value in tensors.items() if value.is_floating_point())
    broken = {**tensors, name: torch.full_like(tensors[name], float("nan"))}
    about = packed.read(file).about
    assert "not finite" in fault(changed(file, about, broken))
    assert "not the weights of residual" in fault(changed(file, about, {name: tensors[name]}))
    with pytest.raises(fer_kit.FerKitError, match="float16"):
        packed.half(torch.tensor([1e5]), "x")
    with pytest.raises(fer_kit.FerKitError, match=r"ends in \.safetensors"):
        packed.write(file.with_suffix(".bin"), "a", [FOLD], {})


@pytest.mark.skipif(not named.SHIPPED.is_file(), reason="no network ships with this version")
def test_the_network_that_ships_is_small_and_has_a_card():
    assert named.SHIPPED.stat().st_size <= 3e6 and "Not for judging" in named.SHIPPED.with_suffix(".md").read_text()
    assert fer_kit.load_model(device="cpu")(FACES[:2]).shape == (2, 7)
