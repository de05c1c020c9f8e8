"""Shared fixtures: the real faces where they are at hand, and small drawn competitions."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from fer_kit.folds import __main__ as folds_command
from tests.helpers.browser import browser  # noqa: F401 (a fixture)
from tests.helpers.fake_submissions import digest, here  # noqa: F401 (fixtures)
from tests.helpers.fetching import direct, evening  # noqa: F401 (fixtures)
from tests.helpers.kaggle_fixture import kaggle_site  # noqa: F401 (a fixture)

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # tests import onnxruntime themselves too
os.environ["FER_KIT_COMMIT"] = "tests"  # results must not change when somebody commits while the tests run

LONGEST = ("tests/trust/test_faults.py",)  # minutes in few tests
REAL_FACES = Path(__file__).resolve().parents[2] / "shared" / "fer2013"


def pytest_configure(config: pytest.Config) -> None:
    """pytest-xdist keeps the order of the files, see below; without this it deals them by their number of tests."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files come first, so that no core waits for one of them at the end."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: (not item.nodeid.startswith(LONGEST), -slow[item.path]))


@pytest.fixture(scope="session")
def real_faces() -> Path:
    """The folder with the packed real faces; the test is skipped, and says so, where it is absent."""
    if not (REAL_FACES / "unpack.py").exists():
        pytest.skip("the packed FER2013 faces (../shared/fer2013) are not here")
    return REAL_FACES


@pytest.fixture(scope="session")
def competition_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn competition of 360 train and 90 test rows, as files."""
    from fer_kit.synthetic import draw

    folder = tmp_path_factory.mktemp("competition") / "data"
    draw.write(folder, draw.draw(360, 90, seed=3), with_labels=False)
    return folder


@pytest.fixture
def runs_dir(competition_dir: Path, tmp_path: Path) -> Path:
    """A run folder with three folds of the drawn competition, and nothing else."""

    runs = tmp_path / "runs"
    assert (
        folds_command.main(["--data", str(competition_dir), "--runs", str(runs), "--folds", "3", "--method", "exact"])
        == 0
    )
    return runs
