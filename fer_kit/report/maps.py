"""The activation maps that `explain` has left, for the report: their sheets, and in numbers where the light falls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fer_kit.drawing import html
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.report.found import Fold
from fer_kit.report.mistakes import picture

FOLDER, JSON = "explain", "explain.json"
QUALITY = 80  # of WebP: a sheet takes about a seventh of its PNG and its captions stay sharp
AVERAGE = "classes.png"
SHEETS = {
    AVERAGE: "Average activation map of the right answers of each class",
    "right.png": "Right answers: what spoke for the answer",
    "wrong.png": "Wrong answers: what spoke for the answer, and what for the truth",
    "attention-spatial.png": "Spatial attention of each stage",
    "attention-channel.png": "What the most opened channels of each stage see",
    "attention-channels-by-class.png": "Channel attention of each class against the mean of all",
}


@dataclass(frozen=True)
class Maps:
    """The maps of one fold. about: explain.json. sheets: the pictures that are there; old: made before the fold."""

    fold: Fold
    folder: Path
    about: dict[str, Any]
    sheets: Sequence[Path]
    old: bool


def find(folds: Sequence[Fold], places: Sequence[Path]) -> tuple[list[Maps], list[str]]:
    """What `explain` has left for these folds below `places`, and what of it cannot be read.

    places: folders with <run>-<fold>/explain.json; the first that has a fold's maps counts.
    """
    found, troubles = [], []
    for fold in folds:
        folder = next(
            (p / f"{fold.run}-{fold.name}" for p in places if (p / f"{fold.run}-{fold.name}" / JSON).is_file()), None
        )
        if folder is None:
            continue
        try:
            about = atomic.read_json(folder / JSON)
        except FerKitError as error:
            troubles.append(str(error))
            continue
        result = fold.folder / "result.json"
        old = result.is_file() and (folder / JSON).stat().st_mtime < result.stat().st_mtime
        sheets = [folder / name for name in SHEETS if (folder / name).is_file()]
        found.append(Maps(fold, folder, about if isinstance(about, dict) else {}, sheets, old))
    return found, troubles


def shown(maps: Maps) -> str:
    """One fold's maps as HTML: the numbers first, then every sheet."""
    method, layer, side = (maps.about.get(key) for key in ("method", "layer", "side"))
    how = f"{method} at layer '{layer}'" if method and layer else "method not recorded"
    if isinstance(side, list):
        how += f", a map of {'×'.join(map(str, side))}"
    parts = [html.paragraph(f"{how}; from {maps.folder}", soft=True)]
    if maps.old:
        again = f"python -m fer_kit.explain {maps.fold.run} --fold {maps.fold.name[4:]}"
        parts.append(html.paragraph(f"These maps are older than the fold's result; make them again: {again}"))
    parts.append(_light(maps))
    for path in maps.sheets:
        try:
            sheet = _sheet(path, f"{maps.fold.run} {maps.fold.name}: {SHEETS[path.name]}")
        except OSError as error:
            sheet = html.paragraph(f"{path}: no readable picture ({error})")
        opened = " open" * (path.name == AVERAGE)
        parts.append(f"<details{opened}><summary>{html.text(SHEETS[path.name])}</summary>{sheet}</details>")
    return "".join(parts)


def _light(maps: Maps) -> str:
    """Which share of the light falls on brows and eyes, nose, mouth: the sheets in numbers."""
    light, even = maps.about.get("light"), maps.about.get("light_if_even")
    if not isinstance(light, dict) or not isinstance(even, dict) or not light:
        return ""
    bands = list(even)
    rows = [[name, *(f"{float(shares.get(band, 0)):.0%}" for band in bands)] for name, shares in light.items()]
    rows.append(["(an even light)", *(f"{float(even[band]):.0%}" for band in bands)])
    caption = "Share of the light on each part of the face, average over right answers"
    return html.table(caption, ["class", *bands], rows)


def _sheet(path: Path, caption: str) -> str:
    """A sheet at its own size, which scrolls on a narrow screen; alt: the caption, since numbers stand above it."""
    from PIL import Image

    with Image.open(path) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    height, width = pixels.shape[:2]
    address = picture(pixels, "WEBP", "image/webp", quality=QUALITY, method=4)
    size = f'width="{width}" height="{height}" style="min-width:{html.READABLE_FRAC * width:.0f}px"'
    words = html.text(caption)
    picked = f'<img src="{address}" {size} alt="{words}">'
    return f'<div class="wide" tabindex="0" role="region" aria-label="{words}">{picked}</div>'
