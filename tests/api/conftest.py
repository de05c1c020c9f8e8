"""Two short runs of three folds, one with a second seed and a full fit, for tests of the Python API."""

from __future__ import annotations

from pathlib import Path

import pytest

import fer_kit

SHORT = {"epochs": 1, "limit_rows": 64, "batch_size": 32}
NARROW = {**SHORT, "width_mult": 0.125, "warmup_epochs": 0.5, "views": "rotations"}


@pytest.fixture(scope="session")
def trained(competition_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs: `baseline_v1-a`, `baseline_v1-a-seed1` and `vgg_tiny-b`."""
    runs = tmp_path_factory.mktemp("api") / "runs"
    fer_kit.make_folds(competition_dir, runs=runs, folds=3)
    place = {"data": competition_dir, "runs": runs, "device": "cpu"}
    for fold in range(3):
        for seed in (None, 1):
            fer_kit.train("baseline_v1", fold=fold, settings=SHORT, tag="a", seed=seed, **place)
        fer_kit.train("vgg_tiny", fold=fold, settings=NARROW, tag="b", **place)
    fer_kit.train("vgg_tiny", fold="all", settings=NARROW, tag="b", **place)
    return runs
