"""Scores beside forecasts: residuals in standard errors, and contradictions between the two."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fer_kit.runs import ledger
from submissions import residuals, source_record
from tests.helpers.fake_submissions import save_entry

LEDGER = Path("submissions/ledger.csv")


def entry(name, forecast, public, content="0\n" * 100, half_error=None, private=None):
    """An entry with a score; with half_error, also the record of its source."""
    file = Path("submissions") / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(content)
    found = save_entry(LEDGER, file, tag=f"fer-{name}", forecast=forecast, public=public, private=private)
    if half_error is not None:
        parts = {"accuracy": forecast, "half_error": half_error, "interval": [0.1, 0.9], "standard_error": 0.006}
        record = {"schema": 1, "sha256": found.sha256, "source": "blend x", "kind": "blend", "folder": "../x"}
        record |= {"accuracy": 0.7, "accuracy_text": "", "members": {}, "predictions": {}, "forecast": forecast}
        source_record.path_of(file).write_text(json.dumps({**record, "forecast_parts": parts}))
    return found


def shown():
    return residuals.lines(residuals.scored(ledger.read(LEDGER), LEDGER))


def test_residuals_in_recorded_standard_errors(here):
    entry("a.csv", 0.72, 0.711, half_error=0.009, private=0.729)
    entry("b.csv", 0.70, None)
    entry("c.csv", 0.70, 0.7076)
    *_, first, second, note, verdict = shown()
    assert first.split() == ["1", "a.csv", "72.00%", "0.90", "71.10%", "-1.0", "se", "72.90%", "+1.0", "se"]
    assert second.split() == ["3", "c.csv", "70.00%", "0.76*", "70.76%", "+1.0", "se", "–", "–"]
    assert (
        note.startswith("*: ") and verdict == "forecasts and public scores agree within 2 standard errors (2 entries)"
    )


def test_a_score_far_from_its_forecast_and_all_together(here):
    entry("a.csv", 0.72, 0.75, half_error=0.01)
    entry("b.csv", 0.70, 0.718, half_error=0.01)
    said = [line for line in shown() if line.startswith("contradiction: ")]
    assert said == [
        "contradiction: #1 scored +3.00 points against its forecast, +3.0 standard errors",
        "contradiction: all 2 entries together are +2.4 standard errors from their forecasts",
    ]


@pytest.mark.parametrize(("differ", "contradicts"), [(2, True), (60, False)])
def test_the_order_of_two_entries_is_judged_by_the_rows_that_differ(here, differ, contradicts):
    """Forecast +1 point, scored −0.5: far if 2% of the rows differ, chance if 60% do."""
    entry("a.csv", 0.72, 0.705, half_error=0.03)
    entry("b.csv", 0.71, 0.71, content="1\n" * differ + "0\n" * (100 - differ), half_error=0.03)
    said = [line for line in shown() if line.startswith("contradiction: #1 against #2 was forecast +1.00 points")]
    assert bool(said) == contradicts


def test_nothing_without_scores_and_other_competitions(here):
    entry("a.csv", 0.72, None)
    assert shown() == []
