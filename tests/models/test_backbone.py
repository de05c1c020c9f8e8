"""timm's networks on grey faces: what they see, what they take, and what is refused."""

from __future__ import annotations

import pytest
import timm
import torch
from torch.nn import functional as F

from fer_kit import models
from fer_kit.batches.augment import normalise
from fer_kit.engine.optim import make_optimizer
from fer_kit.errors import FerKitError
from fer_kit.models.backbone import Backbone
from tests.helpers.timm_files import CONVNEXT, RESNET, VIT, rgb, small


@pytest.mark.parametrize(("name", "px"), [("test_resnet", 160), ("test_vit", 160), ("test_resnet", 64)])
def test_a_face_is_seen_as_timm_would_see_it_in_three_equal_channels(name, px):
    """The whole way by hand: enlarge, three channels, the network's own mean and spread, its own first convolution."""
    theirs = rgb(name)
    ours = Backbone(name, image_px=px if px != 160 else 0).eval()
    state = theirs.state_dict()
    first = theirs.pretrained_cfg["first_conv"] + ".weight"
    state[first] = state[first].sum(1, keepdim=True)
    for head in (theirs.pretrained_cfg["classifier"],):
        state = {key: value for key, value in state.items() if not key.startswith(f"{head}.")}
    ours.body.load_state_dict(state, strict=False)
    faces = torch.randint(0, 256, (3, 1, 48, 48)) / 255
    enlarged = F.interpolate(faces, (px, px), mode=theirs.pretrained_cfg["interpolation"], align_corners=False)
    mean, std = (torch.tensor(theirs.pretrained_cfg[key])[None, :, None, None] for key in ("mean", "std"))
    with torch.no_grad():
        expected = theirs.forward_features((enlarged - mean) / std)
        seen = []
        ours.body.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
        assert ours(normalise(faces.clone())).shape == (3, 7)
        torch.testing.assert_close(ours.body.forward_features(seen[0]), expected, atol=2e-4, rtol=1e-3)


def test_mean_and_spread_are_those_of_the_weights():
    """Of the colours the mean: what is white to the camera is white to the network."""
    white = normalise(torch.ones(1, 1, 48, 48))
    for name, mean, std in (("test_vit", 0.5, 0.5), ("test_byobnet", 0.449, 0.226)):
        net = Backbone(name, image_px=32)
        assert float((white * net.scale + net.shift).mean()) == pytest.approx((1 - mean) / std, rel=1e-3)


@pytest.mark.parametrize("model", [RESNET, VIT, CONVNEXT])
def test_every_weight_gets_a_gradient(model):
    net = models.build(small(model))
    assert isinstance(net, Backbone) and net.image_px == 32
    net(torch.randn(4, 1, 48, 48)).square().sum().backward()
    assert all(weight.grad is not None for weight in net.parameters())


@pytest.mark.parametrize(
    ("name", "px"),
    [
        ("test_resnet", 32),  # fc
        ("test_vit", 32),  # head
        ("tf_efficientnet_lite0", 32),  # classifier, drawn by timm for the number of classes alone
        ("mobilenetv3_small_050", 32),
        ("convnext_atto", 32),  # head.fc
        pytest.param("caformer_s18", 32, marks=pytest.mark.slow),  # head.fc.fc2
        ("efficientvit_b0", 32),  # head.classifier.4
        ("levit_128s", 0),  # head.linear and head_dist.linear, after batch norms
        ("efficientvim_m1", 64),  # four classifiers with learned weights
        pytest.param("resnet50_clip", 64, marks=pytest.mark.slow),  # head.proj
    ],
)
def test_first_logits_are_zero_whatever_the_classifier(name, px):
    if not timm.is_model(name):
        pytest.skip(f"timm {timm.__version__} has no {name}")
    net = Backbone(name, image_px=px).train()
    with torch.no_grad():
        assert not net(torch.randn(2, 1, 48, 48)).any()


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "nmuon"])
def test_a_classifier_of_zeros_lets_the_other_layers_learn_from_the_second_step_on(optimizer):
    config = small("timm/test_efficientnet", f"optimizer={optimizer}", "weight_decay=0")
    torch.manual_seed(0)
    net = models.build(config).train()
    steps = make_optimizer(net, config)
    first = net.body.conv_stem.weight.detach().clone()
    faces, labels, moved = torch.randn(8, 1, 48, 48), torch.arange(8) % 7, []
    for _ in range(2):
        loss = F.cross_entropy(net(faces), labels)
        steps.zero_grad()
        loss.backward()
        steps.step()
        moved.append(not torch.equal(net.body.conv_stem.weight, first))
        assert all(weight.isfinite().all() for weight in net.parameters())
    assert moved == [False, True]


def test_only_training_sees_smaller_images():
    net = Backbone("test_resnet", image_px=64)
    sides = []
    net.body.register_forward_pre_hook(lambda module, given: sides.append(given[0].shape[-1]))
    net.px = 32
    net.train()(torch.zeros(2, 1, 48, 48))
    net.eval()(torch.zeros(2, 1, 48, 48))
    assert sides == [32, 64]


def test_stochastic_depth_rises_to_what_was_asked():
    net = Backbone("test_resnet", image_px=32, drop_path_prob=0.3)
    rates = [module.drop_prob for module in net.modules() if type(module).__name__ == "DropPath"]
    assert rates == sorted(rates) and rates[-1] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("resnet5o", {}, r"model=timm/resnet5o: timm [0-9.]+ has no network 'resnet5o' \(did you mean 'resnet50'\?\)"),
        ("resnet18.a1_in2k", {}, r"model=timm/resnet18.a1_in2k: .* \(did you mean 'a1_in1k'\?\); available tags: "),
        ("vgg11", {"drop_path_prob": 0.1}, r"drop_path_prob=0.1: timm/vgg11 .*; set drop_path_prob=0$"),
        (
            "test_vit",
            {"image_px": 97},
            r"timm/test_vit .* 97 pixels \(.*\); .* image_px=160",
        ),
    ],
)
def test_what_a_network_cannot_be_is_refused_in_one_line(name, options, words):
    with pytest.raises(FerKitError, match=words) as error:
        Backbone(name, **options)
    assert "\n" not in str(error.value)


def test_timm_has_the_networks_that_stand_ready():
    from fer_kit.config.recipes_timm import READY

    known = set(timm.list_models(pretrained=True))
    assert {f"{network}.{tag}" for network, (tag, _) in READY.items()} <= known
