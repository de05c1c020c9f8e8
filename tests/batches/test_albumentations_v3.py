"""`--augment v3` draws what deep_v3 draws on the device: over thousands of draws, and with wrong ranges."""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

from fer_kit.batches import augment
from fer_kit.batches import pipeline as user_augment
from fer_kit.batches.pipeline_file import V3, AugmentFile
from fer_kit.competition import PIXEL_MEAN, PIXEL_STD
from fer_kit.config import recipes
from fer_kit.config.settings import REPLACED_BY_PIPELINE, TABLE

DRAWS = 3000
LIKELY, UNLIKELY = 1e-3, 1e-4  # p of the Kolmogorov-Smirnov test: alike above the first, different below the second
DEVICE = recipes.get("deep_v3")
FLIP, WARP, FLOAT, LIGHT, ERASE = range(5)  # places in the pipeline
Draws = dict[str, np.ndarray]


def v3(*places: int, **changes: Any) -> user_augment.Pipeline:
    """The pipeline with these transforms only, and options of the last one changed."""
    content = copy.deepcopy(V3)
    content["transform"]["transforms"] = [content["transform"]["transforms"][place] for place in places]
    content["transform"]["transforms"][-1] |= changes
    return user_augment.Pipeline(AugmentFile("v3@0", "v3", content, b""))


def device(*names: str) -> Any:
    """deep_v3 with these parts of its augmentation only."""
    return dataclasses.replace(
        DEVICE, **{name: TABLE[name].neutral for name in REPLACED_BY_PIPELINE if name not in names}
    )


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def parts_of(forward: np.ndarray) -> Draws:
    """What forward maps (N, 2, 3) in pixels do, in this order: mirror, scale, shear, rotate, shift."""
    linear = forward[:, :, :2].copy()
    mirrored = np.linalg.det(linear) < 0
    linear[mirrored, :, 0] *= -1
    scale, angle = np.hypot(*linear[:, :, 0].T), np.arctan2(linear[:, 1, 0], linear[:, 0, 0])
    shear = (np.cos(angle) * linear[:, 0, 1] + np.sin(angle) * linear[:, 1, 1]) / scale
    right, down = forward[:, :, 2].T
    return {"mirror": mirrored * 1.0, "scale": scale, "angle": angle, "shear": shear, "right": right, "down": down}


def drawn_maps(**changes: Any) -> Draws:
    """The maps that Warp draws; without a mirror, which is a transform of its own."""
    warp = v3(WARP, **changes).transforms.transforms[0]
    maps = np.stack([warp.get_params_dependent_on_data({"shape": (48, 48, 1)}, {})["matrix"][:2] for _ in range(DRAWS)])
    maps[:, :, 2] += maps[:, :, :2] @ [23.5, 23.5] - 23.5  # around the middle
    return parts_of(maps)


def device_maps() -> Draws:
    inverse = augment.draw_matrices(DRAWS, DEVICE, rng(0)).double()
    last = torch.tensor([[[0.0, 0.0, 1.0]]]).double().expand(DRAWS, 1, 3)
    forward = torch.linalg.inv(torch.cat([inverse, last], 1))[:, :2].numpy()
    forward[:, :, 2] *= 24  # from halves of the side to pixels
    return parts_of(forward)


def lights(x: np.ndarray) -> Draws:
    """What brightness and contrast were taken times, from the two tones of (N, 48, 48), 60 and 180 before."""
    tones = x.reshape(len(x), 2, -1).mean(2)
    brightness = tones.mean(1) / 120
    return {"brightness": brightness, "contrast": (tones[:, 1] - tones[:, 0]) / 120 / brightness}


def two_tones() -> np.ndarray:
    return np.repeat(np.array([60, 180], np.uint8), 24)[:, None].repeat(48, axis=1)


def holes(erased: np.ndarray) -> Draws:
    """Of erased pixels (N, 48, 48): areas, sides and places of the rectangles, in pixels."""
    rows, columns = erased.any(2), erased.any(1)
    found = {"area": erased.sum((1, 2)), "height": rows.sum(1), "width": columns.sum(1)}
    return found | {"top": rows.argmax(1), "left": columns.argmax(1)}


