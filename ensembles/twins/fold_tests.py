"""Test predictions of a blend by the networks of one fold at a time: the same networks that predict out-of-fold rows.

An out-of-fold row is predicted by the networks of one fold, a test row by the mean over folds, seeds and full fits.
These predictions show how often the two disagree on the test rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ensembles.fit.crossfit import ONE, Model, inner_fits
from ensembles.members import RUN, Member
from ensembles.rows import Rows
from fer_kit import metrics
from fer_kit.errors import FerKitError
from fer_kit.runs import predictions
from fer_kit.runs.finished_folder import TEST

Floats = NDArray[np.float64]


def of_members(members: Sequence[Member], rows: Rows) -> Floats:
    """Log-probabilities (K, M, T, 7) of T test rows by M members, each with the networks of one of K folds.

    The folds of prediction files are unknown, so these members have their usual test predictions in every fold.

    Raises:
        FerKitError: the predictions of single folds are unknown for every member.
    """
    if not any(map(_has_folds, members)):
        raise FerKitError(
            "no member is a run, so the test predictions of single folds are unknown; blend runs, or blends of runs"
        )
    return np.stack([_of_member(member, rows) for member in members], axis=1)


def of_blend(model: Model | None, by_fold: Floats) -> Floats:
    """Log-probabilities (K, T, 7) of a blend by `model`, or of a single member without a model, from `of_members`."""
    return np.stack([members[0] if model is None else model.apply(members) for members in by_fold])


def _has_folds(member: Member) -> bool:
    return member.kind == RUN or any(map(_has_folds, member.parts))


def _of_member(member: Member, rows: Rows) -> Floats:
    """Log-probabilities (K, T, 7) of one member, recursively for blends."""
    if member.kind == RUN:
        return np.stack([metrics.log_softmax(_of_run(member, fold)) for fold in rows.fold_numbers])
    if member.record is not None and member.record.asked == ONE and member.parts:
        return _of_member(member.parts[0], rows)
    if _has_folds(member) and (fits := inner_fits(member, rows)) is not None:
        parts = np.stack([_of_member(part, rows) for part in member.parts], axis=1)
        return of_blend(fits.rows.model(fits.method), parts)
    return np.repeat(metrics.log_softmax(member.test.logits)[None], len(rows.fold_numbers), axis=0)


def _of_run(run: Member, fold: int) -> NDArray[np.float64]:
    """Test logits (T, 7) by the networks of `fold`: the mean over the seeds of a recipe."""
    seeds = [predictions.read(source.path / f"fold{fold}" / TEST).logits for source in run.sources]
    return metrics.mean_of_probabilities(seeds)
