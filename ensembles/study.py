"""One blend from members to predictions, with every score that belongs to it."""

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
class Line:
    """A way to blend: its accuracy and log loss on the rows it was fitted to, and its scores on rows it never saw.

    oof: float32 (N, 7), cross-fitted. test: float32 (M, 7), by the fit to all rows.
    """

    method: str
    fitted_accuracy: float
    fitted_log_loss: float
    held_out: Score
    oof: NDArray[np.float32]
    test: NDArray[np.float32]

    @property
    def optimism(self) -> float:
        """How much the fitted accuracy flatters."""
        return self.fitted_accuracy - self.held_out.accuracy


@dataclass(frozen=True, eq=False)
class Study:
    """A blend and what is known of it.

    asked, method: what was asked for, and what it came to ("auto" → "weights"; "single": one member alone).
    oof: float32 (N, 7), cross-fitted. test: float32 (M, 7), by the fit to all rows.
    shares: (members,) what each weighs, summing to 1, or None. temperatures: (members,).
    lines: scores of all methods that were looked at; `line` is the blend's own.
    """

    asked: str
    method: str
    oof: NDArray[np.float32]
    test: NDArray[np.float32]
    shares: Floats | None
    sharpness: float | None
    temperatures: Floats
    tempered: bool
    line: Line
    lines: tuple[Line, ...]
    comparisons: tuple[Comparison, ...]
    values: value.Values | None
    correlation: Floats
    disagreement: Floats

    @property
    def learned(self) -> bool:
        """Whether anything was fitted: weights, a choice, or temperatures."""
        return self.tempered or self.asked not in (ONE, "mean", "logmean", GIVEN)


def alone(member: Member, rows: Rows) -> Study:
    """The blend of one member: that member to the bit, whatever the method."""
    score = compare.score(member.oof.logits, rows.labels, rows.folds, rows.groups)
    line = Line(ONE, score.accuracy, score.log_loss, score, member.oof.logits, member.test.logits)
    one = np.ones(1)
    nothing = np.zeros((1, 1))
    return Study(
        ONE,
        ONE,
        member.oof.logits,
        member.test.logits,
        one,
        1.0,
        one,
        False,
        line,
        (line,),
        (),
        None,
        nothing + 1,
        nothing,
    )


def study(members: Sequence[Member], rows: Rows, fits: CrossFit, asked: str) -> Study:
    """Fit, cross-fit, score and compare `members`, two or more, best first, by method `asked`."""
    names = list(fits.methods) if asked == AUTO else [asked, *({"mean"} & set(fits.methods) - {asked})]
    held = fits.held_out(names)
    if asked == AUTO:
        held |= fits.held_out([AUTO])
    test = np.stack([metrics.log_softmax(member.test.logits) for member in members])
    lines = {name: _line(name, fits, held[name], test, rows) for name in held}
    model = fits.model(asked)
    raw = fits.log_probs()
    answers = np.array([metrics.predicted(member) for member in raw], np.int8)
    values = value.values(fits, asked)
    if model.method == ONE and model.fitted.shares is not None and model.fitted.shares[list(values.drop)].any():
        values = replace(values, drop=())  # folds chose otherwise, and this blend is nothing but that member
    return Study(
        asked,
        model.method,
        lines[asked].oof,
        lines[asked].test,
        model.fitted.shares,
        model.fitted.sharpness if isinstance(model.fitted, Weighted) else None,
        model.temperatures,
        fits.tempered,
        lines[asked],
        tuple(lines.values()),
        tuple(_comparisons(members, rows, held, asked)),
        values,
        metrics.error_correlation(answers, rows.labels),
        metrics.disagreement(answers),
    )


def _line(name: str, fits: CrossFit, held: Floats, test: Floats, rows: Rows) -> Line:
    model: Model = fits.model(name, NOTHING)
    fitted = model.apply(fits.log_probs())
    return Line(
        name,
        metrics.accuracy(fitted, rows.labels),
        metrics.log_loss(fitted, rows.labels),
        compare.score(held, rows.labels, rows.folds, rows.groups),
        held.astype(np.float32),
        model.apply(test).astype(np.float32),
    )


def _comparisons(members: Sequence[Member], rows: Rows, held: dict[str, Floats], asked: str) -> list[Comparison]:
    """The blend against the best member, and against the plain mean where it is not that."""
    others: list[tuple[str, NDArray[Any]]] = [(f"'{members[0].name}', the best member", members[0].oof.logits)]
    if asked != "mean" and "mean" in held:
        others.append(("the mean of all", held["mean"]))
    return [compare.compare(held[asked], logits, rows.labels, rows.groups, name) for name, logits in others]
