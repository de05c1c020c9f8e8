"""Soft targets by the network that ships with fer_kit: its own probabilities, for any folds, and a student of them."""

from __future__ import annotations

import re

import numpy as np
import pytest

import fer_kit
from ensembles import targets
from fer_kit.engine.face_network import FaceNetwork
from fer_kit.folds import table
from fer_kit.runs import soft_targets
from fer_kit.train.__main__ import main as train_main
from tests.helpers.trained import RECIPE


@pytest.fixture
def where(competition_dir, runs_dir):
    return ["--data", str(competition_dir), "--runs", str(runs_dir)]


def test_the_targets_are_what_the_network_predicts_and_a_student_trains_on_them(
    where, competition_dir, runs_dir, capsys, tmp_path
):
    assert targets.main(["quick", "--shipped", *where, "--device", "cpu"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"train    [\d,]+ rows, \d+\.\d\d% of them predicted as labelled\n", told)
    assert "it was trained on all train rows, so scores of its students can be slightly too high" in told
    path = runs_dir / "targets/quick.npz"
    soft = soft_targets.read(path)
    data = fer_kit.load_data(competition_dir)
    assert soft.test is None and soft.train.shape == (1, len(data.train.ids), 7)
    faces = np.array(data.train.images[:9])
    model = fer_kit.load_model()
    assert not np.allclose(soft.train[0][:9], model(faces), atol=1e-3)  # those of more views
    [network] = [module for module in model.network.modules() if isinstance(module, FaceNetwork)]
    network.view_set = "flip"
    assert np.allclose(soft.train[0][:9], model(faces), atol=1e-4)
    assert soft.meta["folds_digest"] == table.read(runs_dir / "folds.csv").digest
    assert f"--set targets={path} --tag quick" in told

    student = [*RECIPE[:3], f"targets={path}", *RECIPE[3:]]
    assert train_main(["--fold", "0", *student, *where]) == 0


def test_test_rows_that_are_not_sure_get_no_target(where, runs_dir, capsys):
    assert targets.main(["both", "--shipped", "--rows", "both", "--confidence", "0.5", *where]) == 0
    soft = soft_targets.read(runs_dir / "targets/both.npz")
    without = np.isnan(soft.test[0]).any(axis=1)
    assert 0 < without.sum() < len(without) and not np.isnan(soft.train).any()
    told = capsys.readouterr().out
    assert f"{1 - without.mean():.1%} with pseudo-labels" in told
    twins = np.isin(table.read_test_groups(runs_dir / "folds-test.csv"), table.read(runs_dir / "folds.csv").groups)
    assert 0 < twins.sum() < len(twins) and without[twins].all() and (~twins & without).any()
    assert f"{twins.sum()} rows with a twin among the train rows have none" in told
    assert targets.main(["none", "--shipped", "--rows", "test", "--confidence", "0.9999", *where]) == 2
    assert re.search(r"predicts no test row with this probability; give at most 0\.\d", capsys.readouterr().err)


def test_folds_of_other_data_are_refused(where, runs_dir, capsys):
    path = runs_dir / "folds.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert targets.main(["quick", "--shipped", *where]) == 2
    assert "another competition's folds" in capsys.readouterr().err and not (runs_dir / "targets").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--shipped", "--from", "net"], "not allowed with argument"),
        ([], "one of the arguments --from --shipped is required"),
        (
            ["--shipped", "--scheme", "nested"],
            "--scheme nested with --shipped: the network that ships left out no fold",
        ),
        (["--from", "net", "--device", "cpu"], "--device cpu applies to --shipped alone, which predicts; drop it"),
        (["--from", "net", "--data", "here"], "--data here applies to --shipped alone"),
    ],
)
def test_options_that_do_not_go_together_are_refused(words, message, capsys):
    assert targets.main(["x", *words]) == 2
    assert message in capsys.readouterr().err
