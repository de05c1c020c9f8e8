"""Draw faces: grey images of 48×48 pixels whose brows, eyes, mouth and head pose show an expression.

`traits` draws random parameters of photos (person, expression, pose, light); `render` draws the photos. Pixels are
computed by + − × ÷, √, minimum and maximum only, which IEEE 754 rounds equally on all machines, and not by exp, sin or
matrix products. So the same seed gives the same bytes on every machine.

The x axis points right and the y axis down; the image spans −1 … 1. u and v are the same axes in the frame of the head,
whose midline is u = 0. Shades are grey levels 0–255; the unit of length is half the side of the image.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_kit.competition import CLASSES, SIDE_PX

Floats = NDArray[np.floating[Any]]
Traits = dict[str, Floats]

_CHUNK = 64  # faces drawn at once; the working arrays fit into the cache
_COVERED_FRAC = 0.13  # share of faces with a hand or an arm in front

# fmt: off
# Effects of each expression, after the action units of Ekman and Friesen (1978); 0 is the relaxed face.
_EXPRESSIONS = {
    #            brow_            eye_  squint nose_ lip_   smile stretch mouth_ teeth nod  turn
    #            raise inner knit open         wrink raise                open
    "Angry":    (-0.7, -0.9, 1.0,  0.1,  0.4,  0.4,  0.1,  -0.4,  0.0,   0.2,   0.7,  0.5, 0.0),
    "Disgust":  (-0.4, -0.5, 0.6, -0.5,  0.8,  1.0,  1.0,  -0.5, -0.1,   0.2,   0.5, -0.3, 0.8),
    "Fear":     ( 0.6,  0.9, 0.7,  0.9, -0.3,  0.0,  0.0,  -0.5,  0.5,   0.4,   0.6, -0.4, 0.3),
    "Happy":    ( 0.1,  0.0, 0.0, -0.2,  0.7,  0.1,  0.1,   1.0,  0.7,   0.4,   1.0,  0.0, 0.0),
    "Sad":      (-0.1,  1.0, 0.5, -0.6,  0.1,  0.0,  0.0,  -0.9, -0.2,   0.0,   0.0,  0.6, 0.3),
    "Surprise": ( 1.0,  0.1, 0.0,  1.0, -0.1,  0.0,  0.0,   0.0, -0.5,   1.0,   0.2, -0.2, 0.0),
    "Neutral":  ( 0.0,  0.0, 0.0,  0.0,  0.0,  0.0,  0.0,   0.0,  0.0,   0.0,   0.0,  0.0, 0.0),
}
_ACTIONS = ("brow_raise", "brow_inner", "brow_knit", "eye_open", "squint", "nose_wrinkle", "lip_raise",
            "smile", "stretch", "mouth_open", "teeth", "nod", "turn")
# Ranges of the uniform distributions of all other parameters.
_RANGES = {
    # the head and its hair
    "head_wide": (0.60, 0.80), "head_high": (0.84, 1.00), "jaw": (0.05, 0.40), "skin": (95, 215),
    "hair": (15, 190), "hair_line": (-0.85, -0.50), "hair_part": (-0.5, 0.5), "hair_volume": (0.02, 0.30),
    "hair_length": (-0.3, 1.4), "beard": (-0.9, 0.5), "glasses": (-4.0, 0.6),
    # facial features
    "eye_apart": (0.26, 0.36), "eye_size": (0.12, 0.17), "eye_level": (-0.22, -0.08), "eye_tilt": (-0.2, 0.2),
    "brow_gap": (0.15, 0.21), "brow_thick": (0.028, 0.06), "brow_dark": (0.4, 0.9), "nose_long": (0.20, 0.30),
    "nose_wide": (0.06, 0.12), "mouth_level": (0.40, 0.50), "mouth_wide": (0.24, 0.33), "lip_full": (0.03, 0.075),
    "lip_dark": (0.15, 0.45), "lopsided": (-0.4, 0.4), "gaze": (-0.5, 0.5),
    # pose (roll is the tangent of the angle) and position
    "roll": (-0.20, 0.20), "yaw": (-0.35, 0.35), "pitch": (-0.14, 0.14), "size": (0.95, 1.20),
    "shift_x": (-0.09, 0.09), "shift_y": (-0.09, 0.09),
    # background, clothes and objects in front
    "back": (10, 240), "back_slope": (-60, 60), "cloth": (10, 230), "cover_x": (-0.9, 0.9), "cover_y": (-0.9, 0.9),
    "cover_size": (0.15, 0.4), "cover_slope": (-0.8, 0.8), "cover_shade": (10, 230),
    # light and camera
    "light_x": (-0.45, 0.45), "light_y": (-0.35, 0.25), "shadow": (0.0, 0.5), "shadow_edge": (-0.6, 0.6),
    "rough": (5, 20), "gain": (0.65, 1.2), "bias": (-25, 35), "blur": (0.0, 0.9), "grain": (3, 13),
}
# fmt: on


def traits(labels: NDArray[np.int64], rng: np.random.Generator) -> Traits:
    """Draw the parameters of one photo per label: person, strength of the expression, pose, light, camera.

    Args:
        labels: int64 (N,), classes 0–6, the expressions to draw.
        rng: random generator; its state advances.

    Returns:
        Each parameter by name, float32 (N,).
    """
    n = len(labels)
    rolled: Traits = {}
    for name, (low, high) in _RANGES.items():
        rolled[name] = low + (high - low) * rng.random(n, np.float32)
    target = np.array([_EXPRESSIONS[name] for name in CLASSES], np.float32)[labels]  # (N, actions)
    strength = 0.5 + 0.65 * rng.random((n, 1), np.float32)
    scatter = 0.55 + 0.9 * rng.random(target.shape, np.float32)
    at_rest = 0.2 * (rng.random(target.shape, np.float32) - rng.random(target.shape, np.float32))
    rolled |= dict(zip(_ACTIONS, (target * strength * scatter + at_rest).T, strict=True))
    rolled["pitch"] += 0.12 * rolled["nod"]
    rolled["yaw"] += 0.25 * rolled["turn"] * (1 - 2 * rng.integers(0, 2, n, np.int8))
    rolled["covered"] = (rng.random(n, np.float32) < _COVERED_FRAC).astype(np.float32)
    return rolled


def render(rolled: Traits, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw the photos of parameters from `traits`, in a few threads.

    Args:
        rolled: parameters by name, each float32 (N,).
        rng: parent of the random generators of texture and grain.

    Returns:
        uint8 (N, 48, 48), the same for any number of threads.
    """
    parts = [slice(start, start + _CHUNK) for start in range(0, len(rolled["size"]), _CHUNK)]
    chunks = [{name: values[part, None, None] for name, values in rolled.items()} for part in parts]
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        return np.concatenate(list(pool.map(_photos, chunks, rng.spawn(len(chunks)))))


