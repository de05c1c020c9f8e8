"""What twins add to a blend: a leaderboard forecast, and with --twins a second blend, NAME-twins, beside the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensembles import compare, twin_lookup, twin_pairs
from ensembles.compare import Score
from ensembles.forecast import Forecast, Judge, forecast, judge
from ensembles.members import Member
from ensembles.rows import FOLDS, Rows
from ensembles.twin_lookup import Gain
from ensembles.twin_pairs import OFF, TEST_GROUPS, TwinTable
from fer_kit import files, metrics
from fer_kit.errors import FerKitError

SUFFIX = "-twins"
SCHEMA = 1


@dataclass(frozen=True, eq=False)
class Twinned:
    """A blend after twin lookup.

    mode: "exact" or "near". oof: float32 (N, 7), each row updated by the labels of the other rows of its group, by a
    lookup that never saw the group. test: float32 (M, 7). rows_with_twins, rows_changed: of the test rows.
    """

    mode: str
    oof: NDArray[np.float32]
    test: NDArray[np.float32]
    score: Score
    gain: Gain
    strength: float
    rows_with_twins: int
    rows_changed: int


@dataclass(frozen=True, eq=False)
class Twins:
    """All that twins say about a blend; `why_none`: why there is no forecast, else empty."""

    plain: Forecast | None
    why_none: str
    twinned: Twinned | None
    with_lookup: Forecast | None


def table_for(
    runs_dir: Path, members: Sequence[Member], rows: Rows, mode: str, data_dir: str | None
) -> tuple[TwinTable | None, str]:
    """The twins, or None and why not, where nobody asked to look them up.

    Raises:
        FerKitError: --twins was given, and a file that it needs is missing or does not fit.
    """
    try:
        if rows.path is None:
            raise FerKitError(f"{runs_dir / FOLDS}: not there, so the twins are not known; put it beside the runs")
        if not (runs_dir / TEST_GROUPS).is_file():
            raise FerKitError(f"{runs_dir / TEST_GROUPS}: not there, so no test row's twins are known")
        digest = members[0].oof.meta["data_digest"]
        table = twin_pairs.read(rows.path, data_dir, twin_pairs.cache_of(runs_dir), digest)
        if table.test.count != len(members[0].test):
            raise FerKitError(
                f"{runs_dir / TEST_GROUPS}: {table.test.count:,} rows, the members predict {len(members[0].test):,}"
            )
    except FerKitError as error:
        if mode != OFF:
            raise FerKitError(f"--twins {mode}: {error}") from None
        return None, f"no leaderboard forecast: {error}"
    return table, ""


def study(
    members: Sequence[Member],
    rows: Rows,
    oof: NDArray[np.float32],
    test: NDArray[np.float32],
    mode: str,
    table: TwinTable | None,
    why_none: str,
) -> Twins:
    """The forecast of a blend with cross-fitted logits `oof` (N, 7) and `test` (M, 7), and its twin lookup."""
    if table is None:
        return Twins(None, why_none, None, None)
    twinned = None if mode == OFF else look_up(mode, oof, test, rows, table)
    try:
        judged: Judge = judge(members, table)
        plain = forecast(oof, test, judged, table)
        with_lookup = None if twinned is None else forecast(oof, twinned.test, judged, table)
    except FerKitError as error:
        return Twins(None, f"no leaderboard forecast: {error}", twinned, None)
    return Twins(plain, "", twinned, with_lookup)


def look_up(mode: str, oof: NDArray[np.float32], test: NDArray[np.float32], rows: Rows, table: TwinTable) -> Twinned:
    """Update out-of-fold rows by their other twins, and test rows by all of theirs."""
    before = metrics.log_softmax(oof)
    pairs, test_pairs = table.train.of_mode(mode), table.test.of_mode(mode)
    after, strength = twin_lookup.held_out(before, rows.labels, pairs, rows.groups)
    learned = twin_lookup.fit(before, rows.labels, pairs, rows.groups)
    updated = test.copy()
    have = test_pairs.have
    updated[have] = learned.apply(metrics.log_softmax(test), test_pairs)[have].astype(np.float32)
    return Twinned(
        mode,
        after.astype(np.float32),
        updated,
        compare.score(after.astype(np.float32), rows.labels, rows.folds, rows.groups),
        twin_lookup.gain(before, after, strength, rows.labels, pairs, rows.groups),
        learned.strength,
        int(have.sum()),
        int((metrics.predicted(updated) != metrics.predicted(test)).sum()),
    )


def lines(found: Twins, name: str) -> list[str]:
    """The report: the forecast, and with lookup its gain and its own forecast."""
    told = [found.why_none] if found.plain is None else [found.plain.sentence()]
    if found.twinned is None:
        return told
    twins = found.twinned
    told.append(
        f"twin lookup ({twins.mode}), leave one out within groups, by networks that saw no twin: "
        f"{twin_lookup.gain_line(twins.gain)}; strength {twins.strength:.2f}"
    )
    if found.with_lookup is not None and found.plain is not None:
        told.append(found.with_lookup.sentence("leaderboard forecast with twin lookup"))
        points = 100 * (found.with_lookup.accuracy - found.plain.accuracy)
        told.append(f"so on the test rows, whose twins the networks have mostly seen, expect {points:+.2f} points")
    told.append(
        f"blend '{name}{SUFFIX}': twin lookup changes {twins.rows_changed:,} of {len(twins.test):,} test rows, "
        f"{twins.rows_with_twins:,} have twins; '{name}' stays without"
    )
    return told


def forecast_json(found: Twins, *, with_lookup: bool) -> dict[str, Any] | None:
    """For blend.json; None where there is no forecast."""
    chosen = found.with_lookup if with_lookup else found.plain
    return None if chosen is None else {**asdict(chosen), "interval": list(chosen.interval)}


def meta_of(meta: dict[str, Any], twinned_name: str, mode: str) -> dict[str, Any]:
    """meta of the files of the blend with lookup, from that of the blend without."""
    constants = [SCHEMA, twin_lookup.PARTS, twin_lookup.LAPLACE, twin_lookup.STRENGTHS.tolist()]
    digest = files.digest_of({"blend": meta["config_digest"], "twins": mode, "constants": constants})
    return {**meta, "run": twinned_name, "config_digest": digest, "twins": mode}


def record_of(about: dict[str, Any], meta: dict[str, Any], found: Twins) -> dict[str, Any]:
    """blend.json of the blend with lookup, from `about` of the one without; its scores are leave-one-out."""
    twins = found.twinned
    assert twins is not None
    score = twins.score
    of_the_other = ("fitted", "optimism", "methods", "comparisons", "drop", "standard_error")
    return {
        **{key: value for key, value in about.items() if key not in of_the_other},
        "name": meta["run"],
        "oof_accuracy": score.accuracy,
        "oof_spread": score.spread,
        "fold_accuracies": list(score.fold_accuracies),
        "interval": list(score.interval),
        "log_loss": score.log_loss,
        "config_digest": meta["config_digest"],
        "forecast": forecast_json(found, with_lookup=True),
        "twins": {
            "mode": twins.mode,
            "blend": about["name"],
            "rows_changed": twins.rows_changed,
            "rows_with_twins": twins.rows_with_twins,
            "rows": len(twins.test),
            "strength": twins.strength,
            "gain": {**asdict(twins.gain), "interval": list(twins.gain.interval)},
            "without": {"oof_accuracy": about["oof_accuracy"], "interval": about["interval"]},
        },
    }
