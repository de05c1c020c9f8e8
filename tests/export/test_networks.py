"""Every kind of network becomes ONNX and a torch.export program with the same probabilities, for any batch size."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest
import torch

from fer_kit import models
from fer_kit.competition import CLASSES
from fer_kit.config import recipes
from fer_kit.config.networks import NETWORKS
from fer_kit.engine.face_network import FaceNetwork
from fer_kit.engine.views import VIEWS
from fer_kit.errors import FerKitError
from fer_kit.export import check, int8, onnx_file
from fer_kit.predict.combine import MeanOfNetworks, StackedBlend, Tempered, WeightedBlend

FACES = np.random.default_rng(0).integers(0, 256, (check.BATCH + 5, 48, 48), np.uint8)
TIMM = ("timm/test_resnet", "timm/test_vit")
OWN = """
from torch import nn

class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 5, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 11 * 11, 7))

    def forward(self, faces):
        return self.body(faces)

class Length(Mine):
    def forward(self, faces):
        return self.body(faces) * len(faces)

class Branch(Mine):
    def forward(self, faces):
        return self.body(faces) if faces.sum() > 0 else self.body(-faces)
"""


def network(model, views="none", seed=0, **settings):
    """A narrow network of the name `model`, with random weights."""
    row = NETWORKS.get(model)
    narrow = {"width_mult": 0.125} if row and row.has_width else {}
    config = dataclasses.replace(recipes.get("baseline_v1"), model=model, views=views, **narrow, **settings)
    torch.manual_seed(seed)
    return FaceNetwork(models.build(config), views)


def same(module, folder, forms=("onnx", "torch")):
    """Export, and compare with the module."""
    with torch.inference_mode():
        original = module.eval()(torch.from_numpy(FACES)).double().softmax(1).numpy()
    program = onnx_file.program(module)
    if "onnx" in forms:
        onnx_file.write_onnx(folder / "a.onnx", program, {"source": "tests"})
        found = check.of_onnx(folder / "a.onnx", FACES)
        assert found.dtype == np.float32 and found.shape == (len(FACES), 7)
        np.testing.assert_allclose(found, original, atol=2e-6)
        np.testing.assert_allclose(check.of_onnx(folder / "a.onnx", FACES[:1]), original[:1], atol=2e-6)
    if "torch" in forms:
        onnx_file.write_torch(folder / "a.pt2", program)
        np.testing.assert_allclose(check.of_torch(folder / "a.pt2", FACES), original, atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("model", NETWORKS)
def test_every_network(model, tmp_path):
    same(network(model), tmp_path, ("onnx",))


@pytest.mark.slow
@pytest.mark.parametrize("views", VIEWS)
def test_every_set_of_views(views, tmp_path):
    same(network("vgg", views), tmp_path, ("onnx",))


@pytest.mark.slow
@pytest.mark.parametrize("model", TIMM)
def test_networks_of_timm(model, tmp_path):
    same(network(model, "flip", image_px=64), tmp_path)


@pytest.mark.slow
def test_blends_of_every_kind(tmp_path):
    a, b = network("vgg"), MeanOfNetworks([network("vgg", seed=1), network("vgg", seed=2)])
    members = [Tempered(a, 1.4), Tempered(b, 0.7)]
    for of_logs in (True, False):
        same(WeightedBlend(members, [0.3, 0.7], of_logs=of_logs, sharpness=1.1), tmp_path, ("onnx",))
    rng = torch.Generator().manual_seed(0)
    drawn = torch.randn(7, 15, generator=rng, dtype=torch.float64)
    stack = StackedBlend(members, drawn[:, :14], drawn[:, 14], -8.0)
    same(Tempered(stack, 1.2), tmp_path)


@pytest.fixture
def own_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_export_net.py").write_text(OWN)
    yield tmp_path
    sys.modules.pop("my_export_net", None)


@pytest.mark.slow
def test_networks_of_your_own(own_file):
    same(network("my_export_net:Mine", "ten_crops"), own_file)
    for name in ("Length", "Branch"):
        with pytest.raises(FerKitError, match=r"torch.export cannot follow.*len\(x\)"):
            onnx_file.program(network(f"my_export_net:{name}"))


@pytest.mark.slow
def test_the_file_says_what_it_takes_and_int8_is_near(tmp_path):
    import onnx

    module = network("vgg", "flip")
    same(module, tmp_path, ("onnx",))
    model = onnx.load(tmp_path / "a.onnx")
    [taken], [given] = model.graph.input, model.graph.output
    dims = [one.dim_param or one.dim_value for one in taken.type.tensor_type.shape.dim]
    assert (taken.name, dims, taken.type.tensor_type.elem_type) == ("faces", ["batch", 48, 48], onnx.TensorProto.UINT8)
    assert given.name == "probabilities" and given.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert [one.version for one in model.opset_import if one.domain == ""] == [onnx_file.OPSET]
    about = {one.key: one.value for one in model.metadata_props}
    assert about["classes"] == ",".join(CLASSES) and about["source"] == "tests"
    int8.quantise(tmp_path / "a.onnx", tmp_path / "b.onnx", FACES[:64])
    assert (tmp_path / "b.onnx").stat().st_size < (tmp_path / "a.onnx").stat().st_size
    exact, small = (check.of_onnx(tmp_path / name, FACES) for name in ("a.onnx", "b.onnx"))
    assert 0 < np.abs(exact - small).max() < 0.1


def test_comparisons():
    a = np.array([[0.6, 0.4, 0, 0, 0, 0, 0], [0.2, 0.8, 0, 0, 0, 0, 0]])
    b = a.copy()
    b[0, :2] = 0.45, 0.55
    found = check.compare(a, b, np.array([0, 1]))
    assert (found.faces, found.changed, found.accuracy) == (2, 1, (1.0, 0.5)) and found.largest == pytest.approx(0.15)
    assert str(found).startswith("2 faces: largest difference of a probability 1.5e-01, 1 labels changed, accuracy 100")


def test_missing_packages_are_named():
    with pytest.raises(FerKitError, match=r"no_such_package not installed.*fer_kit\[export\]"):
        onnx_file.require("json", "no_such_package")


def test_a_file_that_onnxruntime_cannot_read_is_one_line(tmp_path):
    """Older onnxscript wrote invalid graphs with newer torch."""
    (tmp_path / "a.onnx").write_bytes(b"no graph")
    with pytest.raises(FerKitError, match=r"a\.onnx: onnxruntime cannot read the file \(.*pip install --upgrade onnx"):
        check.of_onnx(tmp_path / "a.onnx", FACES)