def _texture(n: int, cells: int, rng: np.random.Generator) -> Floats:
    """Smooth random fields in −1 … 1 with `cells` cells a side (a divisor of 48): float32 (n, 48, 48)."""
    knots = 2 * rng.random((n, cells + 1, cells + 1), np.float32) - 1
    step = SIDE_PX // cells
    weight = (np.arange(step, dtype=np.float32) + 0.5) / step
    rows = knots[:, :-1, None, :] * (1 - weight)[:, None] + knots[:, 1:, None, :] * weight[:, None]
    rows = rows.reshape(n, SIDE_PX, cells + 1)
    fields: Floats = rows[:, :, :-1, None] * (1 - weight) + rows[:, :, 1:, None] * weight
    return fields.reshape((n, SIDE_PX, SIDE_PX))


def _inside(distance: Floats, edge: float = 0.06) -> Floats:
    """Share of a pixel inside a shape: falls from 1 to 0 around distance 0, over the width `edge` (1.5 pixels)."""
    return np.clip(0.5 - distance / edge, 0, 1)


def _ellipse(u: Floats, v: Floats, wide: Floats | float, high: Floats | float) -> Floats:
    """Approximate signed distance to the ellipse at the origin with these half axes; negative inside."""
    distance: Floats = (np.sqrt((u / wide) ** 2 + (v / high) ** 2) - 1) * np.minimum(wide, high)
    return distance


def _paint(image: Floats, mask: Floats, shade: Floats | float) -> None:
    """Blend `shade` into `image` with opacity `mask`, in place."""
    image += mask * (shade - image)


