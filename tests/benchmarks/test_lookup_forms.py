"""Forms of the twin lookup that are compared: the first is the plain one; overconfident networks are trusted less."""

from __future__ import annotations

import numpy as np

from ensembles.twins import lookup
from ensembles.twins.pairs import among
from fer_kit import metrics
from tests.benchmarks import bench_lookup
from tests.helpers import twin_world

WORLD = twin_world.draw(rows=900, test_rows=8)


def test_forms_are_compared_with_the_plain_one():
    pairs = among(WORLD.photos, WORLD.labels, np.array([f"{photo:032x}" for photo in WORLD.photos], "S32"))
    rng = np.random.default_rng(0)
    overconfident = metrics.log_softmax(5 * (rng.normal(size=(900, 7)) + 1.2 * np.eye(7)[WORLD.labels]))
    found = bench_lookup.measure(overconfident, WORLD.labels, pairs, np.full(len(pairs.rows), 0.8), WORLD.photos)
    assert [one["form"] for one in found] == [form.name for form in bench_lookup.FORMS]
    assert found[0]["gain"] == 0 and found[1]["log_loss"] < found[0]["log_loss"]
    assert lookup.fit(overconfident, WORLD.labels, pairs, WORLD.photos).trust < 0.5
