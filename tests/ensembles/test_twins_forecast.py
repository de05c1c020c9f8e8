"""The forecast meets the truth of drawn leaderboards, whatever the networks remember of the twins."""

from __future__ import annotations

import numpy as np
import pytest

from ensembles import members, scores
from ensembles.rows import common_rows
from ensembles.twins import fold_tests, pairs, twin_blend
from fer_kit import metrics
from fer_kit.errors import FerKitError
from tests.helpers import twin_world


def twins_of(tmp_path, world, memory, full_fit=False):
    data, runs_dir = twin_world.save(tmp_path, world, memory=memory)
    found = members.load(runs_dir, [runs_dir / "net"])
    rows = common_rows(runs_dir, found)
    table, why = twin_blend.table_for(runs_dir, found, rows, "near", str(data))
    assert why == ""
    net = found[0]
    made = scores.alone(net, rows)
    return twin_blend.look_up_and_forecast(found, rows, made, "near", table, "", full_fit), net, table


@pytest.mark.slow
@pytest.mark.parametrize("memory", [0.0, 1.5, 4.0])
def test_with_and_without_lookup(tmp_path, memory):
    world = twin_world.draw(rows=2500, test_rows=1500, seed=3)
    found, net, _ = twins_of(tmp_path, world, memory)
    for told, logits in ((found.plain, net.test.logits), (found.with_lookup, found.twinned.test)):
        truth = metrics.accuracy(logits, world.test_labels)
        assert told.interval[0] - 0.01 < truth < told.interval[1] + 0.01
        assert told.accuracy == pytest.approx((1 - told.seen_share) * told.singles + told.seen_share * told.twins_seen)
        seen = np.isin(world.test_photos, world.photos)
        assert told.seen_share == seen.mean()
        assert abs(told.twins_seen - metrics.accuracy(logits[seen], world.test_labels[seen])) < 0.05
    gain = found.with_lookup.accuracy - found.plain.accuracy
    assert (gain > 0.05) if memory == 0 else (gain < 0.06)
    if memory == 4.0:
        assert gain < 0.005  # networks that remember everything gain nothing, though out-of-fold rows still do
        assert found.twinned.gain.difference > 0.05


def test_full_fits_beside_folds_of_other_members_have_no_forecast(tmp_path):
    """They would count as the mean of several networks, and the forecast would be far too high."""
    found, _, _ = twins_of(tmp_path, twin_world.draw(rows=600, test_rows=200), 1.0, full_fit=None)
    assert found.plain is None and found.with_lookup is None and found.twinned is not None
    assert "full fits predict the test rows of some members" in found.why_none and "--full-fit beside" in found.why_none


def test_blends_of_files_alone_have_no_forecast(tmp_path):
    world = twin_world.draw(rows=600, test_rows=200)
    _, net, table = twins_of(tmp_path, world, 1.0)
    outside = members.Member("theirs", members.FILES, net.oof, net.test, ())
    assert isinstance(table, pairs.TwinTable)
    with pytest.raises(FerKitError, match="no member is a run"):
        fold_tests.of_members([outside], common_rows(tmp_path, [net]))