def drawn_holes(**changes: Any) -> Draws:
    erase = v3(FLOAT, ERASE, **({"p": 1.0} | changes))
    white = np.full((48, 48), 255, np.uint8)
    return holes(np.stack([erase(white, seed) < 0.9 for seed in range(DRAWS)]))


def device_holes() -> Draws:
    return holes((augment.erase(torch.ones(DRAWS, 1, 48, 48), 1.0, rng(0)) == 0).numpy()[:, 0])


def drawn_lights(**changes: Any) -> Draws:
    light = v3(FLOAT, LIGHT, **changes)
    return lights(255.0 * np.stack([light(two_tones(), seed) for seed in range(DRAWS)]))


def device_lights() -> Draws:
    x = torch.from_numpy(two_tones())[None, None].repeat(DRAWS, 1, 1, 1) / 255.0
    return lights(augment.relight(x, DEVICE, rng(0)).numpy()[:, 0].astype(np.float64) * 255)


STAGES = {
    "warp": (drawn_maps, device_maps()),
    "light": (drawn_lights, device_lights()),
    "holes": (drawn_holes, device_holes()),
}
WIDER = [
    ("warp", "angle", {"rotate": [-19.5, 19.5]}),
    ("warp", "right", {"translate_percent": {"x": [-0.13, 0.13], "y": [-0.1, 0.1]}}),
    ("warp", "down", {"translate_percent": {"x": [-0.1, 0.1], "y": [-0.13, 0.13]}}),
    ("warp", "scale", {"scale": [0.87, 1.13]}),
    ("warp", "shear", {"shear": {"x": [-6.5, 6.5], "y": [0.0, 0.0]}}),
    ("light", "brightness", {"brightness": [0.74, 1.26]}),
    ("light", "contrast", {"contrast": [0.74, 1.26]}),
    ("holes", "area", {"scale": [0.02, 0.43]}),
    ("holes", "height", {"ratio": [0.21, 4.72]}),  # 1.3 times as far in the logarithm
]


@pytest.mark.parametrize("stage", STAGES)
def test_every_parameter_is_drawn_as_on_the_device(stage):
    drawn, on_device = STAGES[stage]
    for name, values in drawn().items():
        if name != "mirror":
            assert ks_2samp(values, on_device[name]).pvalue > LIKELY, name
            assert values.mean() == pytest.approx(on_device[name].mean(), abs=0.08 * on_device[name].std()), name
            assert values.std() == pytest.approx(on_device[name].std(), rel=0.05), name


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "name", "change"), WIDER)
def test_a_range_that_is_wider_by_30_percent_is_noticed(stage, name, change):
    drawn, on_device = STAGES[stage]
    assert ks_2samp(drawn(**change)[name], on_device[name]).pvalue < UNLIKELY


def test_how_often_faces_are_mirrored_and_erased():
    """Counted over draws; a probability higher by 30% would be 16 and 5 standard errors away."""
    even = np.full((48, 48), 200, np.uint8)
    ramp = np.arange(48, dtype=np.uint8)[None].repeat(48, axis=0)
    flip, erase = v3(FLIP), v3(FLOAT, ERASE)
    mirrored = np.mean([flip(ramp, seed)[0, 0] > 0 for seed in range(DRAWS)])
    erased = np.mean([np.ptp(erase(even, seed)) > 0.1 for seed in range(DRAWS)])
    assert mirrored == pytest.approx(DEVICE.flip_prob, abs=3 * math.sqrt(0.25 / DRAWS))
    assert erased == pytest.approx(DEVICE.erase_prob, abs=3 * math.sqrt(0.09 / DRAWS))


