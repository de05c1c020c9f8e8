"""Run folders to blend."""

from __future__ import annotations

import pytest

from tests.helpers import fake_runs


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


@pytest.fixture
def two(here):
    """A strong run and a weak one."""
    fake_runs.save_run(here, "weak", seed=1, skill=1.0)
    fake_runs.save_run(here, "strong", seed=2, skill=2.5)
    return here
