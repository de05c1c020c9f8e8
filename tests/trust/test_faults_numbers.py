"""Numbers that lie: a loss that is no longer finite, and folds of other folds, data or classes in a blend."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from ensembles import blend
from fer_kit.config.train_config import override
from fer_kit.engine import loop, losses
from fer_kit.files import atomic
from fer_kit.folds import __main__ as folds_command
from fer_kit.runs import finished_folder, folders
from fer_kit.synthetic import draw
from fer_kit.train import __main__ as train
from fer_kit.train import fold as train_fold
from submissions import __main__ as submissions
from tests.helpers.full_disk import one_line
from tests.helpers.toy_training import CPU, EXACT, PLAIN, Oracle, drawn, small_net, start

TRAIN = ["--recipe", "baseline_v1", "--device", "cpu", "--set", "epochs=2", "batch_size=16", "limit_rows=48"]


# --- not finite ------------------------------------------------------------------------------------------------------


def poisoned(groups, number, value):
    """The batches, with `value` in an image of batch `number`, from 0."""
    groups[number][0][3, 0, 2, 2] = value
    return groups


@pytest.mark.parametrize(("settings", "step"), [([], 4), (["accumulate=2"], 2), (["sam_rho=0.05"], 4)])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_the_step_is_told_in_which_the_loss_was_no_longer_finite(settings, step, value):
    config = override(PLAIN, ["lr=1e-3", *settings])
    groups = drawn([8] * 6)
    state = start(small_net(), config)
    loss_of = losses.make_loss(config, groups[0][1].numpy(), CPU)
    loop.train_epoch(state, groups, loss_of, config, EXACT)
    before = state.step
    with pytest.raises(loop.NotFiniteError) as caught:
        loop.train_epoch(state, poisoned(groups, 3, value), loss_of, config, EXACT)
    told = f"the loss of epoch 2 is nan, not finite since step {before + step}, number {step} of its {before}"
    assert str(caught.value) == told


def test_weights_that_the_last_step_spoilt_are_seen_though_no_loss_was_taken_with_them():
    config = override(PLAIN, ["lr=100"])
    net = Oracle()
    state = start(net, config)
    labels = torch.arange(8) % 7
    images = torch.full((8, 1, 48, 48), 1e37)
    images[torch.arange(8), 0, 0, labels] = -1e37  # as wrong as can be, and finite; 100 times its gradient is not
    loss_of = losses.make_loss(config, labels.numpy(), CPU)
    with pytest.raises(
        loop.NotFiniteError, match="the weights are not finite after step 1, the last of its 1 in epoch 1"
    ):
        loop.train_epoch(state, [(images, labels)], loss_of, config, EXACT)


@pytest.fixture
def place(competition_dir: Path, runs_dir: Path) -> list[str]:
    return ["--data", str(competition_dir), "--runs", str(runs_dir)]


def test_a_rate_far_too_high_stops_in_the_first_epoch_and_says_so(place, runs_dir, capsys):
    rate = ["optimizer=sgd", "lr=100", "weight_decay=1", "precision=fp32"]  # each weight times -99 a step
    assert train.main([*TRAIN, *rate, "--tag", "far", *place, "--fold", "0"]) == 2
    error = one_line(capsys)
    assert "fold0: the loss of epoch 1 is " in error and ", not finite since step " in error
    assert "; nothing is saved yet; " in error and "--set lr=10 --tag NAME" in error
    assert not (runs_dir / "baseline_v1-far/fold0/last.pt").exists()


@pytest.mark.slow
@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_watched_loss_that_is_not_finite_stops_and_can_be_resumed(value, place, runs_dir, monkeypatch, capsys):
    command = [*TRAIN, "--tag", "w", *place, "--fold", "0"]
    predict = loop.predict

    def spoilt(*args, **options):
        logits = predict(*args, **options)
        logits[0] = [value, *logits[0, 1:]]
        return logits

    with monkeypatch.context() as patched:
        patched.setattr(loop, "predict", spoilt)
        assert train.main(command) == 2
        error = one_line(capsys)
        assert "baseline_v1-w/fold0: " in error and "watched rows" in error and "epoch 1;" in error
        assert "nothing is saved yet" in error and "--set lr=0.0001 " in error and "--tag NAME" in error
        assert train.main([*command, "--resume"]) == 2
        assert "watched rows" in one_line(capsys)
    folder = runs_dir / "baseline_v1-w/fold0"
    assert not (folder / "last.pt").exists()
    assert train.main([*command, "--resume"]) == 0
    assert finished_folder.is_finished(folder)


@pytest.mark.slow
def test_the_last_good_state_is_kept_and_goes_on_as_if_nothing_had_been(place, runs_dir, monkeypatch, capsys):
    command = [*TRAIN, "--tag", "t", *place, "--fold", "0"]
    whole = train_fold.batches_of

    def spoilt(job, epoch, config=None):
        for number, (images, labels) in enumerate(whole(job, epoch, config)):
            yield (images * math.nan if (epoch, number) == (2, 1) else images), labels

    with monkeypatch.context() as patched:
        patched.setattr(train_fold, "batches_of", spoilt)
        assert train.main(command) == 2
    error = one_line(capsys)
    assert "the loss of epoch 2 is nan, not finite since step 5, number 2 of its 3; earlier epochs are saved" in error
    folder = runs_dir / "baseline_v1-t/fold0"
    saved = torch.load(folder / "last.pt", weights_only=True)
    assert saved["epoch"] == 1 and all(value.isfinite().all() for value in saved["net"].values())
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 1 and not finished_folder.is_finished(folder)
    assert train.main([*command, "--resume"]) == 0
    other = [*TRAIN, "--tag", "u", *place, "--fold", "0"]
    assert train.main(other) == 0
    ours, theirs = (
        [json.loads(line)["train_loss"] for line in (runs_dir / name / "fold0/metrics.jsonl").read_text().splitlines()]
        for name in ("baseline_v1-t", "baseline_v1-u")
    )
    assert ours == theirs


# --- what must not go together ---------------------------------------------------------------------------------------


class Elsewhere:
    """One recipe trained by the commands on the same folds, on other data with the same labels, and on other folds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        drawn_faces = draw.draw(100, 20, seed=3)
        draw.write(folder / "data", drawn_faces)
        drawn_faces.train_images[7, 0, 0] ^= 1  # one pixel, which no label and no fold shows
        draw.write(folder / "other-data", drawn_faces)
        words = ["--folds", "2", "--method", "exact", "--data", str(folder / "data"), "--runs"]
        for runs_dir, seed in (("runs", "0"), ("other-data-runs", "0"), ("other-folds-runs", "1")):
            assert folds_command.main([*words, str(folder / runs_dir), "--seed", seed]) == 0
            data = "other-data" if runs_dir == "other-data-runs" else "data"
            place = ["--data", str(folder / data), "--runs", str(folder / runs_dir)]
            for fold in ("0", "1"):
                one = ["--recipe", "baseline_v1", "--set", "epochs=1", "batch_size=16", "limit_rows=16", "--tag", "t"]
                assert train.main([*one, "--device", "cpu", "--fold", fold, *place]) == 0


