"""Test-time views: the same faces seen in several ways, whose logits are averaged.

| set | views | what they are |
| --- | --- | --- |
| none | 1 | the face as it is |
| flip | 2 | and mirrored |
| flip_shifts | 10 | as it is, moved left, right, up and down by `SHIFT_PX`; each also mirrored |
| ten_crops | 10 | the four corners and the centre of `CROP_PX` a side, enlarged; each also mirrored |
| rotations | 6 | as it is, turned by `TURN_DEG` both ways; each also mirrored |

Ten crops are those of Krizhevsky et al., NIPS 2012. What a move or a turn brings in from outside repeats the edge, so
that no view shows a frame that the face does not have.
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

Way = Callable[[Tensor], Tensor]  # float (B, 1, 48, 48) → the same shape

SHIFT_PX = 2
CROP_PX = 44  # of the 48
TURN_DEG = 6.0


@dataclass(frozen=True)
class View:
    """see: the view of faces. undo: a map over the view, laid back on the face; 0 where the view did not look."""

    see: Way
    undo: Way


def same(x: Tensor) -> Tensor:
    """The face as it is."""
    return x


def mirror(x: Tensor) -> Tensor:
    """Left and right swapped."""
    return x.flip(-1)


def shift(x: Tensor, right_px: int, down_px: int) -> Tensor:
    """Moved by whole pixels."""
    most = max(abs(right_px), abs(down_px))
    wide = F.pad(x, (most, most, most, most), mode="replicate")
    top, left = most - down_px, most - right_px
    return wide[..., top : top + SIDE_PX, left : left + SIDE_PX]


def crop(x: Tensor, top_px: int, left_px: int) -> Tensor:
    """A square of `CROP_PX`, enlarged to the whole (bilinear)."""
    part = x[..., top_px : top_px + CROP_PX, left_px : left_px + CROP_PX]
    return F.interpolate(part, size=(SIDE_PX, SIDE_PX), mode="bilinear", align_corners=False)


def uncrop(x: Tensor, top_px: int, left_px: int) -> Tensor:
    """The square back in its place, 0 around it."""
    part = F.interpolate(x, size=(CROP_PX, CROP_PX), mode="bilinear", align_corners=False)
    rest = SIDE_PX - CROP_PX
    return F.pad(part, (left_px, rest - left_px, top_px, rest - top_px))


def turn(x: Tensor, degrees: float) -> Tensor:
    """Turned around the centre, clockwise on the screen."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix = torch.tensor([[cos, sin, 0.0], [-sin, cos, 0.0]], dtype=x.dtype, device=x.device)  # result → source
    return warp(x, matrix.expand(len(x), 2, 3), "border")


def shifted(right_px: int, down_px: int) -> View:
    """`shift` and its opposite."""
    return View(lambda x: shift(x, right_px, down_px), lambda x: shift(x, -right_px, -down_px))


def cropped(top_px: int, left_px: int) -> View:
    """`crop` and `uncrop`."""
    return View(lambda x: crop(x, top_px, left_px), lambda x: uncrop(x, top_px, left_px))


def turned(degrees: float) -> View:
    """`turn` both ways."""
    return View(lambda x: turn(x, degrees), lambda x: turn(x, -degrees))


def mirrored(view: View) -> View:
    """The view in a mirror."""
    return View(lambda x: mirror(view.see(x)), lambda x: view.undo(mirror(x)))


def with_mirrored(*views: View) -> tuple[View, ...]:
    """The views, then each of them in a mirror."""
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
    """The views of set `name` of faces (B, 1, 48, 48), one after the other: only one of them takes memory at a time."""
    for view in VIEWS[name]:
        yield view.see(x).contiguous(memory_format=torch.channels_last)
