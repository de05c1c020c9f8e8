"""--json prints one JSON value, --quiet prints no text, and the exit code of a status tells whether it is final."""

from __future__ import annotations

import json
import re

import pytest

from fer_kit.evaluate import __main__ as evaluate
from fer_kit.folds import __main__ as folds_command
from fer_kit.listing import runs as runs_command
from fer_kit.runs import ledger
from fer_kit.sweep import __main__ as sweep
from fer_kit.sweep import plan
from fer_kit.sweep.plan import SweepRequest
from submissions import __main__ as submissions
from submissions import status
from tests.docs.pages import ROOT, rows
from tests.helpers import fake_runs
from tests.helpers.fake_runs import TEST_ROWS
from tests.helpers.fake_submissions import save_entry

WITH_DATA = ("blend", "evaluate", "folds", "runs", "submissions check", "submissions status", "sweep status")


@pytest.fixture
def two(tmp_path, monkeypatch):
    """Two runs in ./runs, no data in reach."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FER_KIT_DATA", raising=False)
    fake_runs.save_run(tmp_path / "runs", "strong", seed=2, skill=2.5)
    fake_runs.save_run(tmp_path / "runs", "weak", seed=1, skill=1.0)
    return tmp_path / "runs"


def both(capsys, main, *words):
    """The value of --json, and stdout, stderr and exit code of --quiet."""
    assert main([*words, "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    code = main([*words, "--quiet"])
    return value, *capsys.readouterr(), code


def test_evaluate(two, capsys):
    value, out, _, code = both(capsys, evaluate.main, "strong", "weak", "--no-pictures", "--out", "out")
    assert (out, code) == ("", 0)
    assert value == {"file": "out/evaluate.json", **json.loads((two.parent / "out/evaluate.json").read_text())}
    assert [source["name"] for source in value["sources"]] == ["strong", "weak"]


def test_evaluate_in_short(two, capsys):
    assert evaluate.main(["weak", "strong", "--no-pictures", "--out", "out"]) == 0
    head, _, first, second, difference, *rest = capsys.readouterr().out.splitlines()
    assert head.split() == ["out", "of", "fold", "accuracy", "95%", "interval", "±", "folds", "rows"]
    assert first.split()[0] == "strong" and second.split()[0] == "weak"
    assert re.match(r"'strong' against 'weak': \+[\d.]+ ± [\d.]+ points, more than chance \(p ", difference)
    assert rest[-1] == "next: python -m submissions build strong" and len(rest) == 3
    assert evaluate.main(["weak", "--no-pictures", "--out", "out"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"^weakest class: \w+, recall [\d.]+%, most often taken for \w+ ", told, re.MULTILINE)


def test_runs(two, capsys):
    value, out, _, code = both(capsys, runs_command.main)
    assert [one["run"] for one in value] == ["strong", "weak"] and (out, code) == ("strong\nweak\n", 0)
    assert runs_command.main(["--delete", "weak", "--quiet"]) == 2


@pytest.mark.slow
def test_folds(competition_dir, runs_dir, capsys):
    words = ("--data", str(competition_dir), "--runs", str(runs_dir), "--folds", "3", "--method", "exact")
    capsys.readouterr()
    value, out, _, code = both(capsys, folds_command.main, *words)
    kept = json.loads((runs_dir / "folds.json").read_text())
    assert value == {"file": str(runs_dir / "folds.csv"), "unchanged": True, **kept} and (out, code) == ("", 0)


def test_submissions_check(here, capsys):
    (here / "x.csv").write_text("3\n" * TEST_ROWS)
    value, out, error, code = both(capsys, submissions.main, "check", "x.csv")
    assert (value["rows"], value["classes"]["Happy"], len(value["warnings"])) == (TEST_ROWS, TEST_ROWS, 1)
    assert (out, error, code) == ("", "", 0)
    (here / "x.csv").write_text("9\n")
    assert submissions.main(["check", "x.csv", "--quiet"]) == 2


@pytest.mark.parametrize(("state", "waits"), [("complete", 0), ("error", 0), ("pending", 1), ("uploading", 1)])
def test_submissions_status(here, capsys, monkeypatch, state, waits):
    (here / "x.csv").write_text("3\n")
    save_entry(here / "submissions/ledger.csv", here / "x.csv", status=state)
    monkeypatch.setattr(status, "_refresh", lambda client, path, known: ledger.read(path))
    value, out, _, code = both(capsys, submissions.main, "status")
    assert [entry["status"] for entry in value["entries"]] == [state] and (out, code) == ("", waits)


def test_sweep_status(two, capsys):
    (two / "folds.csv").write_bytes(fake_runs.TABLE)
    trainings = plan.trainings_of(SweepRequest(recipes=("vgg_small",), folds="0-1"), two)
    plan.keep(two, "first", trainings, None)
    value, out, _, code = both(capsys, sweep.main, "status")
    assert [sorted(one) for one in value] == [["sweep", "trainings"]] and (out, code) == ("", 1)
    assert [(one["run"], one["fold"], one["state"]) for one in value[0]["trainings"]] == [
        ("vgg_small", "0", "waiting"),
        ("vgg_small", "1", "waiting"),
    ]
    assert not sweep.pending([{"trainings": [{"state": "finished"}]}])


def test_the_page_lists_every_command_with_data():
    listed = [cells[0] for cells in rows(ROOT / "docs/output.md", "| command | `--json` | `--quiet` |")]
    for name in WITH_DATA:
        assert any(cell.startswith(f"`fer-kit {name}") for cell in listed), name
