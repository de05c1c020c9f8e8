"""Pretrained weights: fetched, read, fitted, and refused with the keys that do not fit. Nothing is downloaded."""

from __future__ import annotations

import argparse
import os
import pickle

import huggingface_hub.constants
import pytest
import safetensors.torch
import torch

from fer_kit import models
from fer_kit.config import recipes
from fer_kit.config.train_config import override
from fer_kit.errors import FerKitError
from fer_kit.models import fine_tuning
from fer_kit.models.weights import PACKED, read_about
from fer_kit.pretrained import read
from fer_kit.pretrained import start as pretrained
from tests.helpers.timm_files import CONVNEXT, RESNET, VIT, hub_cache, rgb, safetensors_file, small

HERE = {"folds_digest": "f" * 64, "data_digest": "d" * 64}


def start(config, path, fold=0):
    return pretrained.prepare(override(config, [f"weights={path.name}@{'0' * 16}"]), path, fold, HERE)


def state_of(config, begun):
    torch.manual_seed(1)
    net = models.build(config)
    begun.put_into(net)
    return net.state_dict()


@pytest.mark.parametrize("model", [RESNET, VIT, CONVNEXT])
def test_a_published_file_starts_everything_but_the_classifier(model, tmp_path):
    """Three channels are summed, 1000 classes left behind, the rest is the file's to the last bit."""
    config, theirs = small(model), rgb(model, **({"img_size": 32} if model == VIT else {}))
    begun = start(config, safetensors_file(tmp_path / "w.safetensors", theirs))
    ours = state_of(config, begun)
    [head] = fine_tuning.classifier(models.build(config))
    first = f"body.{theirs.pretrained_cfg['first_conv']}.weight"
    for name, value in theirs.state_dict().items():
        if f"body.{name}" == first:
            torch.testing.assert_close(ours[first], value.sum(1, keepdim=True))
        elif not f"body.{name}".startswith(head):
            assert torch.equal(ours[f"body.{name}"], value), name
    assert {name for name in ours if name not in begun.tensors} == {f"{head}.weight", f"{head}.bias"}
    assert f"; random: {head})" in begun.about


def test_positions_of_a_vit_are_resized_to_its_image(tmp_path):
    theirs = rgb(VIT)  # of 160 pixels
    begun = start(small(VIT), safetensors_file(tmp_path / "w.safetensors", theirs))
    assert begun.tensors["body.pos_embed"].shape[1] == 1 + 2 * 2 < theirs.pos_embed.shape[1]  # and one for the class


def wrap_ema(state):
    noise = {name: torch.zeros_like(value) for name, value in state.items()}
    return {"epoch": 3, "args": argparse.Namespace(lr=0.1), "state_dict": noise, "state_dict_ema": state}


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": {f"module.{name}": value for name, value in state.items()}},
        lambda state: {"state_dict": {f"model.{name}": value for name, value in state.items()}},
        lambda state: {name: value.half() if value.is_floating_point() else value for name, value in state.items()},
        wrap_ema,
    ],
    ids=["bare", "state_dict", "module", "model", "half", "average"],
)
def test_state_dicts_are_found_in_what_training_scripts_save(wrapped, tmp_path):
    theirs = rgb(RESNET)
    torch.save(wrapped(theirs.state_dict()), tmp_path / "w.pth")
    begun = start(small(RESNET), tmp_path / "w.pth")
    last = "body.layer4.0.conv2.weight"
    torch.testing.assert_close(
        begun.tensors[last], theirs.state_dict()[last.removeprefix("body.")], atol=1e-3, rtol=1e-3
    )


def test_a_file_without_a_classifier_is_enough(tmp_path):
    theirs = rgb(RESNET, num_classes=0)
    assert start(small(RESNET), safetensors_file(tmp_path / "w.safetensors", theirs)).tensors


