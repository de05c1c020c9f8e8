"""Make a blend of members: its predictions and all its scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensembles.fit import compare, value
from ensembles.fit.compare import Comparison, Score
from ensembles.fit.crossfit import AUTO, GIVEN, NOTHING, ONE, CrossFit, Model
from ensembles.fit.methods import Weighted
from ensembles.members import Member
from ensembles.rows import Rows
from fer_kit import metrics

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MethodScores:
    """The scores of a method: accuracy and log loss on the rows of its fit, and scores on held-out rows.

    oof: cross-fitted logits, float32 (N, 7). test: logits by the fit to all rows, float32 (M, 7). model: the fit to all
    rows; None for a single member, whose predictions are taken as they are.
    """

    method: str
    fitted_accuracy: float
    fitted_log_loss: float
    held_out: Score
    oof: NDArray[np.float32]
    test: NDArray[np.float32]
    model: Model | None = None

    @property
    def optimism(self) -> float:
        """Fitted minus cross-fitted accuracy."""
        return self.fitted_accuracy - self.held_out.accuracy


@dataclass(frozen=True, eq=False)
class ScoredBlend:
    """A blend and its scores.

    asked, method: the requested method and the method used ("auto" → "weights"; "single": the best member alone).
    oof: cross-fitted logits, float32 (N, 7). test: logits by the fit to all rows, float32 (M, 7).
    shares: weight of each member, (members,), summing to 1, or None. temperatures: (members,).
    methods: scores of all methods that were tried; scores: those of this blend.
    """

    asked: str
    method: str
    oof: NDArray[np.float32]
    test: NDArray[np.float32]
    shares: Floats | None
    sharpness: float | None
    temperatures: Floats
    tempered: bool
    scores: MethodScores
    methods: tuple[MethodScores, ...]
    comparisons: tuple[Comparison, ...]
    values: value.MemberValues | None
    correlation: Floats
    disagreement: Floats

    @property
    def cross_fitted(self) -> bool:
        """Whether the score is of rows held out from a fit; not so for a single member and for weights from a file."""
        return self.values is not None and self.asked != GIVEN

    @property
    def learned(self) -> bool:
        """Whether weights, temperatures or the choice of a method were fitted to out-of-fold rows."""
        return self.tempered or self.asked not in (ONE, "mean", "logmean", GIVEN)


def alone(member: Member, rows: Rows) -> ScoredBlend:
    """The blend of a single member: exactly the predictions of that member, for every method."""
    score = compare.score(member.oof.logits, rows.labels, rows.folds, rows.groups)
    scores = MethodScores(ONE, score.accuracy, score.log_loss, score, member.oof.logits, member.test.logits)
    one = np.ones(1)
    nothing = np.zeros((1, 1))
    return ScoredBlend(
        ONE,
        ONE,
        member.oof.logits,
        member.test.logits,
        one,
        1.0,
        one,
        False,
        scores,
        (scores,),
        (),
        None,
        nothing + 1,
        nothing,
    )


def score_blend(members: Sequence[Member], rows: Rows, fits: CrossFit, asked: str) -> ScoredBlend:
    """Fit, cross-fit and score the blend of two or more `members`, best first, by method `asked`."""
    names = list(fits.methods) if asked == AUTO else [asked, *({"mean"} & set(fits.methods) - {asked})]
    held = fits.held_out(names)
    if asked == AUTO:
        held |= fits.held_out([AUTO])
    test = np.stack([metrics.log_softmax(member.test.logits) for member in members])
    by_method = {name: _method_scores(name, fits, held[name], test, rows) for name in held}
    model = fits.model(asked)
    raw = fits.log_probs()
    answers = np.array([metrics.predicted(member) for member in raw], np.int8)
    values = value.member_values(fits, asked)
    if model.method == ONE and model.fitted.shares is not None and model.fitted.shares[list(values.drop)].any():
        values = replace(values, drop=())  # the blend is this member alone, though some folds chose another
    return ScoredBlend(
        asked,
        model.method,
        by_method[asked].oof,
        by_method[asked].test,
        model.fitted.shares,
        model.fitted.sharpness if isinstance(model.fitted, Weighted) else None,
        model.temperatures,
        fits.tempered,
        by_method[asked],
        tuple(by_method.values()),
        tuple(_comparisons(members, rows, held, asked)),
        values,
        metrics.error_correlation(answers, rows.labels),
        metrics.disagreement(answers),
    )


def _method_scores(name: str, fits: CrossFit, held: Floats, test: Floats, rows: Rows) -> MethodScores:
    model: Model = fits.model(name, NOTHING)
    fitted = model.apply(fits.log_probs())
    return MethodScores(
        name,
        metrics.accuracy(fitted, rows.labels),
        metrics.log_loss(fitted, rows.labels),
        compare.score(held, rows.labels, rows.folds, rows.groups),
        held.astype(np.float32),
        model.apply(test).astype(np.float32),
        model,
    )


def _comparisons(members: Sequence[Member], rows: Rows, held: dict[str, Floats], asked: str) -> list[Comparison]:
    """The comparisons of the blend with the best member and, unless it is the plain mean, with the plain mean."""
    others: list[tuple[str, NDArray[Any]]] = [(f"'{members[0].name}', the best member", members[0].oof.logits)]
    if asked != "mean" and "mean" in held:
        others.append(("the mean of all", held["mean"]))
    return [compare.compare(held[asked], logits, rows.labels, rows.groups, name) for name, logits in others]
