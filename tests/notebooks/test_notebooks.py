"""The notebooks run from the first to the last cell, on a small drawn competition, and make pictures."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from fer_kit.synthetic import draw
from tests.classify.conftest import FIRST_VERSION
from tests.helpers.source_tree import ROOT

TUTORIAL, PHOTOS = ROOT / "kernels/tutorial/tutorial.ipynb", ROOT / "notebooks/photos.ipynb"
SHORT = {"epochs": 1, "limit_rows": 64, "batch_size": 32, "width_mult": 0.125, "warmup_epochs": 0.5}


def run(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, parameters: dict[str, object]):
    """The notebook, executed in `folder` with other values in the cell that is tagged `parameters`."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(path, as_version=4)
    [cell] = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    known = {line.split(" = ")[0] for line in cell.source.splitlines() if " = " in line}
    assert set(parameters) <= known
    cell.source += "\n" + "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    where = {"metadata": {"path": folder}}
    return nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where).execute()


def pictures(notebook) -> int:
    """Number of pictures in the outputs."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def text(notebook) -> str:
    """What the cells printed."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return "".join(output.get("text", "") for output in outputs)


@pytest.mark.parametrize("path", [TUTORIAL, PHOTOS], ids=lambda path: path.stem)
def test_notebooks_are_valid_and_have_no_outputs(path):
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")


def test_the_folder_can_be_pushed():
    metadata = json.loads((TUTORIAL.parent / "kernel-metadata.json").read_text())
    assert metadata["code_file"] == TUTORIAL.name and metadata["enable_internet"] is False
    assert metadata["is_private"] is True and metadata["dataset_sources"] == ["OWNER/fer-kit-wheel"]


def code_with(words: str) -> str:
    """The only code cell of the tutorial that has these words."""
    cells = [cell for cell in json.loads(TUTORIAL.read_text())["cells"] if cell["cell_type"] == "code"]
    [found] = [source for cell in cells if words in (source := "".join(cell["source"]))]
    return found


class Trainer:
    """Stands for the package and for the clock: each training takes 100 minutes, or stops when its time is over."""

    def __init__(self) -> None:
        self.now, self.limits = 0.0, list[float]()

    def monotonic(self) -> float:
        return 60 * self.now

    def train(self, recipe: str, *, limit_minutes: float, **options: object) -> SimpleNamespace:
        self.limits.append(limit_minutes)
        self.now += min(100, limit_minutes)
        return SimpleNamespace(run=recipe, finished=limit_minutes >= 100)

    def list_runs(self, runs: object) -> None:
        pass


@pytest.mark.parametrize(
    ("minutes", "names", "limits", "stopped"),
    [
        (1000, ["a", "b"], [1000, 900, 800, 700], None),
        (350, ["a"], [350, 250, 150, 50], "training stopped at b, fold 1\nthe cells below use a\n"),
        (302, ["a"], [302, 202, 102], "training stopped at b, fold 1\nthe cells below use a\n"),
    ],
)
def test_all_trainings_of_the_tutorial_share_one_limit(minutes, names, limits, stopped, capsys):
    trainer = Trainer()
    known = {"fer_kit": trainer, "time": trainer, "END": 60.0 * minutes, "LIMIT_MINUTES": minutes}
    known |= {"RECIPES": ["a", "b"], "FOLDS": 2, "SETTINGS": {}, "TAG": None, "RUNS": "runs"}
    exec(code_with("fer_kit.train("), known)
    assert (known["names"], trainer.limits) == (names, limits)
    told = capsys.readouterr().out
    assert told.endswith(stopped) if stopped else not told


def test_a_tutorial_without_a_finished_recipe_says_so():
    trainer = Trainer()
    known = {"fer_kit": trainer, "time": trainer, "END": 60.0, "LIMIT_MINUTES": 1}
    known |= {"RECIPES": ["a"], "FOLDS": 2, "SETTINGS": {}, "TAG": None, "RUNS": "runs"}
    with pytest.raises(RuntimeError, match="no recipe has all folds finished; use a GPU"):
        exec(code_with("fer_kit.train("), known)
    assert not trainer.limits and "END = time.monotonic() + 60 * LIMIT_MINUTES" in code_with("import subprocess")


@pytest.mark.parametrize("path", [TUTORIAL, ROOT / "docs/kaggle.md"], ids=lambda path: path.name)
def test_the_way_to_push_the_tutorial_is_told_in_its_order(path):
    """`datasets create` refuses what `datasets init` wrote, and a data set is attached only when it is ready."""
    text = path.read_text()
    steps = ["datasets init", "fer-kit-wheel/dataset-metadata.json", "title", "Default slug detected"]
    steps += ["datasets create", "datasets status OWNER/fer-kit-wheel", "`ready`", "kernels push -p kernels/tutorial"]
    places = [text.index(step, text.index(steps[0])) for step in steps]
    assert places == sorted(places)


@pytest.mark.slow
def test_the_tutorial_goes_from_data_to_a_checked_submission(tmp_path, monkeypatch):
    place = tmp_path / "input" / "competition"
    draw.write(place, draw.draw(210, 40, seed=5), with_labels=False)
    (tmp_path / "input/fer-kit-source").symlink_to(ROOT)  # the toolkit as an attached data set
    (tmp_path / "working").mkdir()
    monkeypatch.setenv("FER_KIT_KAGGLE_INPUT", str(tmp_path / "input"))
    monkeypatch.setenv("FER_KIT_KAGGLE_WORKING", str(tmp_path / "working"))
    monkeypatch.setenv("FER_KIT_DATA", str(place))
    done = run(
        TUTORIAL,
        tmp_path,
        monkeypatch,
        {"RECIPES": ["vgg_tiny", "residual_tiny"], "SETTINGS": SHORT, "TAG": "short", "FOLDS": 3},
    )
    assert pictures(done) == 3 and "210 train rows with labels, 40 test rows" in text(done)
    assert len((tmp_path / "working/submission.csv").read_text().splitlines()) in (40, 41)
    assert (tmp_path / "working/faces.png").stat().st_size > 5_000 and "out of fold" in text(done)


@pytest.mark.slow
def test_photos_are_classified_and_drawn(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    for number, face in enumerate(draw.draw(100, 20, seed=1).train_images[:3]):
        Image.fromarray(np.kron(face, np.ones((2, 2), np.uint8))).save(tmp_path / f"photos/{number}.png")
    (tmp_path / "photos/text.jpg").write_text("no image")
    done = run(
        PHOTOS,
        tmp_path,
        monkeypatch,
        {"MODEL": "residual-small/fold0", "RUNS": str(FIRST_VERSION), "FACES": "whole"},
    )
    assert pictures(done) == 1 and "text.jpg: not an image" in text(done) and "3 faces:" in text(done)
    assert len((tmp_path / "answers.csv").read_text().splitlines()) == 4
    assert (tmp_path / "answers.png").stat().st_size > 5_000