@pytest.mark.parametrize("model", [RESNET, VIT, CONVNEXT])
def test_what_does_not_fit_is_listed_by_key(model, tmp_path):
    config, state = small(model), rgb(model, **({"img_size": 32} if model == VIT else {})).state_dict()
    names = [name for name in state if name.endswith(".weight") and state[name].ndim > 1]
    gone, odd = names[2], names[3]
    shape = tuple(state[odd].shape)
    broken = {name: value for name, value in state.items() if name != gone}
    broken |= {odd: torch.zeros(3, 5), "extra.weight": torch.zeros(2)}
    safetensors.torch.save_file(broken, tmp_path / "w.safetensors")
    with pytest.raises(FerKitError) as error:
        start(config, tmp_path / "w.safetensors")
    assert f"not the weights of {model}: 1 missing: {gone}; 1 unexpected: extra.weight; " in str(error.value)
    assert f"1 of another shape: {odd} (3, 5) instead of {shape}" in str(error.value)
    assert "\n" not in str(error.value)

    safetensors.torch.save_file({name: state[name] for name in state if name != gone}, tmp_path / "w.safetensors")
    with pytest.raises(FerKitError, match=f"1 missing: {gone}$"):
        start(config, tmp_path / "w.safetensors")


def test_keys_that_timm_itself_would_leave_random_are_missed(tmp_path):
    """timm loads its DLA networks without asking for every key."""
    state = rgb("dla46x_c").state_dict()
    del state["level2.tree1.conv2.weight"]
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(FerKitError, match="not the weights of timm/dla46x_c: 1 missing: level2.tree1.conv2.weight$"):
        start(small("timm/dla46x_c", "image_px=64"), tmp_path / "w.safetensors")


def test_another_network_is_refused_with_the_first_keys_and_how_many_more(tmp_path):
    with pytest.raises(
        FerKitError, match=r"not the weights of timm/test_vit: \d+ missing: cls_token, .* and \d+ more; "
    ):
        start(small(VIT), safetensors_file(tmp_path / "w.safetensors", rgb(RESNET)))


class Planted:
    def __reduce__(self):
        return os.system, ("touch planted",)


