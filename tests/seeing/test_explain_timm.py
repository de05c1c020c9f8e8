"""Class activation maps of timm's networks: which layer is explained, and that its map says what the network does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fer_kit.errors import FerKitError
from fer_kit.explain import maps as explain_maps
from fer_kit.models.backbone import Backbone

FACES = np.random.default_rng(0).integers(0, 256, (3, 48, 48), dtype=np.uint8)
CLASSES = np.array([0, 3, 6])
BUILT = {}


def network(name, **options):
    if name not in BUILT:
        torch.manual_seed(0)
        net = Backbone(name, **options).eval()
        for classifier in net.classifier:  # starts at zero, which would make every map zero
            torch.nn.init.normal_(net.body.get_submodule(classifier).weight, std=0.1)
        BUILT[name] = net
    return BUILT[name]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "px", "expected"),
    [
        ("test_resnet", 160, ("body.layer4", (5, 5), "BCHW")),
        ("test_convnext", 160, ("body.norm_pre", (5, 5), "BCHW")),
        ("test_vit", 160, ("body.blocks.5.norm1", (10, 10), "BNC")),
        ("test_vit2", 160, ("body.norm", (10, 10), "BNC")),
        ("swin_tiny_patch4_window7_224", 96, ("body.layers.2", (6, 6), "BHWC")),
    ],
)
def test_the_last_map_that_the_answer_rests_on_is_explained(name, px, expected):
    net = network(name, image_px=px)
    layer = explain_maps.choose_layer(net)
    maps = explain_maps.class_maps(net, layer, FACES, CLASSES)
    assert maps.shape == (3, 48, 48) and (maps.max((1, 2)) > 0).any()
    assert (layer.name, layer.side, layer.form) == expected


@pytest.mark.parametrize("name", ["test_vit", "swin_tiny_patch4_window7_224"])
def test_gradcam_is_refused_where_channels_do_not_come_first(name):
    net = network(name, image_px=96)
    layer = explain_maps.choose_layer(net)
    with pytest.raises(FerKitError, match=f"has layout {layer.form}, and gradcam needs BCHW; use --method hirescam"):
        explain_maps.class_maps(net, layer, FACES, CLASSES, method="gradcam")


def test_the_place_that_speaks_for_a_class_lights_up():
    """A transformer whose answer is the brightness of one patch: its map must be of that patch and no other."""
    layer = explain_maps.Layer("x", (4, 4), "BNC", skip=1)
    values = torch.zeros(1, 17, 8)
    values[0, 1 + 4 * 2 + 3] = 1.0  # row 2, column 3
    assert layer.summed(values)[0, 0].nonzero().tolist() == [[2, 3]]
    last = explain_maps.Layer("x", (4, 4), "BHWC")
    assert last.summed(values[:, 1:].view(1, 4, 4, 8))[0, 0].nonzero().tolist() == [[2, 3]]


def test_maps_do_not_depend_on_how_many_go_at_once(monkeypatch):
    net = network("test_resnet", image_px=96)
    layer = explain_maps.choose_layer(net)
    whole = explain_maps.class_maps(net, layer, FACES, CLASSES, views="flip")
    monkeypatch.setattr(explain_maps, "LARGE_BATCH", 2)
    np.testing.assert_allclose(explain_maps.class_maps(net, layer, FACES, CLASSES, views="flip"), whole, atol=1e-5)
