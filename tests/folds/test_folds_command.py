"""`python -m fer_kit.folds`: what it prints and writes, and folds that are not lost by accident."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from fer_kit.data import loading
from fer_kit.folds import __main__ as folds_command
from fer_kit.folds import deal, twins
from fer_kit.synthetic import draw


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    draw.write(folder, draw.draw(150, 30, seed=4))
    return folder


def run(data_dir: Path, runs: Path, *more: str) -> int:
    return folds_command.main(["--data", str(data_dir), "--runs", str(runs), "--folds", "3", *more])


def test_the_command(data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = tmp_path / "runs"
    assert run(data_dir, runs) == 0
    out, err = capsys.readouterr()
    for part in ("train rows", "more than one label", "test rows", "have a train twin", "Surprise", "wrote"):
        assert part in out
    assert err == ""
    record = json.loads((runs / "folds.json").read_text())
    assert record["method"] == "aligned" and record["versions"].keys() == {"numpy", "scikit-learn", "opencv"}
    assert record["thresholds"]["same_photo_correlation"] == twins.SAME_PHOTO
    assert record["seed"] == 0 and record["folds"] == 3 and record["search"]["images"] == 180
    competition = loading.load(data_dir, runs / "cache")
    assert record["data_digest"] == competition.digest
    assert record["digest"] == deal.read(runs / "folds.csv").digest
    deal.check(deal.read(runs / "folds.csv"), competition.train.labels)
    assert len(deal.read_test_groups(runs / "folds-test.csv")) == 30


@pytest.mark.parametrize(("method", "share"), [("exact", "about three quarters"), ("unaligned", "about a third")])
def test_a_search_that_misses_twins_says_so(
    method: str, share: str, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(data_dir, tmp_path, "--method", method) == 0
    assert f"warning: --method {method} leaves {share} of the rows with twins unnoticed" in capsys.readouterr().err


def test_the_same_folds_again_say_so(data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(data_dir, tmp_path) == 0
    before = {path.name: path.read_bytes() for path in tmp_path.glob("folds*")}
    capsys.readouterr()
    assert run(data_dir, tmp_path) == 0
    assert "the same folds already lie in" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in tmp_path.glob("folds*")} == before


def test_other_folds_are_kept_unless_forced(data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(data_dir, tmp_path) == 0
    before = (tmp_path / "folds.csv").read_bytes()
    capsys.readouterr()
    assert run(data_dir, tmp_path, "--seed", "1") == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {tmp_path / 'folds.csv'} (digest ") and err.count("\n") == 1
    assert "choose another --runs, or --force to replace them" in err
    assert (tmp_path / "folds.csv").read_bytes() == before
    assert run(data_dir, tmp_path, "--seed", "1", "--force") == 0
    assert (tmp_path / "folds.csv").read_bytes() != before


def test_other_test_groups_are_kept_unless_forced(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(data_dir, tmp_path) == 0
    (tmp_path / "folds-test.csv").write_text("id,group\n0,0\n")
    assert run(data_dir, tmp_path) == 2
    assert "folds-test.csv holds other folds" in capsys.readouterr().err
    assert run(data_dir, tmp_path, "--force") == 0
    assert len(deal.read_test_groups(tmp_path / "folds-test.csv")) == 30


def test_missing_companions_are_written_again(data_dir: Path, tmp_path: Path) -> None:
    assert run(data_dir, tmp_path) == 0
    for name in ("folds-test.csv", "folds.json"):
        (tmp_path / name).unlink()
    assert run(data_dir, tmp_path) == 0
    assert (tmp_path / "folds-test.csv").exists() and (tmp_path / "folds.json").exists()


def test_without_opencv_the_command_warns_and_records(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert run(data_dir, tmp_path) == 0
    err = capsys.readouterr().err
    assert err.startswith("warning: OpenCV is not installed") and "pip install opencv-python-headless" in err
    record = json.loads((tmp_path / "folds.json").read_text())
    assert record["method"] == "unaligned" and "opencv" not in record["versions"]
    assert record["thresholds"]["brightness_correlation"] == twins.UNALIGNED_BRIGHTNESS
    assert run(data_dir, tmp_path, "--method", "aligned") == 2
    assert "'aligned' needs OpenCV" in capsys.readouterr().err


def test_a_group_over_the_limit_stops_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = draw.draw(150, 30, seed=4)
    drawn.train_images[:101] = drawn.train_images[0]
    draw.write(tmp_path / "data", drawn)
    assert run(tmp_path / "data", tmp_path / "runs") == 2
    err = capsys.readouterr().err
    assert "over the limit of 100" in err and "--method exact" in err
    assert not (tmp_path / "runs" / "folds.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--method", "alined"], "argument --method: invalid choice: 'alined' (choose from "),
        (["--fold", "3"], "unrecognized arguments: --fold 3 (did you mean '--folds'?)"),
        (["--folds", "few"], "argument --folds: invalid int value: 'few'"),
        (["--data", ""], "argument --data: '' is empty (a variable that is not set?); give a value"),
        (["--runs="], "argument --runs: '' is empty (a variable that is not set?); give a value"),
        (["a\nb"], "unrecognized arguments: a b"),
    ],
)
def test_usage_errors_are_one_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert folds_command.main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {words}") and err.endswith("; see python -m fer_kit.folds --help\n")
    assert err.count("\n") == 1
