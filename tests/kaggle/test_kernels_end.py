"""The end of a session: what is saved last, the exit code that lets Kaggle keep it, and what the log says."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from fer_kit.errors import FerKitError
from fer_kit.sweep.runner import Outcome
from fer_kit.sweep.training import Training
from kernels.inside import archive, manifest, saving, session
from kernels.inside.devices import Found, Gpu
from kernels.inside.settings import Places, Settings
from tests.helpers import fake_runs
from tests.helpers.pushed_kernels import RUN, full_disk, save_runs

GPU = Gpu("Tesla T4", 14.7, "fp16")
TWO = Found((GPU, GPU), "Xeon", "fp32", 4, "2.10.0")
VALUES = dict.fromkeys(field.name for field in fields(Settings)) | {
    "recipe": "baseline_v1",
    "folds": [0, 1, 2],
    "set": ["epochs=1"],
    "tag": "small",
    "limit_minutes": 500.0,
    "compile": False,
    "run_id": "mine",
    "bundle_sha256": "0" * 64,
    "commit": "tests",
    "folds_table": "",
    "wandb": "off",
    "more": [],
}
SETTINGS = Settings(**{**VALUES, "folds": (0, 1, 2), "set": ("epochs=1",)})
OUTCOME = Outcome([Training(RUN, 0, ())], [Training(RUN, 1, ())], {Training(RUN, 2, ()): "nan"})

# Stand where `python -m fer_kit.train` is looked for.
ONE_FAILS = """
import os, pathlib, shutil, sys
fold = sys.argv[sys.argv.index("--fold") + 1]
if fold == "2":
    sys.exit("error: the loss of epoch 3 is nan")
