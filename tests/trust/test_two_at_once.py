"""Two processes at the same thing: one wins, the other says so in one line and changes nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fer_kit.errors import FerKitError
from fer_kit.files import atomic, exclusive, lock
from fer_kit.folds import __main__ as folds_command
from fer_kit.folds import table as fold_files
from fer_kit.runs import finished_folder, folders, ledger
from kernels import push_log
from tests.helpers import fake_runs
from tests.helpers.fake_runs import TEST_ROWS
from tests.helpers.fake_submissions import run
from tests.helpers.fetching import refused
from tests.helpers.pushed_kernels import RUN

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 120  # for a process to begin on a machine that has much else to do


def start(*argv: str, cwd: Path | None = None, **environ: str) -> subprocess.Popen[str]:
    """A process of its own: `python argv`."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), **environ}
    return subprocess.Popen(
        [sys.executable, *argv], cwd=cwd, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def ends(*processes: subprocess.Popen[str]) -> tuple[str, str]:
    """What the winner printed, and the one line of the other."""
    told = [(process, *process.communicate(timeout=PATIENCE_SECONDS)) for process in processes]
    [(_, won, _)] = [one for one in told if one[0].returncode == 0]
    [(_, _, lost)] = [one for one in told if one[0].returncode == 2]
    assert lost.count("\n") == 1 and lost.startswith("error: "), lost
    return won, lost


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


HOLD = "import sys, time, pathlib; from fer_kit.files import lock; path = pathlib.Path(sys.argv[1]);"
HOLD += " hold = lock.held(path, '')"


# --- the lock itself -------------------------------------------------------------------------------------------------


def test_the_second_is_told_who_holds_it_and_a_kill_lets_go(tmp_path):
    guarded = tmp_path / "run" / "fold0"
    other = start("-c", f"{HOLD}; hold.__enter__(); print('held', flush=True); time.sleep(600)", str(guarded))
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(FerKitError) as caught, lock.held(guarded, "another process trains this fold"):
            pass
        begin = (
            f"{guarded}: another process trains this fold; try again when that process ends (process {other.pid} on "
        )
        assert str(caught.value).startswith(begin) and str(caught.value).endswith(" UTC)")
    finally:
        other.kill()
        other.communicate()
    assert (guarded.parent / ".fold0.lock").exists()  # what the kill left behind stops nobody
    with lock.held(guarded, ""):
        pass
    assert not list(guarded.parent.iterdir())


def test_a_lock_leaves_nothing_behind_and_keeps_what_was_made_below_it(tmp_path):
    with lock.held(tmp_path / "a" / "b" / "c", ""):
        pass
    assert not (tmp_path / "a").exists()
    with lock.held(tmp_path / "a" / "b" / "c", ""):
        (tmp_path / "a" / "kept").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "kept"]


def test_a_lock_whose_file_was_removed_is_taken_again_or_lost(tmp_path):
    guarded = tmp_path / "fold0"
    with lock.held(guarded, "") as first:
        assert first.still_held()
        (tmp_path / ".fold0.lock").unlink()
        assert first.still_held()  # nobody had taken it
        with pytest.raises(FerKitError), lock.held(guarded, "held"):
            pass
        (tmp_path / ".fold0.lock").unlink()
        with lock.held(guarded, ""):
            assert not first.still_held()
    assert not list(tmp_path.iterdir())


def test_a_forked_child_does_not_hold_the_lock_on(tmp_path):
    guarded = tmp_path / "fold0"
    child = "(os.fork() == 0 and time.sleep(600)) or print('held', flush=True) or time.sleep(600)"
    program = f"import os; {HOLD}; hold.__enter__(); os.setpgid(0, 0); {child}"
    other = start("-c", program, str(guarded))
    try:
        assert other.stdout.readline() == "held\n"
        other.kill()  # the parent alone
        other.wait()
        with lock.held(guarded, "held on by the child", patience_seconds=10):
            pass
    finally:
        os.killpg(other.pid, signal.SIGKILL)
        other.communicate()


