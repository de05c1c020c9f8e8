"""Maps laid over faces, and the sheets of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fer_kit.drawing.pictures import LIGHT, Colours, face_sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.floating]
Coloured = NDArray[np.uint8]  # (N, 96, 96, 3)

ZOOM = 2  # sheets show 48 px as 96: the map is drawn at that size, so it is smooth
STRENGTH = 0.72  # opacity of the largest map value over the face
BANDS = {"brows and eyes": slice(8, 23), "nose and cheeks": slice(23, 32), "mouth": slice(32, 44)}
RIM_PX = 4


def lit(faces: NDArray[np.uint8], maps: Floats, top: Floats | float | None = None) -> Coloured:
    """Faces (N, 48, 48) with maps (N, h, w) laid over them.

    top: the map value with full opacity, for all faces or (N,); by default the largest value of each map. Small values
    show the face itself, slightly dimmed.
    """
    from matplotlib import colormaps

    light = _enlarged(maps)
    scale = light.max(axis=(1, 2)) if top is None else np.broadcast_to(np.asarray(top, np.float64), len(light))
    light = np.clip(light / np.maximum(scale, 1e-12)[:, None, None], 0, 1)
    colours = colormaps["inferno"](0.25 + 0.7 * light)[..., :3]
    cover = (STRENGTH * light**0.8)[..., None]
    return np.rint(255 * ((1 - cover) * bare(faces) / 255 * 0.9 + cover * colours)).astype(np.uint8)


def bare(faces: NDArray[np.uint8]) -> Coloured:
    """Faces (N, 48, 48) without a map, in the size and form of `lit`."""
    large = np.asarray(faces).repeat(ZOOM, axis=1).repeat(ZOOM, axis=2)
    return large[..., None].repeat(3, axis=-1)


def sheet(
    rows: Sequence[tuple[str, Sequence[tuple[NDArray[np.uint8], str]]]], title: str, colours: Colours = LIGHT
) -> Figure:
    """A sheet of rows (name, [(picture, caption), …]); an empty caption with a black picture is a gap."""
    columns = max(1, *(len(cells) for _, cells in rows))
    gap = np.zeros((48 * ZOOM, 48 * ZOOM, 3), np.uint8), ""
    cells = [cell for _, row in rows for cell in [*row, *[gap] * (columns - len(row))]]
    images = np.stack([picture for picture, _ in cells])
    return face_sheet(images, [caption for _, caption in cells], columns, title, [name for name, _ in rows], colours)


def channels(
    weights: Sequence[tuple[str, Floats]], classes: Sequence[str], title: str, colours: Colours = LIGHT
) -> Figure:
    """Mean channel attention of K classes, one panel for each stage (name, (K, C)), channels sorted by their mean.

    Shown is the difference to the mean over the classes, because the weights of different classes look alike.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 2.1 * len(weights) + 0.6), layout="constrained", facecolor=colours.paper)
    panels = np.atleast_1d(figure.subplots(len(weights), 1))
    for axes, (name, values) in zip(panels, weights, strict=True):
        mean = values.mean(axis=0)
        shown = (values - mean)[:, np.argsort(-mean)]
        top = float(np.abs(shown).max()) or 1.0
        image = axes.imshow(shown, cmap="RdBu_r", vmin=-top, vmax=top, aspect="auto", interpolation="nearest")
        axes.set_yticks(range(len(classes)), classes, color=colours.ink, fontsize=8)
        axes.set_xticks([])
        axes.spines[:].set_visible(False)
        axes.set_title(
            f"{name}: {values.shape[1]} channels, largest weight first; weights {mean.min():.2f} to {mean.max():.2f}",
            fontsize=9,
            color=colours.ink,
        )
        bar = figure.colorbar(image, ax=axes)
        bar.ax.tick_params(colors=colours.ink, labelsize=8)
    figure.suptitle(title, fontsize=10, color=colours.ink)
    return figure


def shares(maps: Floats) -> dict[str, float]:
    """The share of a map (48, 48) on each band of the face, and on the rim of the image.

    The bands are the places of brows, eyes, nose and mouth in the mean training face; a single face may differ.
    """
    total = float(maps.sum()) or 1.0
    inside = slice(RIM_PX, -RIM_PX)
    found = {name: float(maps[rows, inside].sum()) / total for name, rows in BANDS.items()}
    return found | {"rim": 1.0 - float(maps[inside, inside].sum()) / total}


def strongest_band(light: Floats) -> str:
    """The band with the largest share for its size, in two lines for a caption."""
    found, even = shares(light), even_shares()
    name = max(BANDS, key=lambda band: found[band] / even[band])
    return f"{found[name]:.0%} on\n{name}"


def even_shares() -> dict[str, float]:
    """`shares` of a constant map, for comparison."""
    return shares(np.ones((48, 48)))


def _enlarged(maps: Floats) -> NDArray[np.float64]:
    """Resize maps (N, h, w) to a sheet's pixels (N, 96, 96), bilinear, with the centres of the fields in place."""
    side = 48 * ZOOM
    out = np.asarray(maps, np.float64)
    for axis in (1, 2):
        fields = out.shape[axis]
        at = np.clip((np.arange(side) + 0.5) * fields / side - 0.5, 0, fields - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, fields - 1)
        part = (at - low).reshape((-1, 1) if axis == 1 else (1, -1))
        out = out.take(low, axis) * (1 - part) + out.take(high, axis) * part
    return out