shutil.copytree(pathlib.Path(os.environ["MADE"]) / f"fold{fold}", f"runs/baseline_v1-small/fold{fold}")
"""
LONG = """
import os, pathlib, sys, time
pathlib.Path(os.environ["MADE"], "begun").touch()
time.sleep(600)
"""


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], int]]:
    """Run the whole session on two GPUs that are not there, with another program in place of fer_kit.train."""
    made = save_runs(tmp_path / "made") / RUN
    code, output, scratch = tmp_path / "code/fer_kit", tmp_path / "working", tmp_path / "tmp"
    for folder in (code, output, scratch):
        folder.mkdir(parents=True)
    (code / "__init__.py").touch()
    monkeypatch.setenv("MADE", str(made))
    monkeypatch.setenv(session.WORKING_VARIABLE, str(output))
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setattr(session, "find_device", lambda *_: TWO)
    monkeypatch.setattr(session, "find_data", lambda inputs: inputs)
    folds = fake_runs.TABLE
    monkeypatch.setattr(session, "make_folds", lambda _, places, __: (places.runs / "folds.csv").write_bytes(folds))
    before = signal.getsignal(signal.SIGTERM)

    def run(program: str) -> int:
        (code / "train.py").write_text(program)
        return session.main(VALUES, code.parent)

    yield run
    signal.signal(signal.SIGTERM, before)


def test_a_fold_that_fails_does_not_cost_the_others(train, tmp_path, capsys, monkeypatch):
    assert train(ONE_FAILS) == 0
    told = manifest.read(tmp_path / "working")
    assert (told.final, told.finished, told.stopped, told.failed) == (True, (0, 1), (), (2,))
    archive.unpack(manifest.check_archive(tmp_path / "working", told), tmp_path / "back", RUN)
    assert (tmp_path / "back" / RUN / "fold1/result.json").exists()
    monkeypatch.delattr(tarfile, "data_filter", raising=False)  # as on Python before 3.11.4
    archive.unpack(manifest.check_archive(tmp_path / "working", told), tmp_path / "older", RUN)
    assert (tmp_path / "older" / RUN / "fold1/result.json").exists()
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].endswith(f"result   {RUN} fold 2 FAILED: error: the loss of epoch 3 is nan")
    assert lines[-1].endswith(f"FAILED   1 of 3 folds: {RUN} fold 2")
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.slow
def test_a_session_that_is_ended_keeps_what_it_saved(train, tmp_path, capsys):
    begun = tmp_path / "made" / RUN / "begun"

    def end() -> None:
        for _ in range(1200):
            if begun.exists():
                return os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.05)
        return None

    other = threading.Thread(target=end, daemon=True)
    other.start()
    assert train(LONG) == 0
    other.join()
    told = manifest.read(tmp_path / "working")
    assert (told.final, told.finished, told.stopped) == (True, (), (0, 1, 2))
    assert "stopped by a signal: 0, 1, 2; continue with python -m kernels push --resume" in capsys.readouterr().out


def test_where_nothing_could_be_saved_the_script_fails(train, monkeypatch, capsys):
    def full(*_: object) -> tuple[str, ...]:
        raise FerKitError("/kaggle/working/runs-1.tar: cannot be written (No space left on device)")

    monkeypatch.setattr(saving, "_replace", full)
    assert train(ONE_FAILS) == 1
    told = capsys.readouterr().out
    assert "error    the last save failed: /kaggle/working/runs-1.tar: cannot" in told
    assert told.endswith("error    nothing was saved\n")


def test_a_folder_that_cannot_be_removed_does_not_cost_the_output(train, tmp_path, monkeypatch):
    rmdir = os.rmdir

    def busy(path: str, **where: int) -> None:
        if Path(path).name.startswith("fer_kit-work-"):
            raise OSError(errno.ENOTEMPTY, "Directory not empty")
        rmdir(path, **where)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rmdir", busy)
        assert train(ONE_FAILS) == 0
    assert list((tmp_path / "tmp").iterdir())


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """Folders with a finished fold, and one that has stopped with a checkpoint of 3 MB."""
    found = Places(tmp_path, tmp_path / "working", tmp_path / "work", tmp_path)
    found.output.mkdir()
    save_runs(found.runs, finished=(0,), unfinished=(1,))
    (found.runs / RUN / "fold1/last.pt").write_bytes(b"0" * 3_000_000)
    (found.runs / RUN / "fold0/model.safetensors").write_bytes(b"0" * 1_000_000)
    return found


def save(places: Places, final: bool) -> tuple[str, ...]:
    return saving.save_output(SETTINGS, places, {RUN: SETTINGS.runs[0]}, "2 × T4", OUTCOME, final)


def names_in_the_archive(output: Path) -> set[str]:
    """Names of files in the only archive of the output, which its manifest describes."""
    [path] = output.glob("runs-*")
    with tarfile.open(manifest.check_archive(output, manifest.read(output))) as tar:
        assert Path(str(tar.name)) == path
        return {name.rpartition("/")[2] for name in tar.getnames()}


def test_an_earlier_save_counts_where_the_last_one_fails(places, tmp_path, capsys):
    assert session.exit_code(places.output, "mine") == 1
    save(places, final=False)
    capsys.readouterr()
    assert session.exit_code(places.output, "mine") == 0
    told = capsys.readouterr().out
    assert f"error    the output is that of {manifest.read(places.output).written}, with the finished folds" in told
    assert f"{RUN} 0; it is downloaded with python -m kernels fetch --partial" in told
    assert session.exit_code(places.output, "another") == 1
    save(places, final=True)
    capsys.readouterr()
    assert session.exit_code(places.output, "mine") == 0 and not capsys.readouterr().out
    (places.output / "runs-2.tar").write_bytes(b"half")
    assert session.exit_code(places.output, "mine") == 1


def test_a_fault_of_the_session_stops_the_folds_and_what_finished_is_saved(capsys):
    class Runner:
        outcome, running = Outcome([Training(RUN, 0, ())]), [object()]

        def run(self, meanwhile: Callable[[], None]) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    runner, before = Runner(), signal.getsignal(signal.SIGTERM)
    try:
        why = session.train(runner, [Training(RUN, fold, ()) for fold in range(3)], lambda: None)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert why == "by an error" and saving.numbers(runner.outcome.stopped, RUN) == (1, 2)
    assert "error    [Errno 28] No space left on device" in capsys.readouterr().out


@contextlib.contextmanager
def disk_of(places: Places, room: int) -> Iterator[None]:
    """A disk that has room for archives of so many bytes; a manifest there must always name a whole archive."""

    def full(tar: tarfile.TarFile, source: Path) -> bool:
        if (places.output / manifest.NAME).exists():
            manifest.check_archive(places.output, manifest.read(places.output))
        used = sum(path.stat().st_size for path in places.output.glob("runs-*.tar"))
        return used + tar.offset + source.stat().st_size > room

    with full_disk(full):
        yield


def test_the_last_save_takes_the_room_of_the_one_before(places, capsys):
    """Two whole archives have 8.3 MB, a whole one and one without checkpoints 5.4 MB."""
    with disk_of(places, 6_000_000):
        assert save(places, final=False) == ()
        assert save(places, final=True) == ()
    assert {"last.pt", "model.safetensors", "oof.npz"} <= names_in_the_archive(places.output)
    assert manifest.read(places.output).final
    told = capsys.readouterr().out
    assert "is full; saving without last.pt" in told and "trying once more with last.pt" in told


def test_where_that_fails_too_the_smaller_archive_stays(places, capsys):
    with disk_of(places, 6_000_000):
        save(places, final=False)
        (places.runs / RUN / "fold1/last.pt").write_bytes(b"0" * 5_000_000)
        assert save(places, final=True) == ("last.pt",)
    names = names_in_the_archive(places.output)
    assert "model.safetensors" in names and "last.pt" not in names and manifest.read(places.output).final
    assert "warning  saved without last.pt: " in capsys.readouterr().out


def test_a_save_before_the_last_leaves_the_checkpoints_out_as_before(places):
    with disk_of(places, 6_000_000):
        assert [save(places, final=False) for _ in range(3)] == [(), ("last.pt",), ()]


def test_an_archive_without_a_manifest_does_not_fill_the_disk(places, monkeypatch):
    save(places, final=False)

    def full(*_: object) -> None:
        raise FerKitError("manifest.json: cannot be written (No space left on device)")

    with monkeypatch.context() as patch:
        patch.setattr(manifest, "write", full)
        with pytest.raises(FerKitError):
            save(places, final=True)
    assert sorted(path.name for path in places.output.iterdir()) == ["manifest.json", "runs-1.tar"]


@pytest.mark.parametrize(
    ("left_out", "stopped", "warned"),
    [
        ((), "continue with python -m kernels push --resume", False),
        (("last.pt",), "last.pt had no room in the archive, so .* push --resume trains them from the beginning", False),
        (("last.pt", "model.safetensors"), "last.pt had no room in the archive", True),
    ],
)
def test_the_log_says_what_is_left_out(left_out, stopped, warned, capsys):
    session.tell(OUTCOME, [RUN], "at the limit", left_out)
    told = capsys.readouterr().out
    assert re.search(f"stopped at the limit: 1; {stopped}", told)
    assert ("warning  model.safetensors had no room in the archive either" in told) is warned


def test_the_script_that_unpacks_the_package_does_not_mind_either():
    template = Path(session.__file__).parents[1] / "script_template.py"
    assert 'prefix="fer_kit-code-", ignore_cleanup_errors=True' in template.read_text()