def test_without_flock_a_file_with_a_heartbeat_is_the_lock(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    guarded = tmp_path / "run" / "fold0"
    with lock.held(guarded, "") as mine:
        assert mine.still_held() and lock.is_held(guarded)
        with pytest.raises(FerKitError, match=rf"busy; try again when .*\(process {os.getpid()} on "):
            lock.held(guarded, "busy").__enter__()
    assert not lock.is_held(guarded) and not list(tmp_path.iterdir())


def test_a_file_lock_is_taken_over_from_a_dead_process_and_from_a_silent_host(tmp_path, monkeypatch):
    monkeypatch.setenv(lock.VARIABLE, lock.FILES)
    guarded, file = tmp_path / "fold0", tmp_path / ".fold0.lock.held"
    other = start("-c", f"{HOLD}; hold.__enter__(); print('held', flush=True); time.sleep(600)", str(guarded))
    try:
        assert other.stdout.readline() == "held\n"
        assert lock.take(guarded) is None
        record = json.loads(file.read_text())
    finally:
        other.kill()
        other.communicate()
    with lock.held(guarded, "") as mine:  # at once: its process has ended
        file.unlink()
        assert mine.still_held() and lock.take(guarded) is None  # taken again
        file.write_text(json.dumps(record | {"place": "elsewhere"}))
        assert not mine.still_held()
    assert lock.take(guarded) is None  # of another host, with a fresh heartbeat
    long_ago = file.stat().st_mtime - 2 * exclusive.STALE_SECONDS
    os.utime(file, (long_ago, long_ago))
    with lock.held(guarded, ""):
        assert json.loads(file.read_text())["pid"] == os.getpid()
    assert not list(tmp_path.iterdir())


def test_a_file_lock_beats(tmp_path, monkeypatch):
    monkeypatch.setenv(lock.VARIABLE, lock.FILES)
    program = f"from fer_kit.files import exclusive; exclusive.HEARTBEAT_SECONDS = 0.05; {HOLD}; hold.__enter__()"
    other = start("-c", f"{program}; print('held', flush=True); time.sleep(600)", str(tmp_path / "x"))
    try:
        assert other.stdout.readline() == "held\n"
        file = tmp_path / ".x.lock.held"
        os.utime(file, (1, 1))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while file.stat().st_mtime < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        other.kill()
        other.communicate()


def test_a_lock_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FerKitError, match="fold0.lock: cannot be written .*; a file has the name of a folder"):
        lock.held(tmp_path / "file" / "fold0", "").__enter__()


# --- commands --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_fold_makers(competition_dir, tmp_path):
    place = ["--data", str(competition_dir), "--runs", str(tmp_path / "runs"), "--folds", "3", "--method", "exact"]
    makers = [start("-m", "fer_kit.folds", *place, "--seed", seed) for seed in ("0", "1")]
    won, lost = ends(*makers)
    table = fold_files.read(tmp_path / "runs/folds.csv")
    assert atomic.read_json(tmp_path / "runs/folds.json")["digest"] == table.digest
    assert f"digest {table.digest[:12]}" in won
    assert "another process makes folds" in lost or "holds other folds than these" in lost
    assert not [path for path in (tmp_path / "runs").iterdir() if path.name.startswith(".")]


def test_a_fold_maker_while_another_is_at_it(runs_dir, competition_dir, capsys):

    before = (runs_dir / "folds.csv").read_bytes()
    with lock.held(runs_dir / "folds.csv", ""):
        assert (
            folds_command.main(["--data", str(competition_dir), "--runs", str(runs_dir), "--force", "--seed", "1"]) == 2
        )
    assert "folds.csv: another process makes folds or fetches here; try again when" in capsys.readouterr().err
    assert (runs_dir / "folds.csv").read_bytes() == before


@pytest.mark.slow
def test_two_blends_of_one_name(tmp_path, capsys):
    for seed, name in enumerate(("a", "b", "c")):
        fake_runs.save_run(tmp_path / "runs", name, seed=seed)
    members = [("a", "b"), ("a", "c")]
    blends = [
        start("-m", "ensembles.blend", "x", "--no-pictures", "--method", "mean", "--members", *two, cwd=tmp_path)
        for two in members
    ]
    _, lost = ends(*blends)
    assert "blends/x: another process makes this blend; try" in lost or "blends/x: holds another blend (mean" in lost
    assert folders.load_blend(tmp_path / "runs", "x").record.name == "x"

    from ensembles import blend

    with lock.held(tmp_path / "runs/blends/y-twins", ""):
        options = ["--runs", str(tmp_path / "runs"), "--method", "mean", "--twins", "exact", "--members", "a", "b"]
        assert blend.main(["y", *options]) == 2
    assert "blends/y-twins: another process makes this blend; try again when" in capsys.readouterr().err
    assert folders.list_blends(tmp_path / "runs") == ["x"]