RUN = "baseline_v1-t"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Elsewhere(tmp_path_factory.mktemp("elsewhere")).folder


@pytest.fixture
def here(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of all of it, as the current folder."""
    shutil.copytree(trained, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def refused(capsys: pytest.CaptureFixture[str], message: str, *members: str) -> None:
    """Neither a blend nor a submission takes these."""
    capsys.readouterr()
    assert blend.main(["x", "--method", "mean", "--members", *members]) == 2
    assert message in one_line(capsys)
    assert folders.list_blends("runs") == [] and not Path("runs/blends/x").exists()


@pytest.mark.slow
def test_folds_that_belong_together_make_a_blend(here, capsys):
    assert blend.main(["x", "--method", "mean", "--members", RUN]) == 0
    assert folders.list_blends("runs") == ["x"]


@pytest.mark.slow
@pytest.mark.parametrize(("other", "key"), [("other-data-runs", "data_digest"), ("other-folds-runs", "folds_digest")])
def test_a_run_of_other_data_or_folds_is_no_member(here, capsys, other, key):
    refused(capsys, f"members do not match: {key} differs: ", RUN, f"{other}/{RUN}")


@pytest.mark.parametrize(("other", "key"), [("other-data-runs", "data_digest"), ("other-folds-runs", "folds_digest")])
def test_a_fold_of_other_data_or_folds_spoils_its_run(here, capsys, other, key):
    """Its folder was copied, or it was trained after data or folds.csv had been replaced: the name is right."""
    shutil.rmtree(f"runs/{RUN}/fold1")
    shutil.copytree(f"{other}/{RUN}/fold1", f"runs/{RUN}/fold1")
    message = f"{key} differs: " if key == "data_digest" else f"runs/{RUN}: "
    refused(capsys, message, RUN)
    assert submissions.main(["build", RUN, "--out", "x.csv"]) == 2
    assert message in one_line(capsys) and not Path("x.csv").exists()


def test_runs_on_other_folds_than_the_file_that_lies_there(here, capsys):
    shutil.copy("other-folds-runs/folds.csv", "runs/folds.csv")
    refused(capsys, "runs/folds.csv: other folds (digest ", RUN)


def test_a_fold_whose_columns_are_other_classes(here, capsys):
    """As a network with another order of classes would leave it: everything else, and every sum, is right."""
    folder = Path(f"runs/{RUN}/fold1")
    with np.load(folder / "oof.npz") as archive:
        arrays = dict(archive)
    meta = json.loads(arrays["meta"].item())
    meta["classes"] = sorted(meta["classes"], key=str.lower, reverse=True)
    np.savez(folder / "oof.npz", **{**arrays, "meta": np.array(json.dumps(meta))})
    result = atomic.read_json(folder / "result.json") | {"oof_sha256": atomic.sha256_of(folder / "oof.npz")}
    atomic.write_json(folder / "result.json", result)
    refused(capsys, "fold1/oof.npz: classes are ['Surprise', 'Sad', ", RUN)


def test_data_whose_labels_are_not_those_of_the_folds_trains_nothing(here, capsys):
    lines = Path("data/train.csv").read_text().splitlines()
    lines[5] = f"{(int(lines[5][0]) + 1) % 7}{lines[5][1:]}"
    Path("data/train.csv").write_text("\n".join([*lines, ""]))
    capsys.readouterr()
    words = ["--recipe", "baseline_v1", "--tag", "u", "--device", "cpu", "--fold", "0", "--data", "data"]
    assert train.main([*words, "--set", "epochs=1", "batch_size=16"]) == 2
    assert "train row 4 has label " in (error := one_line(capsys)) and " in the folds (1 rows differ); choose" in error
    assert not Path("runs/baseline_v1-u/fold0").exists()
