"""The faces that an export is checked on: rows that the networks were not trained on, or drawn faces."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_kit.data import loading
from fer_kit.errors import FerKitError
from fer_kit.runs import finished_folder, folders, predictions
from fer_kit.runs.lookup import FoldFolder
from fer_kit.synthetic import draw

MOST_CHECKED = 1000


@dataclass(frozen=True, eq=False)
class CheckFaces:
    """images uint8 (N, 48, 48). labels int64 (N,) or None. calibration: other faces, to quantise. what: in words."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    calibration: NDArray[np.uint8]
    what: str


def choose(found: object, data: str | None, runs_dir: Path, calibration: int) -> CheckFaces:
    """Faces to check an export on.

    The held-out rows of a fold, with labels, if `found` is a fold; else test rows; drawn faces if the data are not
    here. Train rows calibrate.

    Raises:
        FerKitError: `data` was given and cannot be read.
    """
    try:
        place = loading.find(data)
    except FerKitError:
        if data is not None:
            raise
        drawn = draw.draw(MOST_CHECKED + calibration, 20, seed=0).train_images
        return CheckFaces(drawn[:MOST_CHECKED], None, drawn[MOST_CHECKED:], "drawn faces (no data found; see --data)")
    competition = loading.load(place, runs_dir / folders.CACHE)
    train, test = competition.train, competition.test
    rng = np.random.default_rng(0)
    if isinstance(found, FoldFolder) and (found.folder / finished_folder.OOF).is_file():
        held_out = predictions.read(found.folder / finished_folder.OOF)
        if held_out.meta["data_digest"] == competition.digest:
            rest = np.setdiff1d(train.ids, held_out.ids)
            rows = some(held_out.ids, MOST_CHECKED, rng)
            return CheckFaces(
                train.images[rows],
                train.labels[rows],
                train.images[some(rest, calibration, rng)],
                f"rows that {found.name} did not train on",
            )
    rows = some(test.ids, MOST_CHECKED, rng)
    return CheckFaces(
        test.images[rows],
        None,
        train.images[some(train.ids, calibration, rng)],
        f"test rows of {competition.folder.resolve().name}",  # no path of this machine: the card is published
    )


def some(ids: NDArray[np.int64], most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """At most `most` of `ids`, drawn without repetition, in ascending order."""
    return np.sort(rng.choice(ids, most, replace=False)) if len(ids) > most else ids
