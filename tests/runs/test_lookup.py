"""Runs, blends and folds are found by the names that users type, and unknown names get one suggestion and one list."""

from __future__ import annotations

from pathlib import Path

import pytest

from fer_kit.errors import FerKitError
from fer_kit.runs import lookup
from fer_kit.runs.lookup import BlendFolder, FoldFolder, RunFolder
from tests.helpers import fake_runs


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs `attention` and `both`, blends `first` and `both`, all empty."""
    monkeypatch.chdir(tmp_path)
    for run in ("attention", "both"):
        for fold in ("fold0", "fold10", "fold2", "fold0+1", "foldall", "folder"):
            (tmp_path / "runs" / run / fold).mkdir(parents=True)
    for blend in ("first", "both"):
        (tmp_path / "runs" / "blends" / blend).mkdir(parents=True)
        (tmp_path / "runs" / "blends" / blend / "blend.json").write_text("{}")
    return Path("runs")


def test_names(runs):
    attention, both = RunFolder(runs, "attention"), RunFolder(runs, "both")
    assert lookup.known(runs) == ["attention", "both", "blends/both", "blends/first"]
    assert lookup.find(runs, "attention") == lookup.find_run(runs, "attention") == attention
    assert lookup.find(runs, "first") == lookup.find(runs, "blends/first") == BlendFolder(runs, "first")
    assert (lookup.find(runs, "both"), lookup.find(runs, "blends/both")) == (both, BlendFolder(runs, "both"))
    assert lookup.find(runs, "attention/fold2") == FoldFolder(attention, 2)
    assert lookup.find(runs, "attention/foldall") == FoldFolder(attention, ())
    for name in (
        "",
        "nothing",
        "blends",
        "blends/attention",
        "attention/fold1",
        "attention/folder",
        "../runs/attention",
    ):
        assert lookup.look(runs, name) is None


def test_folders_of_what_was_found(runs):
    fold = lookup.find(runs, "attention/fold0+1")
    assert isinstance(fold, FoldFolder) and fold.fold == (0, 1)
    assert (fold.name, fold.folder, fold.finished) == ("attention/fold0+1", runs / "attention" / "fold0+1", False)
    names = [one.folder.name for one in lookup.find_run(runs, "attention").folds()]
    assert names == ["fold0", "fold2", "fold10", "fold0+1", "foldall"]


def test_what_was_found_can_be_read(tmp_path):
    fake_runs.save_run(tmp_path, "run", 0)
    found = lookup.find_run(tmp_path, "run")
    assert found.status().complete and len(found.load().oof) == fake_runs.ROWS
    assert all(fold.finished for fold in found.folds())


ALL = "there are: attention, both, blends/both, blends/first"


@pytest.mark.parametrize(
    ("find", "name", "message"),
    [
        (lookup.find, "atention", f"runs: no run or blend 'atention' (did you mean 'attention'?); {ALL}"),
        (lookup.find, "frist", f"runs: no run or blend 'frist' (did you mean 'first'?); {ALL}"),
        (lookup.find, "blends/frist", f"runs: no run or blend 'blends/frist' (did you mean 'blends/first'?); {ALL}"),
        (lookup.find, "attention/fold1", "runs/attention: no fold 'fold1' (did you mean 'fold"),
        (lookup.find_whole, "both/fold2", "runs: 'both/fold2' is one fold; name the whole run, both"),
        (
            lookup.find_run,
            "atention",
            "runs: no run 'atention' (did you mean 'attention'?); there are: attention, both",
        ),
        (lookup.find_run, "both/fold2", "runs: 'both/fold2' is one fold; name the run, both, and add --fold 2"),
        (
            lookup.find_run,
            "first",
            "runs: 'first' is a blend and has no network of its own; name a run; there are: att",
        ),
    ],
)
def test_unknown_and_unfit_names(runs, find, name, message):
    with pytest.raises(FerKitError) as error:
        find(runs, name)
    assert str(error.value).startswith(message)


def test_an_empty_folder_and_an_option(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FerKitError, match="^--from: runs: no run or blend 'x'; there are no runs yet$"):
        lookup.find(Path("runs"), "x", "--from")
