"""From members to their fits; a blend among the members brings the fits it was made by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ensembles.fit.crossfit import AUTO, ONE, CrossFit, Inner
from ensembles.fit.methods import METHODS, Method, given
from ensembles.members import Member
from ensembles.rows import Rows
from fer_kit import metrics
from fer_kit.errors import FerKitError

Floats = NDArray[np.float64]

GIVEN = "given"  # the method that takes weights from a file


def cross_fit(members: Sequence[Member], rows: Rows, tempered: bool, weights: Floats | None, pool: str) -> CrossFit:
    """The fits of all methods to `members`; blends among them are blended anew for every fold left out.

    weights: (M,) of a file, as the method "given", for a mean by `pool`: "mean" or "logmean"; or None.
    """
    raw = np.empty((len(members), *members[0].oof.logits.shape), dtype=np.float64)
    inner = {}
    for number, member in enumerate(members):
        raw[number] = metrics.log_softmax(member.oof.logits)
        if member.learned:
            inner[number] = _inner(member, rows)
    methods = METHODS
    if weights is not None:  # the plain mean is what they are held against
        by_file = Method(given(weights, pool == "logmean"), "weights of a file")
        methods = {"mean": METHODS["mean"], GIVEN: by_file}
    return CrossFit(raw, rows.labels, rows.folds, rows.groups, tempered=tempered, methods=methods, inner=inner)


def _inner(member: Member, rows: Rows) -> Inner:
    """How a blend among the members was made, by its record; a blend of one was made as that one was."""
    record = member.record
    if record["asked"] == ONE:
        return _inner(member.parts[0], rows)
    weights = None
    if record["asked"] == GIVEN:
        weights = np.array([entry["weight"] for entry in record["members"]], dtype=np.float64)
    elif record["asked"] not in (*METHODS, AUTO):
        raise FerKitError(f"'{member.name}': made by method '{record['asked']}', which is unknown here; blend it again")
    return Inner(cross_fit(member.parts, rows, record["tempered"], weights, record["pool"]), record["asked"])
