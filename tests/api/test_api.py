"""The Python API: quick to import, and the same numbers as the files that the commands write."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

import fer_kit
from fer_kit import metrics
from fer_kit.competition import CLASSES
from fer_kit.runs import predictions
from tests.helpers.source_tree import HEAVY, ROOT

RUN, SEED, OTHER = "baseline_v1-a", "baseline_v1-a-seed1", "vgg_tiny-b"
FEW = 12  # test rows that models predict again


@pytest.fixture(scope="module")
def data(competition_dir, trained):
    return fer_kit.load_data(competition_dir, runs=trained)


def stored(runs, name):
    """Probabilities for the test rows as the run or blend wrote them."""
    return fer_kit.test_predictions(name, runs=runs)[list(CLASSES)].to_numpy()


def test_importing_loads_nothing_heavy_and_data_needs_no_torch(competition_dir, tmp_path):
    program = f"""
import sys, fer_kit
from fer_kit import FerKitError, __version__
assert not {HEAVY!r} & set(sys.modules) and "numpy" not in sys.modules
assert {{"load_data", "train", "oof", "load_model", "blend"}} <= set(dir(fer_kit))
fer_kit.load_data({str(competition_dir)!r}, runs={str(tmp_path)!r})
fer_kit.load_model, fer_kit.blend, fer_kit.train
print(sorted({HEAVY!r} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_train_can_be_called_whatever_was_imported_before():
    import fer_kit.train.request

    assert callable(fer_kit.train) and fer_kit.train.request.TrainRequest
    with pytest.raises(AttributeError, match="no attribute 'fit'"):
        fer_kit.fit()
    with pytest.raises(TypeError, match="fold"):
        fer_kit.train("vgg_tiny")


@pytest.mark.slow
def test_training_returns_what_the_folder_holds(trained, competition_dir):
    again = fer_kit.train(
        "vgg_tiny",
        fold=1,
        settings=[f"{name}={value}" for name, value in json.loads(SETTINGS).items()],
        tag="b",
        resume=True,
        data=competition_dir,
        runs=trained,
    )
    assert again.finished and again.run == OTHER and again.folder == trained / OTHER / "fold1"
    assert again.accuracy == json.loads((again.folder / "result.json").read_text())["oof_accuracy"]
    assert list(again.history["epoch"]) == [1] and "train_loss" in again.history
    assert again.config.views == "rotations" and "vgg_tiny-b" in repr(again)
    recorded = json.loads((again.folder / "env.json").read_text())["command"]
    assert recorded.startswith("python -m fer_kit.train --fold 1 --recipe vgg_tiny --set epochs=1")


SETTINGS = (
    '{"epochs": 1, "limit_rows": 64, "batch_size": 32, "width_mult": 0.125, "warmup_epochs": 0.5, "views": "rotations"}'
)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fold": -1}, r"fold=-1: give a number from 0, 'all'"),
        ({"fold": 0, "settings": {"epochs": 2}}, r"--set epochs=2 changes the recipe; .*--tag"),
        ({"fold": 0, "settings": "epochs=2", "tag": "t"}, r"settings='epochs=2': give a mapping"),
        ({"fold": 0, "settings": {"model": "vgg"}, "model": "wide", "tag": "t"}, "model=wide and settings"),
        ({"fold": 0, "wandb": "on"}, r"--wandb on: give one of off, offline, online \(in Python: wandb=\)"),
        ({"fold": 0, "limit_minutes": -1}, r"--limit-minutes -1: give a number above 0 \(in Python: limit_minutes=\)"),
        ({"fold": 0, "settings": {"flip": 2}, "tag": "t"}, r"--set flip: .*'flip_prob'.*\(in Python: settings=\)"),
        ({"fold": 0, "resume": True, "restart": True}, "--resume with --restart"),
        ({"fold": 0, "model": torch.nn.Linear(1, 1), "tag": "t"}, "give the class of your network, not an instance"),
    ],
)
def test_arguments_that_are_refused(options, words):
    with pytest.raises(fer_kit.FerKitError, match=words):
        fer_kit.train("vgg_tiny", **options)


@pytest.mark.slow
def test_out_of_fold_rows_carry_ids_labels_and_folds(trained, data):
    rows = fer_kit.oof(RUN, runs=trained)
    assert list(rows.columns) == ["id", "label", "fold", *CLASSES, "predicted"]
    assert rows["id"].tolist() == data.train.ids.tolist() and rows["label"].tolist() == data.train.labels.tolist()
    np.testing.assert_allclose(rows[list(CLASSES)].sum(axis=1), 1)
    for fold, part in rows.groupby("fold"):
        file = predictions.read(trained / RUN / f"fold{fold}" / "oof.npz")
        assert part["id"].tolist() == file.ids.tolist()
        assert part["predicted"].tolist() == file.logits.argmax(1).tolist()
        logits = fer_kit.oof(RUN, runs=trained, logits=True).loc[part.index, list(CLASSES)]
        assert np.array_equal(logits.to_numpy(), file.logits)
    with pytest.raises(fer_kit.FerKitError, match=f"no run or blend 'baseline-v1-a'.*did you mean '{RUN}'"):
        fer_kit.oof("baseline-v1-a", runs=trained)


