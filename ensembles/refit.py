"""Fit the regression of a stacked blend again: blend.json holds its scores and members, but no coefficients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ensembles.fit.crossfit import cross_fit
from ensembles.fit.methods import STACK_FLOOR, Stacked
from ensembles.members import read
from ensembles.rows import common_rows
from fer_kit.runs import blend_record
from fer_kit.runs.finished_folder import BLEND

Floats = NDArray[np.float64]


def stack(runs_dir: Path, folder: Path) -> tuple[Floats, Floats, float]:
    """Coefficients (7, members · 7), intercepts (7,) and the floor of log-probabilities of the blend in `folder`.

    Raises:
        FerKitError: a member is missing or has changed.
    """
    members = read(runs_dir, folder).parts
    tempered = bool(blend_record.read(folder / BLEND).tempered)
    fitted = cross_fit(members, common_rows(runs_dir, members), tempered, None, "logmean").model("stack").fitted
    assert isinstance(fitted, Stacked)
    return fitted.coefficients, fitted.intercepts, STACK_FLOOR
