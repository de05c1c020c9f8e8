"""The runner of many trainings, with stub trainings: slots, time limits, failures, several workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fer_kit.files import lock
from fer_kit.runs import finished_folder
from fer_kit.sweep import runner, slots
from fer_kit.sweep.runner import Limits, Reporter, Runner
from fer_kit.sweep.training import Training

ROOT = Path(__file__).resolve().parents[2]

# Stands in for fer_kit.train: "epochs" of 0.1 s with the fold's lock held; $PLANS says, by fold, what goes wrong.
STUB = """
import hashlib, json, os, pathlib, signal, sys, time
from fer_kit.files import lock
words = dict(zip(sys.argv[1::1], [*sys.argv[2:], ""]))
fold, runs = words["--fold"], pathlib.Path(words["--runs"])
plan = pathlib.Path(os.environ["PLANS"])
what = (plan / fold).read_text() if (plan / fold).exists() else ""
folder = runs / "a" / f"fold{fold}"
with lock.held(folder, "another process trains this fold", 1):
    if (folder / "result.json").exists():
        sys.exit()
    folder.mkdir(parents=True, exist_ok=True)
    with (plan / "begun").open("a") as file:
        file.write(f"{fold} {os.environ.get('OMP_NUM_THREADS')} {os.environ.get('CUDA_VISIBLE_DEVICES')}\\n")
    metrics = folder / "metrics.jsonl"
    begun = len(metrics.read_text().splitlines()) if metrics.exists() else 0
    for epoch in range(begun, 5):
        if what == "fails" or (what == "fails once" and epoch == 2 and begun == 0):
            print("working"); sys.exit("error: no luck")
        if what == "kills itself" and epoch == begun + 1 and begun < 3:
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "hangs":
            time.sleep(600)
        if what == "does nothing":
            print("nothing to do"); sys.exit(0)
        if "--limit-minutes" in words and what == "stops" and epoch == 2:
            sys.exit(0)
        time.sleep(float(os.environ.get("EPOCH", "0.02")))
        with metrics.open("a") as file:
            file.write(json.dumps({"epoch": epoch + 1, "seconds": 0.02}) + "\\n")
    for name in ("oof.npz", "test.npz"):
        (folder / name).write_bytes(fold.encode())
    sha = hashlib.sha256(fold.encode()).hexdigest()
    record = {"oof_accuracy": 0.7, "oof_sha256": sha, "test_sha256": sha, "folds": 9}
    (folder / "part").write_text(json.dumps(record))
    (folder / "part").rename(folder / "result.json")