@pytest.mark.slow
def test_pictures_show_what_was_drawn():
    """Mirror and warp recovered from three dots, whose centres of mass are found in the pictures of both."""
    count, at = 1200, [(22, 22), (22, 32), (32, 22)]
    pipeline, config = v3(FLIP, WARP), device("flip_prob", "rotation_deg", "shift_frac", "scale_frac", "shear_deg")
    centres: dict[str, list[np.ndarray]] = {"pipeline": [], "device": []}
    for row, column in at:
        image = np.zeros((48, 48), np.uint8)
        image[row - 1 : row + 2, column - 1 : column + 2] = 255
        shown = {"pipeline": np.stack([pipeline(image, seed) for seed in range(count)]) / 255.0}
        x = augment.augment(torch.from_numpy(image)[None].repeat(count, 1, 1), config, rng(1))
        shown["device"] = x[:, 0].double().numpy() * PIXEL_STD + PIXEL_MEAN
        for name, pictures in shown.items():
            place, mass = np.arange(48) - 23.5, np.where(pictures > 1e-3, pictures, 0)
            middle = np.stack([mass.sum(1) @ place, mass.sum(2) @ place], 1) / mass.sum((1, 2))[:, None]  # x, y
            centres[name].append(middle)
    source = np.array([[column - 23.5, row - 23.5, 1.0] for row, column in at])  # (3, 3)
    found = {
        name: parts_of(np.linalg.solve(source, np.stack(where, 1)).swapaxes(1, 2)) for name, where in centres.items()
    }
    for name, values in found["pipeline"].items():
        if name == "mirror":
            assert values.mean() == pytest.approx(found["device"][name].mean(), abs=0.06)
        else:
            assert ks_2samp(values, found["device"][name]).pvalue > LIKELY, name


@pytest.mark.slow
def test_pixels_of_the_whole_flow_have_the_same_moments():
    images = np.random.default_rng(0).integers(60, 256, (2000, 6, 6), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    pipeline = v3(FLIP, WARP, FLOAT, LIGHT, ERASE)
    ours = np.stack([pipeline(image, seed) for seed, image in enumerate(images)])
    x = augment.augment(torch.from_numpy(images), DEVICE, rng(2))
    theirs = x[:, 0].double().numpy() * PIXEL_STD + PIXEL_MEAN
    for moment in (np.mean, np.std):
        a, b = moment(ours, axis=(1, 2)), moment(theirs, axis=(1, 2))  # of each image
        assert a.mean() == pytest.approx(b.mean(), rel=0.01)
        assert a.std() == pytest.approx(b.std(), rel=0.1)
        np.testing.assert_allclose(moment(ours, axis=0), moment(theirs, axis=0), atol=0.04)  # of each pixel
    dark = [(pictures < 0.01).mean() for pictures in (ours, theirs)]  # what the warp left empty
    assert dark[0] == pytest.approx(dark[1], rel=0.15)  # four standard errors


def test_the_file_says_what_the_recipe_says():
    """deep_v3's numbers stand in the pipeline as numbers, so that people can edit them."""
    flip, warp, _, light, erase = V3["transform"]["transforms"]
    assert (flip["p"], erase["p"]) == (DEVICE.flip_prob, DEVICE.erase_prob)
    around = {"rotate": DEVICE.rotation_deg, "translate_percent": DEVICE.shift_frac}
    assert {name: warp[name] for name in around} == {name: [-most, most] for name, most in around.items()}
    assert warp["shear"] == {"x": [-DEVICE.shear_deg, DEVICE.shear_deg], "y": [0.0, 0.0]}
    assert warp["scale"] == [1 - DEVICE.scale_frac, 1 + DEVICE.scale_frac] and warp["keep_ratio"]
    assert light["brightness"] == [1 - DEVICE.brightness_frac, 1 + DEVICE.brightness_frac]
    assert light["contrast"] == [1 - DEVICE.contrast_frac, 1 + DEVICE.contrast_frac]
    assert (erase["scale"], erase["ratio"]) == (list(augment.ERASED_SHARE), list(augment.ERASED_RATIO))
    assert erase["fill"] == PIXEL_MEAN and (warp["fill"], DEVICE.edges) == (0, "zeros")
