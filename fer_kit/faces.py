"""Drawn faces: 48×48 grey pictures whose brows, eyes, mouth and head pose carry an expression.

`traits` rolls the numbers that make a photo (who, which expression, which pose, which light);
`render` draws them. Pixels are made with + − × ÷, √, min and max alone, which IEEE 754 rounds
alike everywhere, and never with exp, sin or a matrix product: the same seed gives the same bytes
on every machine.

Coordinates: x right, y down, the picture spans −1 … 1; u, v are the same in the frame of the
head, whose mid-line is u = 0. Shades are grey levels 0–255, lengths are in units of half a picture.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_kit.labels import CLASSES, SIDE_PX

Floats = NDArray[np.floating[Any]]
Traits = dict[str, Floats]

_CHUNK = 128  # faces drawn at once: the working arrays stay in the cache
_EDGE = 0.06  # width of an antialiased edge: one and a half pixels

# What an expression does to a face at full strength, after the action units of Ekman and Friesen's
# Facial Action Coding System: 0 is the face at rest.
_ACTIONS = (
    "brow_raise brow_inner brow_knit eye_open squint nose_wrinkle lip_raise smile stretch mouth_open teeth nod turn"
).split()
_EXPRESSIONS = {
    "Angry": (-0.7, -0.9, 1.0, 0.1, 0.4, 0.4, 0.1, -0.4, 0.0, 0.2, 0.7, 0.5, 0.0),
    "Disgust": (-0.4, -0.5, 0.6, -0.5, 0.8, 1.0, 1.0, -0.5, -0.1, 0.2, 0.5, -0.3, 0.8),
    "Fear": (0.6, 0.9, 0.7, 0.9, -0.3, 0.0, 0.0, -0.5, 0.5, 0.4, 0.6, -0.4, 0.3),
    "Happy": (0.1, 0.0, 0.0, -0.2, 0.7, 0.1, 0.1, 1.0, 0.7, 0.4, 1.0, 0.0, 0.0),
    "Sad": (-0.1, 1.0, 0.5, -0.6, 0.1, 0.0, 0.0, -0.9, -0.2, 0.0, 0.0, 0.6, 0.3),
    "Surprise": (1.0, 0.1, 0.0, 1.0, -0.1, 0.0, 0.0, 0.0, -0.5, 1.0, 0.2, -0.2, 0.0),
    "Neutral": (0.0,) * len(_ACTIONS),
}
# Lowest and highest value of everything that tells two photos of the same expression apart.
_RANGES = {
    "head_wide": (0.58, 0.80),
    "head_high": (0.84, 1.02),
    "jaw": (0.05, 0.40),
    "skin": (85, 215),
    "eye_apart": (0.24, 0.34),
    "eye_size": (0.10, 0.15),
    "eye_level": (-0.22, -0.08),
    "eye_tilt": (-0.25, 0.25),
    "brow_gap": (0.14, 0.21),
    "brow_thick": (0.025, 0.06),
    "brow_dark": (0.3, 0.85),
    "nose_long": (0.20, 0.32),
    "nose_wide": (0.06, 0.12),
    "mouth_level": (0.40, 0.52),
    "mouth_wide": (0.20, 0.30),
    "lip_full": (0.03, 0.075),
    "lip_dark": (0.10, 0.40),
    "hair": (15, 190),
    "hair_line": (-0.85, -0.45),
    "hair_part": (-0.5, 0.5),
    "hair_volume": (0.02, 0.30),
    "hair_length": (-0.3, 1.4),
    "roll": (-0.22, 0.22),
    "yaw": (-0.40, 0.40),
    "pitch": (-0.16, 0.16),
    "size": (0.88, 1.20),
    "shift_x": (-0.12, 0.12),
    "shift_y": (-0.12, 0.12),
    "gaze": (-0.5, 0.5),
    "lopsided": (-0.5, 0.5),
    "back": (10, 240),
    "back_slope": (-60, 60),
    "cloth": (10, 230),
    "light_x": (-0.5, 0.5),
    "light_y": (-0.35, 0.25),
    "shadow": (0.0, 0.6),
    "shadow_edge": (-0.6, 0.6),
    "gain": (0.55, 1.15),
    "bias": (-25, 35),
    "blur": (0.0, 1.0),
    "grain": (3, 16),
    "rough": (6, 26),
    "beard": (-0.9, 0.6),
    "glasses": (-3.0, 0.7),
    "cover_x": (-0.9, 0.9),
    "cover_y": (-0.9, 0.9),
    "cover_size": (0.2, 0.5),
    "cover_shade": (10, 230),
}


def traits(labels: NDArray[np.int64], rng: np.random.Generator) -> Traits:
    """The numbers behind one photo a label: who, how strong an expression, pose, light, camera.

    Args:
        labels: (N,) classes 0–6, the expressions to draw.
        rng: the source of chance, advanced.

    Returns:
        Each trait by name, (N,) float32.
    """
    n = len(labels)
    drawn: Traits = {}
    for name, (low, high) in _RANGES.items():
        drawn[name] = (low + (high - low) * rng.random(n, np.float32)).astype(np.float32)
    target = np.array([_EXPRESSIONS[name] for name in CLASSES], np.float32)[labels]  # (N, actions)
    strength = 0.35 + 0.75 * rng.random((n, 1), np.float32)
    scatter = 0.5 + rng.random(target.shape, np.float32)
    resting = rng.random(target.shape, np.float32) - rng.random(target.shape, np.float32)
    actions = target * strength * scatter + 0.22 * resting
    drawn.update(zip(_ACTIONS, actions.astype(np.float32).T.copy(), strict=True))
    drawn["pitch"] += 0.12 * drawn["nod"]
    drawn["yaw"] += 0.25 * drawn["turn"] * np.where(rng.random(n) < 0.5, -1, 1).astype(np.float32)
    drawn["covered"] = (rng.random(n) < 0.15).astype(np.float32)
    return drawn


def render(drawn: Traits, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw the photos that `traits` rolled.

    Args:
        drawn: traits by name, each (N,).
        rng: the source of texture and grain, advanced.

    Returns:
        uint8 (N, 48, 48).
    """
    n = len(drawn["size"])
    images = np.empty((n, SIDE_PX, SIDE_PX), np.uint8)
    for start in range(0, n, _CHUNK):
        part = {name: values[start : start + _CHUNK, None, None] for name, values in drawn.items()}
        images[start : start + _CHUNK] = _photo(part, rng)
    return images


