"""Shared fixtures: the real faces where they are at hand, and small drawn competitions."""

from __future__ import annotations

from pathlib import Path

import pytest

REAL_FACES = Path(__file__).resolve().parents[2] / "shared" / "fer2013"


@pytest.fixture(scope="session")
def real_faces() -> Path:
    """The folder with the packed real faces; the test is skipped, and says so, where it is absent."""
    if not (REAL_FACES / "unpack.py").exists():
        pytest.skip("the packed FER2013 faces (../shared/fer2013) are not here")
    return REAL_FACES
