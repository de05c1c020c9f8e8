"""Cross-fitting: each row is blended by weights, temperatures and choices fitted without the row and its twins.

The folds are those that the members were trained with, so twins are always in the same fold. A fit is identified by
its held-out folds: none for the test rows, {k} for the out-of-fold rows of fold k, and {j, k} if the method for fold k
is itself chosen by cross-fitting over the other folds. {j, k} and {k, j} are the same fit.

A member that is a blend has fitted weights too. Its stored rows of fold j come from weights fitted to fold k among
others. This does not bias the score of fold j, but weights fitted to these rows would depend on labels of fold k and
then be scored on fold k. Therefore the rows of such a member are blended again from its own members for each set of
held-out folds, recursively for blends inside blends.
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
Unseen = frozenset[int]  # the held-out folds of a fit

AUTO, ONE = "auto", "single"
NOTHING: Unseen = frozenset()


@dataclass(frozen=True, eq=False)
class Model:
    """The result of a fit: a temperature for each member, (M,), and the fitted method."""

    method: str
    temperatures: Floats
    fitted: Fitted

    def apply(self, log_probs: Floats) -> Floats:
        """The blend's log-probabilities (N, K) from unscaled log-probabilities of the members (M, N, K)."""
        return self.fitted.apply(temperature.scale(log_probs, self.temperatures))


@dataclass(frozen=True, eq=False)
class Inner:
    """A member that is a blend: the fits of its own members, and its method."""

    rows: CrossFit
    method: str


class CrossFit:
    """Fits of all methods for all sets of held-out folds. Each fit is made when first needed, and kept.

    log_probs: log-probabilities of the members, float64 (M, N, K). labels, folds, groups: int64 (N,). tempered: fit a
    temperature for each member first. inner: the members that are blends, by position. methods: the choices of
    `auto`, the simplest first.
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
        """The members' log-probabilities (M, N, K), which depend on no label of the folds `unseen`."""
        if not self._inner or not unseen:
            return self._raw
        if self._made_anew is None or self._made_anew[0] != unseen:
            made = self._raw.copy()
            for member, inner in self._inner.items():
                made[member] = inner.rows.held_out([inner.method], unseen, everywhere=True)[inner.method]
            self._made_anew = unseen, made
        return self._made_anew[1]

    def model(self, method: str, unseen: Unseen = NOTHING) -> Model:
        """`method` fitted to all rows except those of `unseen`; "auto" also chooses on these rows."""
        if method == AUTO:
            method = self.choose(unseen)
        self._fit([method], unseen)
        return Model(method, self._temperatures[unseen], self._fitted[method, unseen])

    def held_out(
        self, methods: Sequence[str], unseen: Unseen = NOTHING, *, everywhere: bool = False
    ) -> dict[str, Floats]:
        """Cross-fitted log-probabilities (N, K) by each method: the fit of a row holds out its fold and `unseen`.

        Rows of `unseen` are NaN; with `everywhere` they are predicted by the fit that holds out `unseen`. If `unseen`
        leaves a single fold, its rows are predicted by the fit to this fold, because no other rows are left.
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
        """The method that "auto" chooses by cross-fitted rows outside `unseen`.

        The simplest method within one standard error of the best, or "single" if one member alone has a higher
        accuracy.
        """
        if unseen not in self._chosen:
            names, rows = list(self.methods), ~np.isin(self.folds, list(unseen))
            if len(self.numbers) - len(unseen) < 2:
                return names[0]  # a single fold is left, so nothing can be cross-fitted
            labels = self.labels[rows]
            right = {
                name: metrics.predicted(made[rows]) == labels for name, made in self.held_out(names, unseen).items()
            }
            chosen = simplest(right, self.groups[rows])
            best = max(metrics.accuracy(member[rows], labels) for member in self.log_probs(unseen))
            self._chosen[unseen] = ONE if right[chosen].mean() < best else chosen
        return self._chosen[unseen]

    def _fit(self, methods: Sequence[str], unseen: Unseen) -> None:
        """Make the fits that are missing, all from one copy of the rows."""
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
    """The first method within one standard error of the best (the one-standard-error rule: Breiman et al. 1984).

    right: which rows each method has right, bool (N,), the simplest method first. groups: twin groups, int64 (N,); the
    standard error is that of the paired difference, clustered by group.
    """
    best = max(right, key=lambda name: float(right[name].mean()))
    for name, rows in right.items():
        behind: NDArray[Any] = right[best].astype(np.float64) - rows
        if behind.mean() <= metrics.cluster_standard_error(behind, groups):
            return name
    return best


GIVEN = "given"  # the method whose weights come from a file


def cross_fit(members: Sequence[Member], rows: Rows, tempered: bool, weights: Floats | None, pool: str) -> CrossFit:
    """The fits of all methods to `members`; members that are blends are blended again for each set of held-out folds.

    weights: weights from a file, (M,), for the method "given"; else None. pool: the kind of mean that these weights
    apply to, "mean" or "logmean".
    """
    raw = np.empty((len(members), *members[0].oof.logits.shape), dtype=np.float64)
    inner = {}
    for number, member in enumerate(members):
        raw[number] = metrics.log_softmax(member.oof.logits)
        if member.learned:
            inner[number] = _inner(member, rows)
    methods = METHODS
    if weights is not None:  # the plain mean is kept for comparison
        by_file = Method(given(weights, pool == "logmean"), "weights of a file")
        methods = {"mean": METHODS["mean"], GIVEN: by_file}
    return CrossFit(raw, rows.labels, rows.folds, rows.groups, tempered=tempered, methods=methods, inner=inner)


def inner_fits(member: Member, rows: Rows) -> Inner | None:
    """The fits of a member that is a blend, also where nothing was fitted; None if its record does not say how."""
    record = member.record
    known = record is not None and None not in (record.asked, record.pool, record.tempered)
    if not known or not member.parts:
        return None
    return _inner(member, rows)


def _inner(member: Member, rows: Rows) -> Inner:
    """The fits of a member that is a blend, by its record. A blend of a single member has the fits of that member."""
    record = member.record
    # `blend_record.from_json` requires both in records with `learned`
    assert record is not None and record.pool is not None and record.tempered is not None
    if record.asked == ONE:
        return _inner(member.parts[0], rows)
    weights = None
    if record.asked == GIVEN:
        weights = np.array([entry.weight for entry in record.members], dtype=np.float64)
    elif record.asked not in (*METHODS, AUTO):
        raise FerKitError(
            f"'{member.name}': made by method '{record.asked}'; this version has {', '.join((*METHODS, AUTO))}; blend "
            "again with --force"
        )
    return Inner(cross_fit(member.parts, rows, record.tempered, weights, record.pool), record.asked)
