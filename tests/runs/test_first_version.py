"""Run folders, blends, weights and pipelines that the first version wrote still work.

tests/fixtures/first_version was written by version 0.1.0 with these commands and must not be changed:

    python -m fer_kit.synthetic data --rows 240 --test-rows 60
    python -m fer_kit.folds --data data --folds 2 --method exact
    python -m fer_kit.train --recipe residual --set width_mult=0.125 epochs=2 precision=fp32 --tag small --fold 0  # 1
    python -m fer_kit.train ... --seed 1 --tag small --fold 0
    python -m ensembles.blend old --members residual-small --twins near

v3.yaml holds the built-in pipeline v3. Weights were removed from all folds but residual-small/fold0.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ensembles import blend as blend_command
from fer_kit import metrics
from fer_kit.batches import pipeline_file
from fer_kit.batches.pipeline import Pipeline
from fer_kit.config import train_config
from fer_kit.evaluate import __main__ as evaluate
from fer_kit.files import atomic
from fer_kit.predict import __main__ as predict
from fer_kit.runs import folders, predictions
from fer_kit.synthetic import __main__ as synthetic
from submissions import __main__ as submissions

FIXTURE = Path(__file__).resolve().parents[1] / "fixtures" / "first_version"
CONFIG_DIGESTS = {
    "residual-small": "17d21ec25867faa81f1fd9825bd9da4cd2a8d45b9240c5afea1f6cb65e636a3b",
    "residual-small-seed1": "1c7f76921bdcefe03d33110de3b0e7d29e1e177b77930efe69b82db1c4d6537d",
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The competition that the runs were trained on, drawn again."""
    data = tmp_path_factory.mktemp("first") / "data"
    assert synthetic.main([str(data), "--rows", "240", "--test-rows", "60"]) == 0
    return data


@pytest.fixture
def here(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a copy of the runs and the data."""
    shutil.copytree(FIXTURE / "runs", tmp_path / "runs")
    (tmp_path / "data").symlink_to(drawn)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_runs_are_listed_and_read_with_the_scores_that_they_had():
    runs = FIXTURE / "runs"
    assert folders.list_runs(runs) == ["residual-small", "residual-small-seed1"]
    assert folders.list_blends(runs) == ["old", "old-twins"]
    run = folders.load(runs, "residual-small")
    assert (len(run.oof), len(run.test), run.folds) == (240, 60, (0, 1))
    assert run.accuracies == (0.20833333333333334, 0.15)
    assert folders.status(runs, "residual-small-seed1").missing == (1,)


@pytest.mark.parametrize("run", CONFIG_DIGESTS)
def test_configs_are_read_and_their_digests_have_not_changed(run):
    path = FIXTURE / "runs" / run / "fold0" / "config.json"
    config = train_config.from_json(atomic.read_json(path), f"{path}")
    assert config.digest == CONFIG_DIGESTS[run]
    assert predictions.read(path.with_name("oof.npz")).meta["config_digest"] == config.digest


@pytest.mark.parametrize(("name", "accuracy"), [("old", 0.17916666666666667), ("old-twins", 0.20416666666666666)])
def test_blends_are_read_with_the_scores_that_they_had(name, accuracy):
    blend = folders.load_blend(FIXTURE / "runs", name)
    assert (len(blend.oof), len(blend.test)) == (240, 60)
    assert metrics.accuracy(blend.oof.logits, blend.oof.labels) == accuracy


@pytest.mark.parametrize("force", [False, True])
def test_the_same_blend_made_today_is_the_same_but_for_its_forecast(here, capsys, force):
    made = ["old", "--members", "residual-small", "--data", "data", "--no-pictures"]
    for word in ("wrote", "wrote" if force else "unchanged:"):  # the forecast of an older version is made again
        assert blend_command.main([*made, *["--force"] * force]) == 0
        assert f"{word} runs/blends/old/" in capsys.readouterr().out
    for path in (FIXTURE / "runs" / "blends" / "old").iterdir():
        today = here / "runs" / path.relative_to(FIXTURE / "runs")
        if path.suffix == ".json":
            old, new = json.loads(path.read_text()), json.loads(today.read_text())
            assert set(new.pop("forecast")) > set(old.pop("forecast"))
            for method in (*old.get("methods", ()), *new.get("methods", ())):
                method.pop("forecast", None)
            assert new == old
        else:
            assert today.read_bytes() == path.read_bytes(), path


def test_twins_are_looked_up_in_another_way_today(here, capsys):
    made = ["old", "--members", "residual-small", "--twins", "near", "--data", "data", "--no-pictures"]
    assert blend_command.main(made) == 2
    assert "old-twins: holds another blend" in capsys.readouterr().err
    assert blend_command.main([*made, "--force"]) == 0


def test_blends_are_members_of_new_blends(here, capsys):
    assert blend_command.main(["new", "--members", "blends/old", "--no-pictures"]) == 0
    new, old = (folders.load_blend("runs", name) for name in ("new", "old"))
    assert np.array_equal(new.test.logits, old.test.logits)


def test_runs_and_blends_are_evaluated_side_by_side(here, capsys):
    names = ["residual-small", "residual-small-seed1", "old", "blends/old-twins"]
    assert evaluate.main([*names, "--data", "data", "--no-pictures", "--out", "out"]) == 0
    found = json.loads(Path("out/evaluate.json").read_text())["sources"]
    assert [source["rows"] for source in found] == [240, 120, 240, 240]
    assert found[3]["accuracy"] == 0.20416666666666666


@pytest.mark.parametrize("source", ["residual-small", "old-twins", "runs/residual-small/fold1"])
def test_submissions_are_built_from_them(here, capsys, source):
    assert submissions.main(["build", source, "--data", "data", "--out", "file.csv"]) == 0
    assert len(Path("file.csv").read_text().split()) == 60


def test_weights_give_the_predictions_that_they_gave(here, capsys):
    """With other views first, then with the views of the run by way of the new one."""
    shutil.rmtree("runs/residual-small/fold1")
    for source, views in (("residual-small", "none"), ("residual-small-none", "flip")):
        command = [source, "--fold", "0", "--views", views, "--device", "cpu", "--data", "data"]
        assert predict.main(command) == 0, capsys.readouterr().err
    files = [Path("runs", run, "fold0", "oof.npz") for run in ("residual-small", "residual-small-none-flip")]
    before, after = map(predictions.read, files)
    np.testing.assert_allclose(after.logits, before.logits, atol=1e-4)


def test_the_saved_pipeline_has_the_same_name_and_still_runs():
    file = pipeline_file.open_file(str(FIXTURE / "v3.yaml"))
    assert file.name == "v3@8cd8ead586aa910d"
    assert file.content == pipeline_file.open_file("v3").content
    face = Pipeline(file)(np.full((48, 48), 100, np.uint8), 0)
    assert face.shape == (48, 48)
