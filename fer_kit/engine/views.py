"""Test-time views: transformed copies of the same face, whose logits are averaged.

| set | views | views of the set |
| --- | --- | --- |
| none | 1 | the face unchanged |
| flip | 2 | unchanged; mirrored |
| flip_shifts | 10 | unchanged; shifted left, right, up and down by `SHIFT_PX`; each also mirrored |
| ten_crops | 10 | four corners and centre with a side of `CROP_PX`, enlarged; each also mirrored |
| rotations | 6 | unchanged; rotated by `TURN_DEG` in both directions; each also mirrored |

Source of the ten crops: Krizhevsky et al., NIPS 2012. Shifts and rotations repeat the edge pixels outside the image, so
that no view has a black border.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from fer_kit.batches.augment import warp
from fer_kit.competition import SIDE_PX

Transform = Callable[[Tensor], Tensor]  # float (B, 1, 48, 48) → the same shape

SHIFT_PX = 2
CROP_PX = 44  # of the 48
TURN_DEG = 6.0


@dataclass(frozen=True)
class View:
    """A view of faces.

    see: transforms faces into the view. undo: transforms a map over the view back to the face; 0 outside the view.
    """

    see: Transform
    undo: Transform


def same(x: Tensor) -> Tensor:
    """The face unchanged."""
    return x


def mirror(x: Tensor) -> Tensor:
    """The face mirrored, left to right."""
    return x.flip(-1)


def shift(x: Tensor, right_px: int, down_px: int) -> Tensor:
    """The face shifted by whole pixels; edge pixels are repeated."""
    most = max(abs(right_px), abs(down_px))
    wide = F.pad(x, (most, most, most, most), mode="replicate")
    top, left = most - down_px, most - right_px
    return wide[..., top : top + SIDE_PX, left : left + SIDE_PX]


def crop(x: Tensor, top_px: int, left_px: int) -> Tensor:
    """A square of side `CROP_PX`, enlarged to the full side (bilinear)."""
    part = x[..., top_px : top_px + CROP_PX, left_px : left_px + CROP_PX]
    return F.interpolate(part, size=(SIDE_PX, SIDE_PX), mode="bilinear", align_corners=False)


def uncrop(x: Tensor, top_px: int, left_px: int) -> Tensor:
    """The inverse of `crop`: the square reduced to its place, with 0 around."""
    part = F.interpolate(x, size=(CROP_PX, CROP_PX), mode="bilinear", align_corners=False)
    rest = SIDE_PX - CROP_PX
    return F.pad(part, (left_px, rest - left_px, top_px, rest - top_px))


def turn(x: Tensor, degrees: float) -> Tensor:
    """The face rotated about its centre, clockwise on the screen; edge pixels are repeated."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix = torch.tensor(
        [[cos, sin, 0.0], [-sin, cos, 0.0]], dtype=x.dtype, device=x.device
    )  # maps result coordinates to source
    return warp(x, matrix.expand(x.shape[0], 2, 3), "border")  # len(x) would fix the batch size of exports


def shifted(right_px: int, down_px: int) -> View:
    """The view `shift` with its inverse."""
    return View(lambda x: shift(x, right_px, down_px), lambda x: shift(x, -right_px, -down_px))


def cropped(top_px: int, left_px: int) -> View:
    """The view `crop` with its inverse."""
    return View(lambda x: crop(x, top_px, left_px), lambda x: uncrop(x, top_px, left_px))


def turned(degrees: float) -> View:
    """The view `turn` with its inverse."""
    return View(lambda x: turn(x, degrees), lambda x: turn(x, -degrees))


def mirrored(view: View) -> View:
    """The view, mirrored."""
    return View(lambda x: mirror(view.see(x)), lambda x: view.undo(mirror(x)))


def with_mirrored(*views: View) -> tuple[View, ...]:
    """The views, followed by each of them mirrored."""
    return (*views, *map(mirrored, views))


AS_IS = View(same, same)
_REST = SIDE_PX - CROP_PX
_CORNERS = ((0, 0), (0, _REST), (_REST, 0), (_REST, _REST))

VIEWS: dict[str, tuple[View, ...]] = {
    "none": (AS_IS,),
    "flip": with_mirrored(AS_IS),
    "flip_shifts": with_mirrored(
        AS_IS, shifted(-SHIFT_PX, 0), shifted(SHIFT_PX, 0), shifted(0, -SHIFT_PX), shifted(0, SHIFT_PX)
    ),
    "ten_crops": with_mirrored(cropped(_REST // 2, _REST // 2), *(cropped(*corner) for corner in _CORNERS)),
    "rotations": with_mirrored(AS_IS, turned(-TURN_DEG), turned(TURN_DEG)),
}


def seen(x: Tensor, name: str) -> Iterator[Tensor]:
    """Yield the views of set `name` of faces float (B, 1, 48, 48), so that only one view takes memory at a time."""
    for view in VIEWS[name]:
        yield view.see(x).contiguous(memory_format=torch.channels_last)
