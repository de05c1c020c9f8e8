"""The command of a short training, and what it leaves when nothing stops it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fer_kit.folds import __main__ as folds_command
from fer_kit.train import __main__ as train
from tests.helpers.trained import RECIPE, products


@pytest.fixture
def command(competition_dir: Path, runs_dir: Path) -> list[str]:
    return [*RECIPE, "--data", str(competition_dir), "--runs", str(runs_dir), "--fold", "1"]


@pytest.fixture(scope="module")
def uninterrupted(competition_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:

    runs_dir = tmp_path_factory.mktemp("whole")
    place = ["--data", str(competition_dir), "--runs", str(runs_dir)]
    assert folds_command.main([*place, "--folds", "3", "--method", "exact"]) == 0
    assert train.main([*RECIPE, *place, "--fold", "1"]) == 0
    return products(runs_dir / "deep_v3-t" / "fold1")
