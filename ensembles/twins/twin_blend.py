"""The leaderboard forecast of a blend, and with --twins a second blend, NAME-twins, whose twins were looked up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensembles.fit import compare
from ensembles.fit.compare import LEVEL, Score
from ensembles.members import Member
from ensembles.rows import FOLDS, Rows
from ensembles.scores import ScoredBlend
from ensembles.twins import fold_tests, lookup
from ensembles.twins.forecast import Forecast, forecast
from ensembles.twins.lookup import Gain, Lookup
from ensembles.twins.pairs import NEAR, OFF, Pairs, TwinTable, cache_of, read_table
from fer_kit import metrics
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.folds.table import TEST_FILE
from fer_kit.runs import blend_record
from fer_kit.runs.blend_record import BlendRecord, ForecastRecord, GainRecord, TwinsRecord, WithoutRecord
from fer_kit.runs.finished_folder import BLEND

SUFFIX = "-twins"
SCHEMA = 2  # of the lookup: 2 fits the weight of the networks' predictions too


@dataclass(frozen=True, eq=False)
class Twinned:
    """A blend after twin lookup.

    mode: "exact" or "near". oof: logits float32 (N, 7), each row updated by the labels of the other rows of its group,
    by a lookup fitted without this group. test: logits float32 (M, 7). rows_with_twins, rows_changed: numbers of test
    rows with twins, and with another predicted class than before.
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
    """Forecasts and twin lookup of a blend.

    plain, with_lookup: the leaderboard forecast without and with lookup; without --twins, `with_lookup` is for a
    lookup of near twins. why_none: why there is no forecast, else "". twinned: the blend after lookup, with --twins.
    methods: the plain forecast of each method that was tried.
    """

    plain: Forecast | None
    why_none: str
    twinned: Twinned | None
    with_lookup: Forecast | None
    methods: dict[str, Forecast] = field(default_factory=dict)


def table_for(
    runs_dir: Path, members: Sequence[Member], rows: Rows, mode: str, data_dir: str | None
) -> tuple[TwinTable | None, str]:
    """The twins of all rows and ""; or, without --twins, None and the reason if they are unknown.

    Raises:
        FerKitError: `mode` is not "off", and a file that the lookup needs is missing or does not match.
    """
    try:
        if rows.path is None:
            raise FerKitError(
                f"{runs_dir / FOLDS}: no such file, so the twins are unknown; put the folds.csv of the runs there"
            )
        if not (runs_dir / TEST_FILE).is_file():
            raise FerKitError(
                f"{runs_dir / TEST_FILE}: no such file, so the twins of the test rows are unknown; put the file that "
                f"was written with {FOLDS} there"
            )
        digest = members[0].oof.meta["data_digest"]
        table = read_table(rows.path, data_dir, cache_of(runs_dir), digest)
        if table.train.count != len(rows):
            raise FerKitError("the members are trials, which predict only some of the rows")
        if table.test.count != len(members[0].test):
            raise FerKitError(
                f"{runs_dir / TEST_FILE}: {table.test.count:,} rows, but the members predict {len(members[0].test):,}"
            )
    except FerKitError as error:
        if mode != OFF:
            raise FerKitError(f"--twins {mode}: {error}") from None
        return None, f"no leaderboard forecast: {error}"
    return table, ""


def look_up_and_forecast(
    members: Sequence[Member],
    rows: Rows,
    made: ScoredBlend,
    mode: str,
    table: TwinTable | None,
    why_none: str,
    full_fit: bool | None = False,
) -> Twins:
    """Forecast the leaderboard score of a blend, and look up its twins unless `mode` is "off".

    table, why_none: of `table_for`. full_fit: whether only full fits predict the test rows, as `full_fit.alone` tells.
    """
    if table is None:
        return Twins(None, why_none, None, None)
    oof, test = made.oof, made.test
    twinned = None if mode == OFF else look_up(mode, oof, test, rows, table)
    if full_fit is None:
        why_none = (
            "no leaderboard forecast: full fits predict the test rows of some members in place of the folds, and the "
            "folds those of others; train the full fits of all members (--fold all), or blend with --full-fit beside"
        )
        return Twins(None, why_none, twinned, None)
    try:
        parts = fold_tests.of_members(members, rows)
        by_fold = fold_tests.of_blend(made.scores.model, parts)
        plain = forecast(oof, test, by_fold, table, full_fit=full_fit)
        looked_up = after_near_lookup(oof, test, rows, table) if twinned is None else twinned.test
        with_lookup = forecast(oof, test, by_fold, table, looked_up=looked_up, full_fit=full_fit)
        by_method = {
            one.method: forecast(one.oof, one.test, fold_tests.of_blend(one.model, parts), table, full_fit=full_fit)
            for one in made.methods
        }
    except FerKitError as error:
        return Twins(None, f"no leaderboard forecast: {error}", twinned, None)
    return Twins(plain, "", twinned, with_lookup, by_method)


