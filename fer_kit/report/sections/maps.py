"""Where the networks look: the activation maps made by `explain`, as sheets and in numbers."""

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
from fer_kit.report.section import Content, Part, Section, unfolding
from fer_kit.report.sections.mistakes import picture

FOLDER, JSON = "explain", "explain.json"
QUALITY = 80  # of WebP: a sheet takes about a seventh of its PNG and its captions stay sharp
AVERAGE = "classes.png"
SHEETS = {
    AVERAGE: "Average activation map of the correct predictions of each class",
    "right.png": "Correct predictions: map of the predicted class",
    "wrong.png": "Wrong predictions: maps of the predicted and the true class",
    "attention-spatial.png": "Spatial attention of each stage",
    "attention-channel.png": "Activation of the channels with the largest weights in each stage",
    "attention-channels-by-class.png": "Channel attention of each class against the mean of all",
}


@dataclass(frozen=True)
class Maps:
    """The maps of one fold. about: explain.json. sheets: its pictures. old: made before the fold was finished."""

    fold: Fold
    folder: Path
    about: dict[str, Any]
    sheets: Sequence[Path]
    old: bool


@dataclass(frozen=True, kw_only=True)
class AllMaps(Part):
    """maps: of the best runs. none: what to say without any."""

    maps: Sequence[Maps]
    none: str


def build(content: Content) -> AllMaps:
    """The maps of the best runs, on a page that shows faces."""
    options = content.options
    best = [one.name for one in content.ranked if not one.is_blend]
    if not options.faces:
        return AllMaps(maps=[], none=content.no_faces)
    folds = [fold for run in best[: options.sheets] for fold in content.folds[run]]
    maps, troubles = find(folds, options.map_folders)
    none = "No activation maps of the best runs yet."
    if best:
        first = next(one for one in content.ranked if not one.is_blend).source.folds[0]
        none += f" Make them with `fer-kit explain {best[0]} --fold {first}{options.runs_option}`."
    return AllMaps(maps=maps, none=none, notes=troubles)


def as_html(part: AllMaps) -> str:
    """Each fold's maps, the first unfolded."""
    notes = "".join(html.paragraph(note) for note in part.notes)
    if not part.maps:
        return notes + html.sentence(part.none)
    return notes + unfolding([(f"{one.fold.run} {one.fold.name}", shown(one)) for one in part.maps])


def find(folds: Sequence[Fold], places: Sequence[Path]) -> tuple[list[Maps], list[str]]:
    """The maps of these folds below `places`, and what could not be read.

    places: folders with <run>-<fold>/explain.json; the first one that has a fold's maps counts.
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
        if not isinstance(about, dict):
            troubles.append(f"{folder / JSON}: not a JSON object; make the maps again")
            continue
        result = fold.folder / "result.json"
        old = result.is_file() and (folder / JSON).stat().st_mtime < result.stat().st_mtime
        sheets = [folder / name for name in SHEETS if (folder / name).is_file()]
        found.append(Maps(fold, folder, about, sheets, old))
    return found, troubles


def shown(maps: Maps) -> str:
    """One fold's maps as HTML: the numbers first, then every sheet."""
    method, layer, side = (maps.about.get(key) for key in ("method", "layer", "side"))
    how = f"{method} at layer '{layer}'" if method and layer else "method not recorded"
    if isinstance(side, list):
        how += f", a map of {'×'.join(map(str, side))}"
    parts = [html.paragraph(f"{how}; from {maps.folder}", soft=True)]
    if maps.old:
        again = f"fer-kit explain {maps.fold.run} --fold {maps.fold.name[4:]}"
        parts.append(html.sentence(f"These maps are older than the fold's result; make them again with `{again}`."))
    from PIL import Image

    parts.append(_light(maps))
    for path in maps.sheets:
        try:
            sheet = _sheet(path, f"{maps.fold.run} {maps.fold.name}: {SHEETS[path.name]}")
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            sheet = html.paragraph(f"{path}: no readable picture ({error})")
        opened = " open" * (path.name == AVERAGE)
        parts.append(f"<details{opened}><summary>{html.text(SHEETS[path.name])}</summary>{sheet}</details>")
    return "".join(parts)


def _light(maps: Maps) -> str:
    """The share of the map on each part of the face, as a table."""
    light, even = maps.about.get("light"), maps.about.get("light_if_even")
    if not isinstance(light, dict) or not isinstance(even, dict) or not light:
        return ""
    bands = list(even)
    lines = [*light.items(), ("(an even map)", even)]
    rows = [[name, *(_share(shares, band) for band in bands)] for name, shares in lines if isinstance(shares, dict)]
    caption = "Share of the map on each part of the face, average over correct predictions"
    return html.table(caption, ["class", *bands], rows)


def _share(shares: dict[str, Any], band: str) -> str:
    value = html.as_number(shares.get(band))
    return "–" if value is None else f"{value:.0%}"


def _sheet(path: Path, caption: str) -> str:
    """A sheet, scaled to the screen; alt: the caption, since numbers stand above it."""
    from PIL import Image

    with Image.open(path) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    height, width = pixels.shape[:2]
    address = picture(pixels, "WEBP", "image/webp", quality=QUALITY, method=4)
    return f'<img src="{address}" width="{width}" height="{height}" alt="{html.text(caption)}">'


SECTION = Section("maps", "Where they look", build, as_html)
