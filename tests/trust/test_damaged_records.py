"""Records of runs with damaged values: every command that reads them says so in one line, or leaves them out."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest

from fer_kit.card import __main__ as card
from fer_kit.errors import FerKitError
from fer_kit.evaluate import __main__ as evaluate
from fer_kit.listing import runs as listing
from fer_kit.report import found as report
from fer_kit.report.__main__ import main as write_report
from fer_kit.runs import finished_folder, training_record
from fer_kit.sweep import plan, progress
from fer_kit.sweep.__main__ import main as sweep
from fer_kit.sweep.training import Training

FIRST_VERSION = Path(__file__).resolve().parents[1] / "fixtures" / "first_version" / "runs"
VALUES = ("NaN", "1e999", '"x"', '"9' + "9" * 60 + '"', "9" * 400, "[1]", "{}", "true", "null")
RUN = "residual-small"


@pytest.fixture
def runs(tmp_path) -> Path:
    shutil.copytree(FIRST_VERSION, tmp_path / "runs")
    return tmp_path / "runs"


def spoil(path: Path, key: str, value: str) -> None:
    """Put the text `value` in the place of the value of `key`."""
    record = json.loads(path.read_text("utf-8"))
    mark = "the value of the key"
    path.write_text(json.dumps(record | {key: mark}).replace(json.dumps(mark), value), "utf-8")


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("key", training_record.RESULT_NUMBERS)
def test_no_number_of_result_json_breaks_a_reader(key, value, runs):
    """A value is refused in one line, and is_finished is False; null stands for a value that is not known."""
    path = runs / RUN / "fold0" / "result.json"
    spoil(path, key, value)
    if value != "null":
        assert not finished_folder.is_finished(path.parent)
    with pytest.raises(FerKitError) if value != "null" else nullcontext() as told:
        training_record.read_result(path)
    assert value == "null" or str(path) in str(told.value)
    looked = progress.look(runs, Training(RUN, 0, ()))
    assert looked.state == (progress.FINISHED if value == "null" else progress.FAILED)
    assert value == "null" or looked.message.startswith(str(path))


@pytest.mark.parametrize("file", ["result.json", "env.json"])
@pytest.mark.parametrize("value", ["NaN", '"x"', "[1]"])
def test_commands_name_a_damaged_record_and_go_on(file, value, runs, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spoil(runs / RUN / "fold0" / file, "oof_log_loss" if file == "result.json" else "threads", value)
    for command, words in ((listing.main, []), (evaluate.main, [RUN]), (card.main, [RUN])):
        assert command([*words, "--runs", str(runs)]) in (0, 2)
        assert "Traceback" not in capsys.readouterr().err
    assert write_report(["--runs", str(runs)]) in (0, 2)


@pytest.mark.parametrize("content", ["-0.5", "[]", "null", '"x"'])
def test_a_record_that_is_no_object(content, runs, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (runs / RUN / "fold0" / "env.json").write_text(content)
    assert card.main([RUN, "--runs", str(runs)]) == 2
    assert "env.json: not a JSON object" in capsys.readouterr().err
    (damaged,) = [one for one in report.find(runs).folds[RUN] if one.name == "fold0"]
    assert damaged.trouble.startswith("env.json: not a JSON object") and damaged.env == {}


@pytest.mark.parametrize("value", [value for value in VALUES if value != "null"])
@pytest.mark.parametrize("key", ["epoch", "seconds", "train_loss", "watch_accuracy"])
def test_epochs_are_read_up_to_the_first_damaged_line(key, value, runs):
    path = runs / RUN / "fold0" / "metrics.jsonl"
    first = json.dumps({"epoch": 1, "seconds": 2.0, "train_loss": 1.5, "train_accuracy": None})
    path.write_text(f"{first}\n{first.replace('1, ', '2, ')}\n", "utf-8")
    lines = path.read_text("utf-8").splitlines()
    path.write_text(lines[1], "utf-8")
    spoil(path, key, value)
    path.write_text(f"{lines[0]}\n{path.read_text('utf-8')}\n{lines[1]}\n", "utf-8")
    records, damage = training_record.read_epochs(path)
    assert [one["epoch"] for one in records] == [1] and damage.startswith("line 2")
    for name in ("result.json", "oof.npz", "test.npz"):
        (runs / RUN / "fold0" / name).unlink()
    assert progress.look(runs, Training(RUN, 0, ())).epoch == 1
    (fold,) = [one for one in report.find(runs).folds[RUN] if one.name == "fold0"]
    assert "metrics.jsonl is damaged (line 2" in fold.trouble and len(fold.epochs) == 1


@pytest.mark.parametrize("content", [b"[1]\n", b"\xff\n", b"null\n", b"{}\n", b'{"epoch": true}\n'])
def test_lines_that_are_no_epochs(content, tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(content)
    records, damage = training_record.read_epochs(tmp_path / "metrics.jsonl")
    assert not records and damage
    assert training_record.read_epochs(tmp_path / "missing.jsonl") == ([], "")


def test_a_sweep_of_damaged_folds_is_shown(runs, capsys):
    plan.keep(runs, "damaged", [Training(RUN, 0, ()), Training(RUN, 1, ())], None)
    spoil(runs / RUN / "fold0" / "result.json", "oof_accuracy", '"999"')
    (runs / RUN / "fold1" / "result.json").unlink()
    (runs / RUN / "fold1" / "metrics.jsonl").write_text('{"epoch": 1, "seconds": NaN}\n')
    for words in ([], ["--json"], ["--quiet"]):
        assert sweep(["status", "--runs", str(runs), *words]) == ("--quiet" in words)  # which tells what is unfinished
    told = capsys.readouterr()
    assert "'oof_accuracy' is '999', allowed is a number" in told.out and "Traceback" not in told.err