def _photos(t: Traits, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw one chunk of photos from back to front: parameters (B, 1, 1) to uint8 (B, 48, 48)."""
    n = len(t["size"])
    axis = (np.arange(SIDE_PX, dtype=np.float32) + 0.5) / (SIDE_PX / 2) - 1
    x, y = axis[None, None, :], axis[None, :, None]
    stretch = t["size"] * np.sqrt(1 + t["roll"] ** 2)
    u = ((x - t["shift_x"]) + t["roll"] * (y - t["shift_y"])) / stretch
    v = ((y - t["shift_y"]) - t["roll"] * (x - t["shift_x"])) / stretch
    # if the head turns, the features near the midline move and the outline does not
    fu = u - 0.5 * t["yaw"] * np.maximum(1 - u * u, 0)
    fv = v - t["pitch"] * np.maximum(1 - v * v, 0)
    image = t["back"] + t["back_slope"] * x + 45 * _texture(n, 4, rng) + 25 * _texture(n, 12, rng)
    skin = _lit_skin(t, u, v, rng)
    head = _inside(_ellipse(u / (1 - t["jaw"] * np.maximum(v, 0)), v, t["head_wide"], t["head_high"]))
    _paint_behind(image, t, u, v, skin, rng)
    _paint(image, head, skin)
    _paint_folds(image, t, fu, fv)
    _paint_eyes(image, t, fu, fv)
    _paint_brows(image, t, fu, fv)
    _paint_nose(image, t, fu, fv)
    _paint_mouth(image, t, fu, fv)
    _paint_hair(image, t, u, v, rng)
    _paint_extras(image, t, fu, fv, head, rng)
    _paint_cover(image, t, x, y, rng)
    return _develop(image, t, rng)


def _lit_skin(t: Traits, u: Floats, v: Floats, rng: np.random.Generator) -> Floats:
    """Skin lit from one side, with a cast shadow and uneven texture: (B, 48, 48)."""
    n = len(u)
    light = 1 + t["light_x"] * u + t["light_y"] * v - 0.22 * (u * u + 0.5 * v * v)
    away = np.where(t["light_x"] > 0, u, -u)
    light *= 1 - t["shadow"] * _inside(away - 0.6 * t["shadow_edge"], 0.5)
    return t["skin"] * light + t["rough"] * (_texture(n, 6, rng) + 0.7 * _texture(n, 16, rng))


def _paint_behind(image: Floats, t: Traits, u: Floats, v: Floats, skin: Floats, rng: np.random.Generator) -> None:
    """Hair behind the head, neck and shoulders."""
    n = len(u)
    fall = np.where(v > 0, np.maximum(t["hair_length"], 0.3), t["head_high"] + t["hair_volume"])
    strands = t["hair"] + 28 * _texture(n, 16, rng)
    _paint(image, _inside(_ellipse(u, v, t["head_wide"] + t["hair_volume"], fall)), strands)
    _paint(image, _inside(np.maximum(np.abs(u) - 0.6 * t["head_wide"], 0.5 - v)), 0.75 * skin)
    _paint(image, _inside(1.0 + 0.35 * np.abs(u) - v), t["cloth"] + 30 * _texture(n, 8, rng))


def _paint_eyes(image: Floats, t: Traits, u: Floats, v: Floats) -> None:
    """Eye sockets, whites, irises and upper lids; the mirrored coordinate draws both eyes at once."""
    a = np.abs(u) - t["eye_apart"]  # above 0 away from the nose
    level = v - t["eye_level"] + t["eye_tilt"] * a
    size = t["eye_size"]
    upper = size * np.clip(0.42 + 0.36 * t["eye_open"] - 0.1 * np.sign(u) * t["lopsided"], 0.05, 1.1)
    lower = size * np.clip(0.38 + 0.12 * t["eye_open"] - 0.30 * t["squint"], 0.02, 0.7)
    arch = 1 - (a / size) ** 2  # 1 mid-eye, 0 at the corners
    image *= 1 - 0.25 * _inside(_ellipse(a, level, 1.5 * size, 1.2 * size), 0.2)
    eye = _inside(np.maximum(-level - upper * arch, level - lower * arch), 0.045)
    _paint(image, eye, np.minimum(0.7 * t["skin"] + 75, 235))
    iris = _ellipse(np.sign(u) * a - 0.6 * t["gaze"] * size, level, 0.5 * size, 0.52 * size)
    _paint(image, eye * _inside(iris), 25)
    lid = _inside(np.maximum(np.abs(level + upper * arch) - 0.012, np.abs(a) - 1.1 * size), 0.05)
    _paint(image, 0.75 * lid, 0.3 * t["skin"])


def _paint_brows(image: Floats, t: Traits, u: Floats, v: Floats) -> None:
    """Brows: raised or lowered, slanted at the inner end, knit."""
    size = t["eye_size"]
    b = (np.abs(u) - t["eye_apart"]) / (1.5 * size)  # −1 at the inner end, 1 at the outer
    raised = t["brow_raise"] + 0.35 * np.sign(u) * t["lopsided"]
    line = t["eye_level"] - t["brow_gap"] - 0.10 * raised
    line = line + 0.035 * b * b + 0.08 * t["brow_inner"] * b - 0.03 * t["brow_raise"] * (1 - b * b)
    ends = np.maximum(-b - 1 - 0.25 * np.maximum(t["brow_knit"], 0), b - 1) * size
    thick = t["brow_thick"] * (1 - 0.35 * b)
    brow = _inside(np.maximum(np.abs(v - line) - thick, ends))
    _paint(image, brow * t["brow_dark"], 0.45 * np.minimum(t["hair"], t["skin"]))


def _paint_folds(image: Floats, t: Traits, u: Floats, v: Floats) -> None:
    """Wrinkles: between knit brows, across the raised forehead, over the nose, beside the smile."""
    a, w = np.abs(u), v - t["eye_level"]

    def crease(amount: Floats, line: Floats, ends: Floats) -> None:
        nonlocal image
        image *= 1 - np.clip(amount, 0, 0.4) * _inside(np.maximum(np.abs(line) - 0.012, ends), 0.05)

    crease(0.4 * t["brow_knit"], a - 0.05, np.abs(w + 0.1) - 0.09)
    forehead = w + t["brow_gap"] + 0.24
    crease(0.3 * t["brow_raise"], np.minimum(np.abs(forehead), np.abs(forehead + 0.11)), a - 0.3)
    bridge = w - 0.06 + 0.4 * a
    crease(0.4 * t["nose_wrinkle"], np.minimum(np.abs(bridge), np.abs(bridge - 0.08)), a - 0.13)
    below = w - t["nose_long"]
    crease(0.35 * np.maximum(t["smile"], t["lip_raise"]), a - 0.14 - 0.55 * below, np.abs(below - 0.1) - 0.14)


def _paint_nose(image: Floats, t: Traits, u: Floats, v: Floats) -> None:
    """Nose lit from one side, with nostrils and wings; disgust raises the tip."""
    tip = t["eye_level"] + t["nose_long"] + 0.05 - 0.05 * t["nose_wrinkle"]
    along = np.clip((v - t["eye_level"]) / (tip - t["eye_level"]), 0, 1)
    wide = t["nose_wide"] * (0.45 + 0.55 * along)
    body = _inside(np.maximum(np.abs(u) - wide, np.maximum(t["eye_level"] - v, v - tip)), 0.12)
    image *= 1 + 0.9 * body * np.clip(t["light_x"] * u / wide, -0.4, 0.4)
    nostril = _ellipse(np.abs(u) - 0.65 * t["nose_wide"], v - tip, 0.45 * t["nose_wide"], 0.025)
    _paint(image, 0.7 * _inside(nostril), 0.25 * t["skin"])
    wing = np.abs(_ellipse(u, v - tip + 0.04, 1.2 * t["nose_wide"], 0.09)) - 0.01
    image *= 1 - 0.3 * _inside(np.maximum(wing, tip - 0.06 - v))


def _paint_mouth(image: Floats, t: Traits, u: Floats, v: Floats) -> None:
    """Lips along a curve that the smile bends; an open mouth shows teeth and a dark inside."""
    half = t["mouth_wide"] * (1 + 0.32 * t["stretch"])
    m = u / half  # −1 and 1 at the corners
    bow = np.maximum(1 - m * m, 0)
    opened = np.maximum(t["mouth_open"] - 0.08, 0)
    curve = t["mouth_level"] + 0.13 * (t["smile"] + 0.25 * t["lopsided"] * m) * (0.6 - m * m)
    top = curve - (0.05 * np.maximum(t["lip_raise"], 0) + 0.10 * opened) * bow
    bottom = curve + 0.22 * opened * bow
    corners = (np.abs(m) - 1) * half
    lip = t["lip_full"] * (0.25 + 0.75 * bow)
    lips = np.maximum(np.maximum(top - lip - v, v - bottom - 1.2 * lip), corners)
    _paint(image, _inside(lips), 0.85 * t["skin"] * (1 - t["lip_dark"]))
    hollow = _inside(np.maximum(np.maximum(top - v, v - bottom) - 0.012, corners), 0.05)
    _paint(image, 0.9 * hollow, 0.2 * t["skin"])
    shown = np.clip(t["teeth"], 0, 1)
    teeth = _inside(np.maximum(top + 0.01 - v, v - top - 0.13 * shown), 0.04) * (shown > 0.15)
    _paint(image, hollow * teeth * np.minimum(6 * opened, 1), np.minimum(t["skin"] + 60, 235))
    chin = np.maximum(np.abs(v - bottom - 1.2 * lip - 0.05) - 0.02, np.abs(u) - 0.5 * half)
    image *= 1 - 0.18 * _inside(chin, 0.08)


def _paint_hair(image: Floats, t: Traits, u: Floats, v: Floats, rng: np.random.Generator) -> None:
    """Hair over the forehead, parted on one side."""
    n = len(u)
    fringe = v - t["hair_line"] - 0.5 * (u - 0.6 * t["hair_part"]) ** 2 + 0.07 * _texture(n, 12, rng)
    crown = _ellipse(u, v, t["head_wide"] + 0.5 * t["hair_volume"], t["head_high"] + t["hair_volume"])
    _paint(image, _inside(np.maximum(fringe, crown), 0.09), t["hair"] + 30 * _texture(n, 24, rng))


def _paint_extras(image: Floats, t: Traits, u: Floats, v: Floats, head: Floats, rng: np.random.Generator) -> None:
    """Beard on cheeks and chin of some faces; glasses on some faces."""
    growth = 0.01 + t["mouth_level"] - v + 0.35 * (1 - 2 * np.abs(u))
    beard = _inside(growth, 0.2) * head * np.clip(t["beard"], 0, 1)
    _paint(image, beard, 0.6 * t["hair"] + 20 * _texture(len(u), 24, rng))
    level = v - t["eye_level"]
    rim = np.abs(_ellipse(np.abs(u) - t["eye_apart"], level, 1.5 * t["eye_size"], 1.2 * t["eye_size"])) - 0.012
    bridge = np.maximum(np.abs(level) - 0.015, np.abs(u) - t["eye_apart"] + 0.2)
    _paint(image, _inside(np.minimum(rim, bridge)) * np.clip(9 * t["glasses"], 0, 1), 30)


def _paint_cover(image: Floats, t: Traits, x: Floats, y: Floats, rng: np.random.Generator) -> None:
    """A hand (an ellipse) or an arm (a band) in front of some faces."""
    aside, below = x - t["cover_x"], y - t["cover_y"]
    hand = _ellipse(aside + t["cover_slope"] * below, below, t["cover_size"], 0.7)
    arm = np.abs(below + t["cover_slope"] * x) - 0.6 * t["cover_size"]
    shape = np.where(t["cover_slope"] > 0, hand, arm)
    _paint(image, _inside(shape) * t["covered"], t["cover_shade"] + 25 * _texture(len(image), 8, rng))


def _develop(image: Floats, t: Traits, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Effects of the camera: exposure, lens blur (binomial 1-2-1), grain, 8 bits."""
    image = (image - 128) * t["gain"] + 128 + t["bias"]
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = 0.25 * (padded[:, :-2] + padded[:, 2:]) + 0.5 * padded[:, 1:-1]
    soft = 0.25 * (rows[:, :, :-2] + rows[:, :, 2:]) + 0.5 * rows[:, :, 1:-1]
    image += t["blur"] * (soft - image)
    image += t["grain"] * (rng.random(image.shape, np.float32) - rng.random(image.shape, np.float32))
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