def look_up(mode: str, oof: NDArray[np.float32], test: NDArray[np.float32], rows: Rows, table: TwinTable) -> Twinned:
    """Update each out-of-fold row by the labels of its twins, and each test row by the labels of its train twins."""
    before = metrics.log_softmax(oof)
    pairs, test_pairs = table.train.of_mode(mode), table.test.of_mode(mode)
    after, strength = lookup.held_out(before, rows.labels, pairs, rows.groups)
    learned = lookup.fit(before, rows.labels, pairs, rows.groups)
    have, updated = test_pairs.have, updated_test(learned, test, test_pairs)
    return Twinned(
        mode,
        after.astype(np.float32),
        updated,
        compare.score(after.astype(np.float32), rows.labels, rows.folds, rows.groups),
        lookup.gain(before, after, strength, rows.labels, pairs, rows.groups),
        learned.strength,
        int(have.sum()),
        int((metrics.predicted(updated) != metrics.predicted(test)).sum()),
    )


def after_near_lookup(
    oof: NDArray[np.float32], test: NDArray[np.float32], rows: Rows, table: TwinTable
) -> NDArray[np.float32]:
    """Test logits (M, 7) after a lookup of near twins."""
    learned = lookup.fit(metrics.log_softmax(oof), rows.labels, table.train, rows.groups)
    return updated_test(learned, test, table.test)


def updated_test(learned: Lookup, test: NDArray[np.float32], pairs: Pairs) -> NDArray[np.float32]:
    """Test logits (M, 7) after the lookup; rows without twins do not change by a bit."""
    updated = test.copy()
    updated[pairs.have] = learned.apply(metrics.log_softmax(test), pairs)[pairs.have].astype(np.float32)
    return updated


def lines(found: Twins, name: str) -> list[str]:
    """The lines of the report: the forecast, and the gain and forecast of the lookup."""
    report = [found.why_none] if found.plain is None else [found.plain.sentence(), found.plain.halves()]
    if found.twinned is None:
        if found.with_lookup is not None:
            low, high = found.with_lookup.interval
            report.append(
                f"with twin lookup (--twins {NEAR}) the forecast would be {found.with_lookup.accuracy:.2%}, "
                f"{LEVEL:.0%} interval {low:.2%} to {high:.2%}"
            )
        return report
    twins = found.twinned
    report.append(
        f"twin lookup ({twins.mode}) on out-of-fold rows, whose networks were not trained on their twins: "
        f"{lookup.gain_line(twins.gain)}; strength {twins.strength:.2f}"
    )
    if found.with_lookup is not None and found.plain is not None:
        report.append(found.with_lookup.sentence("leaderboard forecast with twin lookup"))
        report.append(found.with_lookup.halves())
        points = 100 * (found.with_lookup.accuracy - found.plain.accuracy)
        report.append(
            f"expected gain of twin lookup on the leaderboard: {points:+.2f} percentage points (the networks were "
            "trained on most twins of test rows)"
        )
    report.append(
        f"blend '{name}{SUFFIX}': twin lookup changes {twins.rows_changed:,} of {len(twins.test):,} test predictions; "
        f"{twins.rows_with_twins:,} test rows have twins; blend '{name}' has no twin lookup"
    )
    return report


def forecast_record(found: Twins, *, with_lookup: bool) -> ForecastRecord | None:
    """The forecast for blend.json; None if there is none."""
    chosen = found.with_lookup if with_lookup else found.plain
    return None if chosen is None else ForecastRecord(**asdict(chosen))


def meta_of(meta: dict[str, Any], twinned_name: str, mode: str) -> dict[str, Any]:
    """The meta of NAME-twins, from that of the blend without lookup."""
    constants = [SCHEMA, lookup.PARTS, lookup.LAPLACE]
    digest = atomic.digest_of({"blend": meta["config_digest"], "twins": mode, "constants": constants})
    return {**meta, "run": twinned_name, "config_digest": digest, "twins": mode}


def stale(folder: Path, meta: dict[str, Any]) -> list[str]:
    """A note if there is a NAME-twins that was made from another blend than the one with this meta; else empty."""
    place = folder.with_name(folder.name + SUFFIX)
    try:
        there = blend_record.read(place / BLEND) if (place / BLEND).is_file() else None
    except FerKitError:
        there = None
    if there is None or there.twins is None:
        return []
    mode = there.twins.mode
    if there.config_digest == meta_of(meta, place.name, mode)["config_digest"]:
        return []
    return [f"note: {place} was made from an earlier '{folder.name}'; make both again with --twins {mode} --force"]


def record_of(plain: BlendRecord, meta: dict[str, Any], found: Twins) -> BlendRecord:
    """The record of NAME-twins, from `plain`, that of the blend without lookup; its scores are leave-one-out."""
    twins = found.twinned
    assert twins is not None and plain.name is not None
    return replace(
        plain,
        name=meta["run"],
        oof_accuracy=twins.score.accuracy,
        oof_spread=twins.score.spread,
        fold_accuracies=twins.score.fold_accuracies,
        interval=twins.score.interval,
        log_loss=twins.score.log_loss,
        config_digest=meta["config_digest"],
        forecast=forecast_record(found, with_lookup=True),
        twins=TwinsRecord(
            mode=twins.mode,
            blend=plain.name,
            rows_changed=twins.rows_changed,
            rows_with_twins=twins.rows_with_twins,
            rows=len(twins.test),
            strength=twins.strength,
            gain=GainRecord(**asdict(twins.gain)),
            without=WithoutRecord(oof_accuracy=plain.oof_accuracy, interval=plain.interval),
        ),
    )