@pytest.mark.slow
def test_two_uploads_of_one_file(kaggle_site, here, capsys, monkeypatch):
    kaggle_site.cli_environ(monkeypatch)
    fake_runs.save_run(here / "runs", "a", seed=1)
    assert run(capsys, "build", "a")[0] == 0
    program = f"""
import sys
from submissions import __main__, check
check.COMPETITION_ROWS = {TEST_ROWS}
sys.exit(__main__.main(["upload", "submissions/2030-01-02-a.csv", "-m", "a try", "--yes"]))
"""
    uploads = [start("-c", program, cwd=here, **kaggle_site.environ) for _ in range(2)]
    won, lost = ends(*uploads)
    assert "uploaded  entry 50000001" in won
    allowed = (
        "changed while the command waited for an answer; ",
        "uploaded already, at ",
        "another upload is under way",
    )
    assert any(words in lost for words in (*allowed, "may still arrive")), lost
    assert len(kaggle_site.submissions) == 1
    [entry] = ledger.read(here / "submissions/ledger.csv")
    assert entry.ref == "50000001"


def test_two_pushes_recorded_at_once(tmp_path):
    program = """
import dataclasses, sys
from pathlib import Path
from kernels import push_log
from tests.helpers.pushed_kernels import entry
for number in range(10):
    push_log.put(Path("."), dataclasses.replace(entry(), run_id=f"{sys.argv[1]}-{number}"))
"""
    for process in [start("-c", program, name, cwd=tmp_path) for name in ("a", "b")]:
        assert process.communicate(timeout=PATIENCE_SECONDS)[1] == ""
    assert len(push_log.read(tmp_path)) == 20


@pytest.mark.usefixtures("direct")
def test_a_fetch_into_a_fold_that_is_being_trained(capsys):
    with lock.held(folders.fold_folder("runs", RUN, 1), ""):
        assert f"runs/{RUN}/fold1: another process trains or fetches this fold; try again" in refused(capsys)
    with lock.held(Path("runs/folds.csv"), ""):
        assert "runs/folds.csv: another process makes folds or fetches here; try again when" in refused(capsys)


def test_two_downloads_into_one_folder(tmp_path, capsys):
    from fer_kit import download

    with lock.held(tmp_path / "data/.download", ""):
        assert download.main(["--out", str(tmp_path / "data")]) == 2
    assert "another process downloads into this folder; try again when that process ends" in capsys.readouterr().err


TRAIN = [
    "--recipe",
    "baseline_v1",
    "--set",
    "epochs=2",
    "batch_size=64",
    "--tag",
    "t",
    "--device",
    "cpu",
    "--fold",
    "1",
]


@pytest.fixture
def training(competition_dir: Path, runs_dir: Path) -> list[str]:
    return [*TRAIN, "--data", str(competition_dir), "--runs", str(runs_dir)]


@pytest.mark.slow
def test_two_trainings_of_one_fold(training, runs_dir, capsys):
    from fer_kit.train import __main__ as train

    folder = runs_dir / "baseline_v1-t" / "fold1"
    program = f"""
import time
from fer_kit.train import fold
from fer_kit.train import __main__ as train
whole = fold.save
def save(*args):
    whole(*args)
    time.sleep(600)
fold.save = save
train.main({training!r})
"""
    first = start("-c", program)
    try:
        wait_for(folder / "metrics.jsonl")
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        for flag in ("--resume", "--restart"):
            assert train.main([*training, flag]) == 2
            error = capsys.readouterr().err
            assert (
                f"fold1: another process trains this fold; try again when that process ends (process {first.pid} on"
                in error
            )
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    finally:
        first.kill()
        first.communicate()
    assert train.main([*training, "--resume"]) == 0  # the killed one's lock is nobody's
    assert "after epoch 1 of 2" in capsys.readouterr().out
    assert finished_folder.is_finished(folder)
    assert json.loads((folder / "result.json").read_text())["epochs_trained"] == 2
    assert not (folder.parent / ".fold1.lock").exists()
