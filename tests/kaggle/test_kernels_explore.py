"""The exploration notebook: its cells run as plain Python on a small competition, with the package and without."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import fer_kit
from kernels import __main__ as commands
from kernels import notebook
from tests.helpers import small_competition
from tests.helpers.kaggle_fixture import Site
from tests.helpers.pushed_kernels import SLUG

TEXT = (notebook.TEMPLATE / notebook.NOTEBOOK).read_text()


def program(text: str, first: str = "") -> str:
    """The code cells, one after the other; windows are never opened."""
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    return "\n\n".join(["import matplotlib", 'matplotlib.use("agg")', first, *("".join(c["source"]) for c in cells)])


def run(tmp_path: Path, source: str, place: str, *names: str) -> str:
    """What the cells print in a clean process; the pictures lie in tmp_path/working."""
    small_competition.write(tmp_path / "input" / place, *names)
    (tmp_path / "working").mkdir()
    (tmp_path / "notebook.py").write_text(source)
    environ = {"FER_KIT_KAGGLE_INPUT": str(tmp_path / "input"), "FER_KIT_KAGGLE_WORKING": str(tmp_path / "working")}
    done = subprocess.run(
        [sys.executable, "-I", "notebook.py"],
        cwd=tmp_path,
        env={**{k: v for k, v in os.environ.items() if not k.startswith("FER_KIT")}, **environ},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "working/faces.png").stat().st_size > 5_000
    assert (tmp_path / "working/mean-faces.png").exists()
    assert "8 train rows with labels, 5 test rows without" in done.stdout
    assert "Happy          2   25.0%  " in done.stdout
    assert "exact copies: 0 redundant train rows; 0 test rows are copies" in done.stdout
    return done.stdout


def test_the_notebook_is_clean_and_every_boolean_is_written():
    cells = json.loads(TEXT)["cells"]
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in cells)
    metadata = json.loads((notebook.TEMPLATE / "kernel-metadata.json").read_text())
    assert metadata["competition_sources"] == [SLUG] and metadata["code_file"] == notebook.NOTEBOOK
    booleans = ("is_private", "enable_gpu", "enable_tpu", "enable_internet")
    assert [metadata[name] for name in booleans] == [True, False, False, False]


@pytest.mark.parametrize("code", [0, 2])
def test_a_report_that_fails_fails_the_notebook(tmp_path, monkeypatch, code):
    """Else Kaggle shows `complete`, and nobody misses the report."""
    monkeypatch.setattr("fer_kit.explore.__main__.main", lambda words: code)
    monkeypatch.setattr("fer_kit.data.loading.find", lambda: tmp_path)
    [cell] = [cell for cell in json.loads(TEXT)["cells"] if "explore.main" in "".join(cell["source"])]
    known = {"fer_kit": fer_kit, "tempfile": tempfile, "WORKING": tmp_path}
    with contextlib.nullcontext() if code == 0 else pytest.raises(RuntimeError, match="the report was not written"):
        exec("".join(cell["source"]), known)


@pytest.mark.slow
@pytest.mark.parametrize("names", [("train.csv", "test.csv"), ("icml_face_data.csv",)])
def test_it_runs_with_pandas_alone(tmp_path, names):
    without = "import sys; sys.modules['fer_kit'] = None"
    told = run(tmp_path, program(TEXT, without), SLUG, *names)
    assert "read with pandas" in told and "python -m kernels explore builds one that has it" in told


@pytest.mark.slow
def test_built_and_pushed_it_carries_the_package(tmp_path, kaggle_site: Site, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    kaggle_site.cli_environ(monkeypatch)
    assert commands.main(["explore", "--dry-run"]) == 0
    assert not list(tmp_path.iterdir())
    assert commands.main(["explore", "--push"]) == 0
    assert "pushed       https://www.kaggle.com/code/player/fer-kit-explore" in capsys.readouterr().out
    [version] = kaggle_site.kernels["player/fer-kit-explore"]
    assert version.request["kernelType"] == "notebook" and version.request["enableInternet"] is False
    assert kaggle_site.key not in version.source
    code = "\n".join(line for line in program(version.source).splitlines())
    told = run(tmp_path, code, f"competitions/{SLUG}", "fer2013.csv")
    assert "read with fer_kit" in told and (tmp_path / "working/explore/explore.html").exists()