def texture(n: int, cells: int, rng: np.random.Generator) -> Floats:
    """Smooth random fields in −1 … 1 with `cells` knots a side (a divisor of 48): float32 (n, 48, 48)."""
    knots = 2 * rng.random((n, cells + 1, cells + 1), np.float32) - 1
    step = SIDE_PX // cells
    weight = (np.arange(step, dtype=np.float32) + 0.5) / step
    rows = knots[:, :-1, None, :] * (1 - weight)[:, None] + knots[:, 1:, None, :] * weight[:, None]
    rows = rows.reshape(n, SIDE_PX, cells + 1)
    full = rows[:, :, :-1, None] * (1 - weight) + rows[:, :, 1:, None] * weight
    return full.reshape(n, SIDE_PX, SIDE_PX)


def soften(images: Floats) -> Floats:
    """Binomial 1-2-1 blur in both directions, edges repeated: (N, 48, 48) to the same."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = (padded[:, :-2] + padded[:, 2:]) * 0.25 + padded[:, 1:-1] * 0.5
    return (rows[:, :, :-2] + rows[:, :, 2:]) * 0.25 + rows[:, :, 1:-1] * 0.5


def _cover(distance: Floats, edge: float | Floats = _EDGE) -> Floats:
    """How much of a pixel lies inside: 1 where `distance` is well below 0, 0 well above."""
    return np.clip(0.5 - distance / edge, 0, 1)


def _ellipse(u: Floats, v: Floats, wide: Floats | float, high: Floats | float) -> Floats:
    """Approximate distance to the ellipse with half axes `wide`, `high` at the origin, below 0 inside."""
    return (np.sqrt((u / wide) ** 2 + (v / high) ** 2) - 1) * np.minimum(wide, high)


def _paint(image: Floats, mask: Floats, shade: Floats | float) -> None:
    """Lay `shade` over `image` where `mask` is 1; in place."""
    image += mask * (shade - image)


def _photo(t: Traits, rng: np.random.Generator) -> NDArray[np.uint8]:
    """One chunk of photos: traits (B, 1, 1) to uint8 (B, 48, 48)."""
    n = len(t["size"])
    axis = (np.arange(SIDE_PX, dtype=np.float32) + 0.5) / (SIDE_PX / 2) - 1
    x, y = axis[None, None, :], axis[None, :, None]
    norm = np.sqrt(1 + t["roll"] ** 2)
    cos, sin = 1 / norm, t["roll"] / norm  # roll is the tangent of the angle
    u = (cos * (x - t["shift_x"]) + sin * (y - t["shift_y"])) / t["size"]
    v = (cos * (y - t["shift_y"]) - sin * (x - t["shift_x"])) / t["size"]
    # a turned head: features near the mid-line stand out and move most, the outline stays
    fu = u - t["yaw"] * np.maximum(1 - u * u, 0) * 0.5
    fv = v - t["pitch"] * np.maximum(1 - v * v, 0)

    image = t["back"] + t["back_slope"] * x + 45 * texture(n, 4, rng) + 25 * texture(n, 12, rng)
    head = _ellipse(u / (1 - t["jaw"] * np.maximum(v, 0)), v, t["head_wide"], t["head_high"])
    skin = _skin(t, u, v, rng)
    _paint_behind(image, t, u, v, skin, rng)
    face = _cover(head)
    _paint(image, face, skin)
    _paint_folds(image, t, fu, fv)
    _paint_eyes(image, t, fu, fv)
    _paint_nose(image, t, fu, fv)
    _paint_mouth(image, t, fu, fv)
    _paint_hair(image, t, u, v, fu, fv, face, rng)
    _paint_cover(image, t, x, y, rng)
    return _develop(image, t, rng)


def _skin(t: Traits, u: Floats, v: Floats, rng: np.random.Generator) -> Floats:
    """Skin under light from one side, with a cast shadow and the unevenness of real skin: (B, 48, 48)."""
    n = len(u)
    light = 1 + t["light_x"] * u + t["light_y"] * v - 0.22 * (u * u + 0.5 * v * v)
    side = np.where(t["light_x"] > 0, u, -u)
    light = light * (1 - t["shadow"] * _cover(side - t["shadow_edge"] * 0.6, 0.5))
    return t["skin"] * light + t["rough"] * (texture(n, 6, rng) + 0.7 * texture(n, 16, rng))


def _paint_behind(image: Floats, t: Traits, u: Floats, v: Floats, skin: Floats, rng: np.random.Generator) -> None:
    """Hair behind the head, neck and shoulders."""
    n = len(u)
    fall = np.where(v > 0, np.maximum(t["hair_length"], 0.1), t["head_high"] + t["hair_volume"])
    strands = t["hair"] + 28 * texture(n, 16, rng)
    _paint(image, _cover(_ellipse(u, v, t["head_wide"] + t["hair_volume"], fall)), strands)
    _paint(image, _cover(np.maximum(np.abs(u) - t["head_wide"] * 0.6, 0.5 - v)), 0.75 * skin)
    slope = 1.0 + 0.35 * np.abs(u) - v
    _paint(image, _cover(slope), t["cloth"] + 30 * texture(n, 8, rng))


def _paint_eyes(image: Floats, t: Traits, u: Floats, v: Floats) -> None:
    """Eyes and brows, both sides at once through the mirrored coordinate."""
    side = np.sign(u) * t["lopsided"]
    a = np.abs(u) - t["eye_apart"]  # + is away from the nose
    level = v - t["eye_level"] + t["eye_tilt"] * a
    size = t["eye_size"]
    upper = size * np.clip(0.42 + 0.34 * t["eye_open"] - 0.1 * side, 0.05, 1.1)
    lower = size * np.clip(0.38 - 0.30 * t["squint"] + 0.12 * t["eye_open"], 0.02, 0.7)
    arch = 1 - (a / size) ** 2
    inside = np.maximum(-level - upper * arch, level - lower * arch)
    socket = _cover(_ellipse(a, level, size * 1.5, size * 1.2), 0.2)
    image *= 1 - 0.25 * socket
    eye = _cover(inside, 0.045) * (arch > -0.3)
    white = np.minimum(t["skin"] * 0.7 + 75, 235)
    _paint(image, eye, white)
    iris = _cover(_ellipse(u - np.sign(u) * t["eye_apart"] - t["gaze"] * size * 0.6, level, size * 0.5, size * 0.52))
    _paint(image, eye * iris, 25)
    lid = _cover(np.abs(level + upper * arch) - 0.012, 0.05) * (np.abs(a) < size * 1.1)
    _paint(image, lid * 0.75, t["skin"] * 0.3)

    b = a / (size * 1.5)  # −1 at the inner end of the brow, 1 at the outer
    knit = t["brow_knit"]
    middle = t["eye_level"] - t["brow_gap"] - 0.10 * (t["brow_raise"] + 0.35 * side)
    line = middle + 0.035 * b * b + 0.075 * t["brow_inner"] * b
    line = line - 0.03 * t["brow_raise"] * (1 - b * b)
    reach = np.maximum(-b - 1 - 0.25 * np.maximum(knit, 0), b - 1) * size
    thick = t["brow_thick"] * (1 - 0.35 * b)
    brow = _cover(np.maximum(np.abs(v - line) - thick, reach))
    _paint(image, brow * t["brow_dark"], np.minimum(t["hair"], t["skin"]) * 0.45)


def _paint_folds(image: Floats, t: Traits, u: Floats, v: Floats) -> None:
    """Wrinkles: between knit brows, across the raised forehead, beside the nose, around the smile."""
    a = np.abs(u)
    fine = 0.05
    frown = _cover(np.maximum(np.abs(a - 0.05) - 0.012, np.abs(v - t["eye_level"] + 0.1) - 0.09), fine)
    image *= 1 - 0.4 * np.clip(t["brow_knit"], 0, 1) * frown
    rise = v - t["eye_level"] + t["brow_gap"] + 0.24
    lines = np.minimum(np.abs(rise), np.abs(rise + 0.11))
    image *= 1 - 0.3 * np.clip(t["brow_raise"], 0, 1) * _cover(np.maximum(lines - 0.012, a - 0.3), fine)
    bridge = v - t["eye_level"] - 0.06
    lines = np.minimum(np.abs(bridge + 0.4 * a), np.abs(bridge - 0.08 + 0.4 * a))
    image *= 1 - 0.4 * np.clip(t["nose_wrinkle"], 0, 1) * _cover(np.maximum(lines - 0.012, a - 0.13), fine)
    depth = np.clip(np.maximum(t["smile"], t["lip_raise"]), 0, 1)
    w = v - t["eye_level"] - t["nose_long"]  # 0 at the tip of the nose
    fold = np.abs(a - 0.14 - 0.55 * w) - 0.015
    image *= 1 - 0.35 * depth * _cover(np.maximum(fold, np.abs(w - 0.1) - 0.14), fine)


def _paint_nose(image: Floats, t: Traits, u: Floats, v: Floats) -> None:
    """A nose lit from one side, with nostrils; disgust pulls it up."""
    tip = t["eye_level"] + t["nose_long"] + 0.05 - 0.05 * t["nose_wrinkle"]
    along = np.clip((v - t["eye_level"]) / (tip - t["eye_level"]), 0, 1)
    wide = t["nose_wide"] * (0.45 + 0.55 * along)
    body = _cover(np.maximum(np.abs(u) - wide, np.maximum(t["eye_level"] - v, v - tip)), 0.12)
    image *= 1 + body * 0.9 * np.clip(t["light_x"] * u / wide, -0.4, 0.4)
    a = np.abs(u) - t["nose_wide"] * 0.65
    nostril = _cover(_ellipse(a, v - tip, t["nose_wide"] * 0.45, 0.025))
    _paint(image, nostril * 0.7, t["skin"] * 0.25)
    wing = _cover(np.abs(_ellipse(u, v - tip + 0.04, t["nose_wide"] * 1.2, 0.09)) - 0.01) * (v > tip - 0.06)
    image *= 1 - 0.3 * wing


def _paint_mouth(image: Floats, t: Traits, u: Floats, v: Floats) -> None:
    """Lips along a curve that the smile bends, opened over teeth and the dark inside."""
    half = t["mouth_wide"] * (1 + 0.32 * t["stretch"])
    m = u / half
    bow = np.maximum(1 - m * m, 0)
    opened = np.maximum(t["mouth_open"] - 0.08, 0)
    smile = t["smile"] + 0.25 * t["lopsided"] * np.sign(u) * np.abs(m)
    curve = t["mouth_level"] + 0.11 * smile * (0.6 - m * m)
    rise = 0.05 * np.maximum(t["lip_raise"], 0) * bow
    top = curve - rise - 0.10 * opened * bow
    bottom = curve + 0.20 * opened * bow
    outside = (np.abs(m) - 1) * half
    lip = t["lip_full"] * (0.25 + 0.75 * bow)
    lips = _cover(np.maximum(np.maximum(top - lip - v, v - bottom - lip * 1.2), outside))
    _paint(image, lips, t["skin"] * (1 - t["lip_dark"]) * 0.85)
    inner = _cover(np.maximum(np.maximum(top - v, v - bottom) - 0.012, outside), 0.05)
    _paint(image, inner * 0.9, t["skin"] * 0.2)
    shown = np.clip(t["teeth"], 0, 1)
    row = _cover(np.maximum(top + 0.01 - v, v - top - 0.13 * shown), 0.04)
    _paint(image, inner * row * np.clip(opened * 6, 0, 1) * (shown > 0.15), np.minimum(t["skin"] + 60, 235))
    under = _cover(np.maximum(np.abs(v - bottom - lip * 1.2 - 0.05) - 0.02, np.abs(u) - half * 0.5), 0.08)
    image *= 1 - 0.18 * under


def _paint_hair(
    image: Floats, t: Traits, u: Floats, v: Floats, fu: Floats, fv: Floats, face: Floats, rng: np.random.Generator
) -> None:
    """Hair over the forehead, a beard on some, glasses on some."""
    n = len(u)
    strands = t["hair"] + 30 * texture(n, 24, rng)
    fringe = v - t["hair_line"] - 0.5 * np.abs(u - t["hair_part"] * 0.6) ** 2
    fringe = fringe + 0.07 * texture(n, 12, rng)
    top = _ellipse(u, v, t["head_wide"] + t["hair_volume"] * 0.5, t["head_high"] + t["hair_volume"])
    _paint(image, _cover(np.maximum(fringe, top), 0.09), strands)
    chin = np.maximum(t["mouth_level"] - 0.06 - fv + 0.35 * (1 - np.abs(fu) * 2), 0)
    beard = _cover(chin - 0.05, 0.2) * face * np.clip(t["beard"], 0, 1)
    _paint(image, beard, strands * 0.6)
    a = np.abs(fu) - t["eye_apart"]
    rim = np.abs(_ellipse(a, fv - t["eye_level"], 0.2, 0.16)) - 0.012
    bridge = np.maximum(np.abs(fv - t["eye_level"]) - 0.015, np.abs(fu) - t["eye_apart"] + 0.18)
    _paint(image, _cover(np.minimum(rim, bridge)) * np.clip(t["glasses"] * 9, 0, 1), 30)


def _paint_cover(image: Floats, t: Traits, x: Floats, y: Floats, rng: np.random.Generator) -> None:
    """Something in front of some of the faces: a hand, a scarf, a microphone."""
    bar = np.maximum(np.abs(x - t["cover_x"]) - t["cover_size"], np.abs(y - t["cover_y"]) - t["cover_size"])
    disc = _ellipse(x - t["cover_x"], y - t["cover_y"], t["cover_size"], 0.8)
    shape = np.where(t["cover_shade"] > 120, disc, bar)
    _paint(image, _cover(shape) * t["covered"], t["cover_shade"] + 25 * texture(len(image), 8, rng))


def _develop(image: Floats, t: Traits, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The camera: exposure, lens blur, grain, 8 bits."""
    image = (image - 128) * t["gain"] + 128 + t["bias"]
    image += t["blur"] * (soften(image) - image)
    grain = rng.random(image.shape, np.float32) - rng.random(image.shape, np.float32)
    image += t["grain"] * grain
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
