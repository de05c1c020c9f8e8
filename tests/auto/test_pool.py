"""Long-lived workers, with a stub for the process that trains: one process for several trainings, and deaths."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fer_kit.auto.pool import Pool
from fer_kit.errors import FerKitError
from fer_kit.sweep.slots import on_cpu

# Answers as fer_kit.auto.worker does. A training ends with the code of its last word, and "die" ends the process.
STUB = """
import json, os, sys, time
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    order = json.loads(line)
    if order["do"] == "warm":
        refused = {"error": f"{order['recipe']} needs more memory"}
        answer = refused if order["recipe"] == "large" else {"start_seconds": 0.5}
    elif order["do"] == "go":
        answer = {"images_per_second": 100.0, "predicted_per_second": 300.0, "save_seconds": 0.1}
    else:
        last = order["words"][-1]
        with open(order["log"], "a") as log:
            print(os.getpid(), order["threads"], *order["words"], file=log)
        if last == "die":
            os._exit(9)
        if last == "hang":
            time.sleep(600)
        answer = {"code": int(last)}
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    (tmp_path / "stub_worker.py").write_text(STUB)
    environ = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    made = Pool(on_cpu(2, environ, available=2), tmp_path / "logs", module="stub_worker")
    yield made
    made.stop()


def code_of(pool: Pool, log: Path, *words: str, number: int = 0) -> int:
    with log.open("ab") as file:
        order = pool.launch(number, words, file)
    while (code := order.poll()) is None:
        time.sleep(0.005)
    assert order.poll() == code  # asked again, it says the same
    return code


def test_one_process_trains_one_fold_after_the_other(pool, tmp_path):
    log = tmp_path / "log.txt"
    assert pool.start() > 0
    assert [code_of(pool, log, "--fold", "0", "0"), code_of(pool, log, "2")] == [0, 2]
    first, second = (line.split() for line in log.read_text().splitlines())
    assert first[0] == second[0] and first[2:] == ["--fold", "0", "0"]


def test_a_worker_that_dies_is_replaced(pool, tmp_path):
    log = tmp_path / "log.txt"
    assert code_of(pool, log, "die") == 9
    assert code_of(pool, log, "0") == 0
    pids = {line.split()[0] for line in log.read_text().splitlines()}
    assert len(pids) == 2


def test_a_signal_ends_a_training(pool, tmp_path):
    with (tmp_path / "log.txt").open("ab") as file:
        order = pool.launch(1, ["hang"], file)
    assert order.poll() is None
    os.kill(order.pid, signal.SIGKILL)
    while (code := order.poll()) is None:
        time.sleep(0.005)
    assert code == -signal.SIGKILL


def test_workers_measure_together(pool, tmp_path):
    found = pool.together("small", 2, 1.0, tmp_path)
    speeds = {"images_per_second": 200.0, "predicted_per_second": 600.0}
    assert found == {**speeds, "save_seconds": 0.1, "start_seconds": 0.5}
    with pytest.raises(FerKitError, match="large needs more memory"):
        pool.together("large", 2, 1.0, tmp_path)
    assert pool.together("small", 1, 1.0, tmp_path)["images_per_second"] == 100.0
    pool.keep(1)
    assert len(pool.slots) == 1


def test_a_worker_that_cannot_start_is_told(tmp_path):
    broken = Pool(on_cpu(1, {**os.environ, "PYTHONPATH": ""}, available=1), tmp_path / "logs", module="no_such_module")
    with pytest.raises(FerKitError, match=r"a worker ended with exit code 1; see .*worker0\.txt"):
        broken.start()
    assert "no_such_module" in (tmp_path / "logs" / "worker0.txt").read_text()
    broken.stop()