@pytest.mark.slow
def test_a_run_predicts_faces_as_it_predicted_the_test_rows(trained, data):
    for name in (RUN, OTHER):
        model = fer_kit.load_model(name, runs=trained, device="cpu")
        np.testing.assert_allclose(model(data.test.images[:FEW]), stored(trained, name)[:FEW], atol=1e-6)
    single = fer_kit.load_model(RUN, runs=trained, folds=[1], device="cpu")
    file = predictions.read(trained / RUN / "fold1" / "test.npz")
    assert np.array_equal(single.logits(data.test.images), file.logits)
    assert np.array_equal(single.predict(data.test.images), file.logits.argmax(1))
    tensor = torch.from_numpy(np.array(data.test.images[:3]))
    assert isinstance(single(tensor), torch.Tensor) and single(tensor).shape == (3, 7)
    assert "3 networks" in repr(model) and not model.network.training


BLENDS = {
    "mean": {"method": "mean", "temperatures": "none"},
    "logmean": {"method": "logmean"},
    "weighted": {"method": "weights"},
    "greedy": {"method": "greedy"},
    "stack": {"method": "stack"},
    "instead": {"method": "mean", "full_fit": "instead"},
    "beside": {"method": "weights", "full_fit": "beside"},
}


@pytest.fixture(scope="module")
def blends(trained):
    """Every way to blend the two recipes; the seeds of one count as one member."""
    made = {name: fer_kit.blend(name, [RUN, SEED, OTHER], runs=trained, **how) for name, how in BLENDS.items()}
    made["nested"] = fer_kit.blend("nested", ["blends/weighted", OTHER], runs=trained, method="logmean")
    weights = trained.parent / "weights.json"
    weights.write_text(json.dumps({RUN: 0.25, OTHER: 0.75}))
    made["given"] = fer_kit.blend("given", [RUN, OTHER], runs=trained, method="mean", weights=weights)
    made["one"] = fer_kit.blend("one", [OTHER], runs=trained)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("name", [*BLENDS, "nested", "given", "one"])
def test_a_blend_predicts_faces_as_it_predicted_the_test_rows(name, blends, trained, data):
    model = fer_kit.load_model(name, runs=trained, device="cpu")
    np.testing.assert_allclose(model(data.test.images[:FEW]), stored(trained, name)[:FEW], atol=2e-6)
    rows = fer_kit.oof(name, runs=trained)
    assert blends[name].accuracy == metrics.accuracy(rows[list(CLASSES)].to_numpy(), data.train.labels)
    assert rows["fold"].nunique() == 3


@pytest.mark.slow
def test_a_blend_tells_its_weights(blends, trained):
    assert blends["given"].weights == pytest.approx({RUN: 0.25, OTHER: 0.75})
    assert blends["mean"].method == "mean" and set(blends["stack"].weights.values()) == {None}
    listed = fer_kit.list_runs(trained).set_index("name")
    assert listed.loc[RUN, "finished"] == 3 and listed.loc["mean", "accuracy"] == blends["mean"].accuracy
    with pytest.raises(fer_kit.FerKitError, match=r"method='average'.*allowed are auto, mean"):
        fer_kit.blend("x", [RUN, OTHER], runs=trained, method="average")


@pytest.mark.slow
def test_a_blend_that_cannot_be_applied_to_other_faces_says_so(blends, trained, competition_dir):
    fer_kit.blend("seen", [RUN, OTHER], runs=trained, method="mean", twins="exact", data=competition_dir)
    if (trained / "blends/seen-twins").is_dir():
        with pytest.raises(fer_kit.FerKitError, match=r"labels of their twins; load 'seen'"):
            fer_kit.load_model("seen-twins", runs=trained)
    with pytest.raises(fer_kit.FerKitError, match=r"folds=\[0\]: 'mean' is a blend"):
        fer_kit.load_model("mean", runs=trained, folds=[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("faces", "words"),
    [
        (np.zeros((2, 48, 48)), r"faces are float64; give uint8 .*\(faces \* 255\)"),
        (torch.zeros(2, 48, 48), r"faces are float32; give uint8"),
        (np.zeros((2, 48, 48), np.int64), "faces are int64; give uint8"),
        (np.zeros((48, 48), np.uint8), r"\(48, 48\); give \(N, 48, 48\).*faces\[None\]"),
        (np.zeros((2, 1, 48, 48), np.uint8), "remove the channel axis"),
        (np.zeros((2, 64, 64), np.uint8), r"\(2, 64, 64\); give \(N, 48, 48\)"),
        (np.zeros((0, 48, 48), np.uint8), "N of 1 or more"),
        ([[0]], "faces are a list; give a numpy array"),
    ],
)
def test_faces_that_are_refused(faces, words, trained):
    model = fer_kit.load_model(RUN, runs=trained, folds=[0], device="cpu")
    for call in (model, model.logits, model.predict):
        with pytest.raises(fer_kit.FerKitError, match=words):
            call(faces)