"""

WORKER = """
import sys, pathlib
from tests.sweep import test_runner
test_runner.work(pathlib.Path(sys.argv[1]), int(sys.argv[2]))
"""


def work(place: Path, count: int) -> None:
    trainings = [Training("a", fold, ("--recipe", "a")) for fold in range(count)]
    environ = {**os.environ, "PLANS": str(place / "plans"), "PYTHONPATH": f"{place}{os.pathsep}{ROOT}"}
    slot = [slots.Slot("the CPU", environ)]
    Runner(trainings, place / "runs", slot, options=["--runs", str(place / "runs")], module="stub").run()


class Bench:
    """Stub trainings in a folder of their own."""

    def __init__(self, place: Path) -> None:
        self.place, self.runs, self.plans = place, place / "runs", place / "plans"
        self.plans.mkdir()
        (place / "stub.py").write_text(STUB)
        self.told: list[str] = []
        self.lines: list[str] = []

    def environ(self, **more: str) -> dict[str, str]:
        path = f"{self.place}{os.pathsep}{ROOT}"
        return {**os.environ, "PLANS": str(self.plans), "PYTHONPATH": path, **more}

    def runner(self, count: int, at_once: int = 2, limits: Limits = runner.FOREVER, **plans: str) -> Runner:
        for fold, what in plans.items():
            (self.plans / fold.removeprefix("fold")).write_text(what)
        trainings = [Training("a", fold, ("--recipe", "a"), work=fold) for fold in range(count)]
        reporter = Reporter(self.told.append, lambda training, line: self.lines.append(f"{training} | {line}"))
        options = ["--runs", str(self.runs)]
        on = slots.on_cpu(at_once, self.environ(), available=2)
        return Runner(trainings, self.runs, on, options=options, limits=limits, reporter=reporter, module="stub")

    def begun(self) -> list[int]:
        """The folds in the order in which trainings of them began."""
        path = self.plans / "begun"
        return [int(line.split()[0]) for line in path.read_text().splitlines()] if path.exists() else []

    def worker(self, count: int, **environ: str) -> subprocess.Popen[bytes]:
        """Another worker on the same folder, in a process of its own."""
        words = [sys.executable, "-c", WORKER, str(self.place), str(count)]
        return subprocess.Popen(words, env=self.environ(**environ), cwd=ROOT, stdout=subprocess.PIPE)

    def finished(self) -> set[int]:
        return {int(path.name[4:]) for path in self.runs.glob("a/fold*") if finished_folder.is_finished(path)}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def numbers(trainings) -> list[int]:
    return sorted(training.fold for training in trainings)


def wait_until(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_all_are_trained_the_longest_first_and_one_thread_each(bench, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    outcome = bench.runner(4, at_once=2).run()
    assert numbers(outcome.finished) == [0, 1, 2, 3] and not outcome.failed and not outcome.stopped
    assert set(bench.begun()[:2]) == {3, 2} and set(bench.begun()[2:]) == {1, 0}
    assert {line.split()[1] for line in (bench.plans / "begun").read_text().splitlines()} == {"1"}
    assert any("a fold 3: finished after" in line and "70.00% out of fold" in line for line in bench.told)
    assert not list(bench.runs.glob("a/.*.lock"))


@pytest.mark.slow
def test_a_failed_fold_is_tried_again_and_then_reported_while_the_others_go_on(bench):
    outcome = bench.runner(4, fold1="fails once", fold2="fails").run()
    assert numbers(outcome.finished) == [0, 1, 3]
    assert {training.fold: line for training, line in outcome.failed.items()} == {2: "error: no luck"}
    assert bench.begun().count(1) == 2 and bench.begun().count(2) == 2
    assert "a fold 2 | working" in bench.lines
    assert any("a fold 2: FAILED with exit code 1: error: no luck" in line for line in bench.told)
    assert any("a fold 1: starts on the CPU, resumed after epoch 2" in line for line in bench.told)


@pytest.mark.slow
def test_what_failed_is_left_alone_until_it_is_asked_for_again(bench):
    bench.runner(1, fold0="fails").run()
    assert numbers(bench.runner(1, fold0="").run().failed) == [0]
    again = bench.runner(1)
    runner.forget_failures(bench.runs, again.waiting)
    assert numbers(again.run().finished) == [0]


@pytest.mark.slow
def test_a_child_that_is_killed_goes_on_as_long_as_it_gets_further(bench):
    outcome = bench.runner(1, fold0="kills itself").run()
    assert numbers(outcome.finished) == [0]
    assert bench.begun() == [0] * 4  # killed three times, one epoch further each time
    assert any("ended with signal SIGKILL" in line for line in bench.told)


@pytest.mark.slow
def test_at_the_time_limit_children_are_ended_and_nothing_more_begins(bench):
    began = time.monotonic()
    outcome = bench.runner(3, at_once=1, limits=Limits(began + 3), fold2="hangs").run()
    assert time.monotonic() - began < 30
    assert numbers(outcome.stopped) == [0, 1, 2] and not outcome.failed
    assert any("a fold 0: no time left to begin" in line for line in bench.told)


def test_a_child_that_stops_by_itself_at_the_limit_is_stopped_and_not_failed(bench):
    outcome = bench.runner(1, limits=Limits(time.monotonic() + 600), fold0="stops").run()
    assert numbers(outcome.stopped) == [0] and not outcome.failed
    assert any("stopped at the time limit after epoch 2" in line for line in bench.told)


def test_a_child_that_exits_without_an_epoch_although_time_is_left_has_failed(bench):
    outcome = bench.runner(1, limits=Limits(time.monotonic() + 600), fold0="does nothing").run()
    assert list(outcome.failed.values()) == ["nothing to do"] and not outcome.stopped
    assert bench.begun() == [0, 0]


def test_an_interrupt_ends_the_children_and_the_next_worker_goes_on(bench):
    asked = bench.runner(2, at_once=2, fold0="hangs", fold1="hangs")

    def interrupt() -> None:
        if len(bench.begun()) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asked.run(interrupt)
    assert not asked.running and not any(lock.is_held(bench.runs / "a" / f"fold{fold}") for fold in range(2))
    assert numbers(bench.runner(2, fold0="", fold1="").run().finished) == [0, 1]


@pytest.mark.slow
@pytest.mark.parametrize("locks", ["flock", "files"])
def test_several_workers_share_the_folds_when_one_is_killed_and_one_joins_late(bench, locks, monkeypatch):
    """Twelve folds, each trained once: that of the killed worker by its orphan, or by another worker."""
    monkeypatch.setenv(lock.VARIABLE, locks)
    first, killed = (bench.worker(12, EPOCH="0.1") for _ in range(2))
    wait_until(lambda: len(bench.begun()) >= 2)
    late = bench.worker(12, EPOCH="0.1")
    killed.send_signal(signal.SIGKILL)
    for process in (first, late):
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0, out
    killed.communicate()
    assert bench.finished() == set(range(12))
    assert sorted(bench.begun()) == list(range(12))


def test_an_orphan_is_waited_for(bench):
    """A worker leaves a fold that somebody else trains, and comes back to it."""
    folder = bench.runs / "a" / "fold0"
    asked = bench.runner(2, at_once=1)
    with lock.held(folder, ""):

        def others_done() -> None:
            if numbers(asked.outcome.finished) == [1]:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            asked.run(others_done)
    assert "a fold 0: another process trains it" in bench.told
    assert numbers(bench.runner(2, at_once=1).run().finished) == [0, 1]


def test_slots_share_cores_and_gpus():
    assert [slot.environ["OMP_NUM_THREADS"] for slot in slots.on_cpu(2, {}, 8)] == ["4", "4"]
    gpus = slots.on_gpus(["A", "B"], 3, {"CUDA_VISIBLE_DEVICES": "2,3"}, 8)
    assert [slot.environ["CUDA_VISIBLE_DEVICES"] for slot in gpus] == ["2", "3", "2"]
    assert gpus[1].name == "GPU 1 (B)"


def test_a_failure_record_names_the_host_and_the_last_line(bench):
    bench.runner(1, fold0="fails").run()
    record = json.loads((bench.runs / "sweeps/failed/a-fold0.json").read_text())
    assert record["last_line"] == "error: no luck" and record["how"] == "exit code 1" and record["host"]
