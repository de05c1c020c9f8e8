"""A folder to build submissions in, with or without a competition's files, and the command run there."""

from __future__ import annotations

import datetime
import os
import re
from pathlib import Path
from typing import Any

import pytest

from fer_kit import metrics
from fer_kit.data import loading
from fer_kit.files import atomic
from fer_kit.kaggle.client import COMPETITION
from fer_kit.runs import folders, ledger
from submissions import __main__ as commands
from submissions import build, check
from tests.helpers.fake_runs import LABELS, TEST_ROWS

ORGANISERS = "the organiser's: one integer per line, no header, no id"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty, where no data can be found; the date is fixed, TEST_ROWS are the competition's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FER_KIT_DATA", raising=False)
    monkeypatch.setattr(build, "_today", lambda: datetime.date(2030, 1, 2))
    monkeypatch.setattr(check, "COMPETITION_ROWS", TEST_ROWS)
    return tmp_path


@pytest.fixture
def digest(here: Path) -> str:
    """The digest of a competition with TEST_ROWS test rows, and the train rows of `fake_runs`, in ./data."""
    (here / "data").mkdir()
    pixels = [" ".join([str(row)] * 48 * 48) for row in range(TEST_ROWS)]
    train = [f'{label},"{pixels[row % TEST_ROWS]}"\n' for row, label in enumerate(LABELS)]
    (here / "data/train.csv").write_text("".join(["emotion,pixels\n", *train]))
    (here / "data/test.csv").write_text("".join(["pixels\n", *(f'"{row}"\n' for row in pixels)]))
    return loading.load(here / "data", here / "runs/cache").digest


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `python -m submissions …`."""
    code = commands.main([*argv])
    return code, *capsys.readouterr()


def refused(capsys: pytest.CaptureFixture[str], message: str, *argv: str) -> None:
    code, _, error = run(capsys, *argv)
    assert code == 2
    assert re.match("error: " + re.escape(message), error), error
    assert error.count("\n") == 1


def save_entry(path: Path, file: Path, **changes: Any) -> ledger.Entry:
    """Add a line to the ledger at `path`, for `file` as an entry that Kaggle has and has scored."""
    known = {"utc": "2030-01-01T18:00:00Z", "file": os.path.relpath(file, path.parent), "message": "", "source": ""}
    known |= {"sha256": atomic.sha256_of(file), "members": "", "class_counts": "", "competition": COMPETITION}
    known |= {"tag": "fer-00000000", "ref": "49999999", "status": "complete"}
    scores = {"cv_accuracy": None, "forecast": None, "public": 0.5, "private": None, "rows_changed": None}
    entry = ledger.Entry(**{**known, **scores, **changes})
    ledger.change(path, entry)
    return entry


def expected(name: str = "a") -> list[int]:
    """What run `name` predicts for the test rows."""
    return metrics.predicted(folders.load("runs", name).test.logits).tolist()


def numbers(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().splitlines()]