def test_code_in_a_file_is_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": rgb(RESNET).state_dict(), "more": Planted()}, "zip.pth")
    with open("old.pth", "wb") as file:
        pickle.dump(Planted(), file)
    for name in ("zip.pth", "old.pth"):
        with pytest.raises(
            FerKitError, match=f"{name}: contains code or objects beside tensors.*only its state dict"
        ) as error:
            read.read(tmp_path / name)
        assert "\n" not in str(error.value) and not (tmp_path / "planted").exists()
        assert ("system" in str(error.value)) == (name == "zip.pth")  # torch names what it would import


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("w.safetensors", b"nonsense", "w.safetensors: .*safetensors.*torch.*begins with b'nonsense'.*download"),
        ("w.pth", b"<!DOCTYPE html>\n", "w.pth: .*safetensors.*torch.*begins with b'<!DOCTYPE html>"),
        ("w.pth", b"version https://git-lfs.github.com/spec/v1\noid", "w.pth: .*Git LFS.*git lfs pull"),
        ("w.pth", b"", "w.pth: .*safetensors.*torch.*empty.*download"),
        ("w.pth", b"PK\x03\x04 and no more", "not a readable file of weights"),
        ("w.safetensors", b"\x99" * 8 + b"{}", "not a readable file of weights"),
        ("w.safetensors", safetensors.torch.save({}), "w.safetensors: contains no named tensors"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(name, content, words, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FerKitError, match=words) as error:
        read.read(tmp_path / name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["w.safetensors", "w.bin", "w.pth"])
@pytest.mark.parametrize("save", [safetensors.torch.save_file, torch.save])
def test_a_file_is_known_by_its_content_whatever_its_name(name, save, tmp_path):
    save({"conv.weight": torch.ones(2)}, tmp_path / name)
    assert read.read(tmp_path / name)[0]["conv.weight"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("about", ["a fine network", "[1]", "{half", "[" * 100_000, '{"fold": NaN}'])
def test_what_others_say_of_their_weights_is_theirs(about, tmp_path):
    safetensors.torch.save_file({"w": torch.ones(1)}, tmp_path / "w.safetensors", {"about": about})
    assert read.read(tmp_path / "w.safetensors")[1] == read_about(tmp_path / "w.safetensors") == {}


def test_weights_that_are_not_finite_are_refused_with_their_key(tmp_path):
    torch.save({"a.weight": torch.ones(2), "b.weight": torch.tensor([1.0, float("nan")])}, tmp_path / "w.pth")
    with pytest.raises(FerKitError, match="w.pth: b.weight has values that are not finite; give weights of"):
        read.read(tmp_path / "w.pth")


def test_tensors_without_values_are_none(tmp_path):
    sparse = torch.ones(2, 2).to_sparse()
    torch.save({"a": torch.empty(2, device="meta"), "b": sparse, "c": torch.ones(1)}, tmp_path / "w.pth")
    assert list(read.read(tmp_path / "w.pth")[0]) == ["c"]


def test_a_file_of_other_things_is_refused(tmp_path):
    torch.save({"epoch": 3, "lr": 0.1}, tmp_path / "w.pth")
    with pytest.raises(FerKitError, match="w.pth: contains no named tensors.*: epoch, lr$"):
        read.read(tmp_path / "w.pth")


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """The hub's client without a network, with an empty cache."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_the_hubs_weights_come_through_its_cache(offline):
    theirs = rgb(RESNET)
    hub_cache(offline, "test_resnet.r160_in1k", theirs)
    begun = pretrained.prepare(small(RESNET), None, 0, HERE)
    value = theirs.state_dict()["layer1.0.conv1.weight"]
    assert torch.equal(begun.tensors["body.layer1.0.conv1.weight"], value)
    assert begun.tensors["body.conv1.0.weight"].shape[1] == 1 and "body.fc.weight" not in begun.tensors
    assert begun.about.startswith("weights timm/test_resnet.r160_in1k from the hub (")


@pytest.mark.slow
def test_weights_of_a_fixed_size_are_not_blamed_on_the_hub(offline):
    hub_cache(offline, "pit_ti_224.in1k", rgb("pit_ti_224"))
    config = small("timm/pit_ti_224", "image_px=96", "layer_decay=1")
    with pytest.raises(FerKitError, match="the weights of timm/pit_ti_224 fit image_px=224 alone, not 96"):
        pretrained.prepare(config, None, 0, HERE)


def test_offline_without_a_file_names_the_three_ways(offline):
    with pytest.raises(FerKitError, match="weights=hub: .* timm/test_resnet ") as error:
        pretrained.prepare(small(RESNET), None, 0, HERE)
    message = str(error.value)
    assert "huggingface.co" in message and "--weights FILE" in message
    assert "--weights owner/model/framework/variation/version" in message
    assert message.endswith("--weights none --tag NAME") and "\n" not in message


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (small("timm/test_vit4", "image_px=160"), "weights=hub: .* test_vit4; give .*--weights FILE.*--weights none"),
        (small("residual", "image_px=0", "weights=hub"), "weights=hub: residual .*; give --weights FILE"),
        (small("residual", "image_px=0", "layer_decay=0.9"), "layer_decay=0.9: residual .*; set layer_decay=1"),
        (small(VIT, "progressive_px=16"), "progressive_px=16: timm/test_vit .*; set progressive_px=0"),
        (small(RESNET, "image_px=0", "progressive_px=160"), "progressive_px=160: .* 160 px of timm/test_.*; give"),
        (small("residual", "image_px=0", "weights=a@0123456789abcdef"), "weights=a@0123456789abcdef: .*--weights FILE"),
    ],
)
def test_what_cannot_be_is_refused_before_the_training(config, words):
    with pytest.raises(FerKitError, match=words):
        pretrained.prepare(config, None, 0, HERE)


def about(model, fold, **changes):
    return {"run": "mine", "model": model, "fold": fold, **HERE, **changes}


def test_a_network_of_ours_goes_on_with_its_classifier(tmp_path):
    config = small("deep_v1", "image_px=0")
    net = models.build(config)
    path = safetensors_file(tmp_path / "w.safetensors", net, about("deep_v1", 0))
    begun = start(config, path)
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in begun.tensors.items())
    assert set(begun.tensors) == set(net.state_dict()) and "random" not in begun.about
    with pytest.raises(FerKitError, match="w.safetensors: .* deep_v1, .* residual; choose"):
        start(small("residual", "image_px=0"), path)
    with pytest.raises(FerKitError, match=r"w.pth: not the weights of residual: \d+ missing: .*; \d+ unexpected: "):
        torch.save(net.state_dict(), tmp_path / "w.pth")
        start(small("residual", "image_px=0"), tmp_path / "w.pth")


TWO_NETWORKS = """
from torch import nn

class First(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(48 * 48, 7))

class Second(First):
    pass
"""


def test_two_own_networks_of_one_package_are_different_networks(tmp_path, monkeypatch):
    """Same shapes, same package: weights go to the class that they were trained with, whatever its digest."""
    package = tmp_path / "package_for_test"
    package.mkdir()
    (package / "nets.py").write_text(TWO_NETWORKS)
    monkeypatch.syspath_prepend(tmp_path)
    first, second = (
        small("residual", "image_px=0", f"model=package_for_test.nets:{name}") for name in ("First", "Second")
    )
    name, _, digest = first.model.partition("@")
    path = safetensors_file(tmp_path / "w.safetensors", models.build(first), about(f"{name}@{'0' * 16}", 0))
    assert len(start(first, path).tensors) == 2 and digest != "0" * 16
    with pytest.raises(FerKitError, match="w.safetensors: .*package_for_test.nets:First.*package_for_test.nets:Second"):
        start(second, path)


def test_a_fine_tuned_network_of_timm_goes_on_at_another_size(tmp_path):
    net = models.build(small(VIT, "image_px=64"))
    path = safetensors_file(tmp_path / "w.safetensors", net, about("timm/test_vit.r160_in1k", 0))
    begun = start(small(VIT), path)
    assert torch.equal(begun.tensors["body.head.weight"], net.body.head.weight)  # its classes are ours
    assert begun.tensors["body.pos_embed"].shape[1] == 1 + 2 * 2


@pytest.mark.parametrize(
    ("theirs", "fold", "seen"),
    [
        (about("deep_v1", 0), 0, False),
        (about("deep_v1", 1), 0, True),
        (about("deep_v1", -1), 0, True),
        (about("deep_v1", [0, 1]), 0, False),
        (about("deep_v1", 0), (0, 1), True),
        (about("deep_v1", 0), (), False),
        (about("deep_v1", 0, folds_digest="0" * 64), 0, True),
        (about("deep_v1", 1, data_digest="0" * 64), 0, False),
        ({}, 0, False),
    ],
)
def test_a_network_that_saw_the_rows_to_be_predicted_is_refused(theirs, fold, seen, tmp_path):
    path = tmp_path / "w.safetensors"
    if seen:
        with pytest.raises(FerKitError, match=r"w.safetensors: .*\(run mine, fold .*\) .* rows that fold .*--weights"):
            pretrained.refuse_seen(path, theirs, fold, HERE)
    else:
        pretrained.refuse_seen(path, theirs, fold, HERE)


def test_a_packed_network_is_refused_where_a_fold_is_held_out(tmp_path):
    """A packed file names no fold. The network that ships was trained on all rows."""
    from fer_kit.predict import named

    path = named.shipped_network()
    ours = read_about(path, PACKED)
    here = {"folds_digest": "f" * 64, "data_digest": ours["data_digest"]}
    config = override(recipes.get("air"), [f"weights={path.name}@{'0' * 16}"])
    with pytest.raises(FerKitError, match=r"\(air-reborn/foldall\) were trained on these faces, .* fold 1 holds out"):
        pretrained.prepare(config, path, 1, here)
    full = pretrained.prepare(config, path, (), here)  # --fold all holds out nothing
    assert "rows they were trained" not in full.about
    assert pretrained.prepare(config, path, 1, HERE).tensors.keys() == full.tensors.keys()  # other faces


def test_a_checkpoint_of_an_unfinished_fold_is_refused(tmp_path):
    net = models.build(small("deep_v1", "image_px=0"))
    torch.save({"identity": HERE, "net": net.state_dict()}, tmp_path / "last.pt")
    with pytest.raises(FerKitError, match=r"last.pt: .* may have seen the rows that fold 0 holds out; give the folder"):
        start(small("deep_v1", "image_px=0"), tmp_path / "last.pt")


def test_weights_of_unknown_rows_are_named_so(tmp_path):
    config = small("deep_v1", "image_px=0")
    torch.save(models.build(config).state_dict(), tmp_path / "w.pt")
    assert "the file does not say on which rows they were trained" in start(config, tmp_path / "w.pt").about
