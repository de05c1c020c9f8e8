"""Cross-fitting: every row is blended by weights, temperatures and choices that never saw it or its twins.

Folds are the ones that the members were trained with, so that no twin crosses. A fit is named by the folds that it
may not see: none of them for the test rows, {k} for the out-of-fold rows of fold k, {j, k} where the method for fold
k is itself chosen by cross-fitting over the other folds. {j, k} and {k, j} are one fit.

A member that is a blend had weights fitted too. Its stored rows of fold j come from weights that saw fold k: harmless
for row j, but weights fitted on them would know a little of fold k when they are scored there. So its rows are
blended anew for each set of folds that may not be seen, from its own members, as deep as blends are nested.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensembles.fit import temperature
from ensembles.fit.methods import METHODS, SINGLE, Fitted, Method, given
from ensembles.members import Member
from ensembles.rows import Rows
from fer_kit import metrics
from fer_kit.errors import FerKitError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Unseen = frozenset[int]  # folds that a fit may not see

AUTO, ONE = "auto", "single"
NOTHING: Unseen = frozenset()


@dataclass(frozen=True, eq=False)
class Model:
    """What one fit has learned: a temperature for each member, then the method."""

    method: str
    temperatures: Floats
    fitted: Fitted

    def apply(self, log_probs: Floats) -> Floats:
        """The blend's log-probabilities (N, K) of raw ones (M, N, K)."""
        return self.fitted.apply(temperature.scale(log_probs, self.temperatures))


@dataclass(frozen=True, eq=False)
class Inner:
    """How a member that is a blend was made: by this method from these rows."""

    rows: CrossFit
    method: str


class CrossFit:
    """Fits of all methods on all sets of folds, each made once and kept.

    log_probs: float64 (M, N, K), rows summing to one as probabilities; labels, folds, groups: int64 (N,).
    tempered: fit a temperature for each member first. inner: of the members that are blends, by position.
    methods: what `auto` chooses from, from simple to rich.
    """

    def __init__(
        self,
        log_probs: Floats,
        labels: Ints,
        folds: Ints,
        groups: Ints,
        *,
        tempered: bool = True,
        methods: Mapping[str, Method] = METHODS,
        inner: Mapping[int, Inner] | None = None,
    ) -> None:
        self._raw, self._inner = log_probs, dict(inner or {})
        self.labels, self.folds, self.groups = labels, folds, groups
        self.numbers = [int(fold) for fold in np.unique(folds)]
        self.tempered, self.methods = tempered, methods
        self._temperatures: dict[Unseen, Floats] = {}
        self._fitted: dict[tuple[str, Unseen], Fitted] = {}
        self._chosen: dict[Unseen, str] = {}
        self._made_anew: tuple[Unseen, Floats] | None = None

    def __len__(self) -> int:
        return len(self._raw)

    def log_probs(self, unseen: Unseen = NOTHING) -> Floats:
        """The members' rows, (M, N, K), made without any label of `unseen`."""
        if not self._inner or not unseen:
            return self._raw
        if self._made_anew is None or self._made_anew[0] != unseen:
            made = self._raw.copy()
            for member, inner in self._inner.items():
                made[member] = inner.rows.held_out([inner.method], unseen, everywhere=True)[inner.method]
            self._made_anew = unseen, made
        return self._made_anew[1]

    def model(self, method: str, unseen: Unseen = NOTHING) -> Model:
        """`method` fitted to all rows but those of `unseen`; "auto" chooses on these rows, too."""
        if method == AUTO:
            method = self.choose(unseen)
        self._fit([method], unseen)
        return Model(method, self._temperatures[unseen], self._fitted[method, unseen])

    def held_out(
        self, methods: Sequence[str], unseen: Unseen = NOTHING, *, everywhere: bool = False
    ) -> dict[str, Floats]:
        """Cross-fitted log-probabilities (N, K) by each method: a row's fit saw neither its fold nor `unseen`.

        Rows of `unseen` are left NaN, or with `everywhere` predicted by the fits that saw all other folds. Where
        `unseen` leaves a single fold, its rows are predicted by the fit on themselves: there is nothing else.
        """
        made = {method: np.full(self._raw.shape[1:], np.nan) for method in methods}
        for fold in self.numbers:
            if fold in unseen and not everywhere:
                continue
            without = unseen | {fold}
            if len(without) == len(self.numbers):
                without = unseen
            rows = self.folds == fold
            self._fit([method for method in methods if method != AUTO], without)
            values = self.log_probs(without)[:, rows]
            for method in methods:
                made[method][rows] = self.model(method, without).apply(values)
        return made

    def choose(self, unseen: Unseen = NOTHING) -> str:
        """The simplest method that is good enough by its cross-fitted rows outside `unseen`, else the single member."""
        if unseen not in self._chosen:
            names, rows = list(self.methods), ~np.isin(self.folds, list(unseen))
            if len(self.numbers) - len(unseen) < 2:
                return names[0]  # nothing to cross-fit over
            labels = self.labels[rows]
            right = {
                name: metrics.predicted(made[rows]) == labels for name, made in self.held_out(names, unseen).items()
            }
            chosen = simplest(right, self.groups[rows])
            best = max(metrics.accuracy(member[rows], labels) for member in self.log_probs(unseen))
            self._chosen[unseen] = ONE if right[chosen].mean() < best else chosen
        return self._chosen[unseen]

    def _fit(self, methods: Sequence[str], unseen: Unseen) -> None:
        """Fit what is not there yet, all on one copy of the rows."""
        missing = [method for method in methods if (method, unseen) not in self._fitted]
        if not missing:
            return
        rows = ~np.isin(self.folds, list(unseen))
        values, labels = self.log_probs(unseen)[:, rows], self.labels[rows]
        if unseen not in self._temperatures:
            ones = np.ones(len(self))
            self._temperatures[unseen] = temperature.fit(values, labels) if self.tempered else ones
        if self.tempered:
            values = temperature.scale(values, self._temperatures[unseen])
        for method in missing:
            way = SINGLE if method == ONE else self.methods[method]
            self._fitted[method, unseen] = way.fit(values, labels)


def simplest(right: Mapping[str, Bools], groups: Ints) -> str:
    """The first of `right` (method: rows it has right, from simple to rich) within one standard error of the best.

    The standard error is that of the paired difference over `groups`. The one-standard-error rule: Breiman et al. 1984.
    """
    best = max(right, key=lambda name: float(right[name].mean()))
    for name, rows in right.items():
        behind: NDArray[Any] = right[best].astype(np.float64) - rows
        if behind.mean() <= metrics.cluster_standard_error(behind, groups):
            return name
    return best


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
    assert record is not None and record.pool is not None and record.tempered is not None  # as in all that learned
    if record.asked == ONE:
        return _inner(member.parts[0], rows)
    weights = None
    if record.asked == GIVEN:
        weights = np.array([entry.weight for entry in record.members], dtype=np.float64)
    elif record.asked not in (*METHODS, AUTO):
        raise FerKitError(f"'{member.name}': made by method '{record.asked}', which is unknown here; blend it again")
    return Inner(cross_fit(member.parts, rows, record.tempered, weights, record.pool), record.asked)
