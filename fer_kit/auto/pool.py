"""Long-lived workers (see `worker`): one process a slot, which measures and then trains one fold after the other."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from fer_kit import programs
from fer_kit.errors import FerKitError
from fer_kit.sweep.runner import Process, end
from fer_kit.sweep.slots import Slot, cores

MOST_START_SECONDS = 600.0
POLL_SECONDS = 0.02


class Worker:
    """One process, and the answers that it has sent."""

    def __init__(self, slot: Slot, log: Path, module: str) -> None:
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                programs.python("-u", "-m", module),
                env=programs.environ(slot.environ),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                process_group=0,  # Ctrl-C reaches the parent alone, which ends its workers in order
            )
        self.log = log
        self.ready = False
        self._partial = b""
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)

    def order(self, **order: Any) -> None:
        """Send an order."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):  # the worker has died; `answer` tells
            self.process.stdin.write(json.dumps(order).encode() + b"\n")
            self.process.stdin.flush()

    def answer(self) -> dict[str, Any] | None:
        """The next answer, if there is one; the first one of a process, that it is ready, is not handed out."""
        assert self.process.stdout is not None
        with contextlib.suppress(BlockingIOError):
            self._partial += self.process.stdout.read() or b""
        while b"\n" in self._partial:
            line, _, self._partial = self._partial.partition(b"\n")
            record: dict[str, Any] = json.loads(line)
            if not record.pop("ready", False):
                return record
            self.ready = True
        return None

    def wait(self, seconds: float) -> dict[str, Any]:
        """The next answer.

        Raises:
            FerKitError: the process ended or refused the order, or `seconds` are over.
        """
        deadline = time.monotonic() + seconds
        while True:
            ended = self.process.poll() is not None
            if (record := self.answer()) is not None:
                break
            if ended:
                raise FerKitError(f"a worker ended with exit code {self.process.returncode}; see {self.log}")
            if time.monotonic() > deadline:
                raise FerKitError(f"a worker gave no answer for {seconds:.0f} s; see {self.log}")
            time.sleep(POLL_SECONDS)
        if "error" in record:
            raise FerKitError(record["error"])
        return record

    def close(self) -> None:
        """End the process once its order is done."""
        for file in (self.process.stdin, self.process.stdout):
            if file is not None:
                with contextlib.suppress(OSError):
                    file.close()


class Order:
    """A training by a worker, as the runner sees it."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._code: int | None = None

    @property
    def pid(self) -> int:
        """Of the worker."""
        return self._worker.process.pid

    def poll(self) -> int | None:
        """The exit code of the training; None while it runs."""
        if self._code is None:
            ended = self._worker.process.poll()
            answer = self._worker.answer()
            if answer is not None:
                self._code = answer.get("code", 1)
            elif ended is not None:
                self._code = ended or 1
        return self._code


class Pool:
    """A worker for each slot, started when it is needed first. module: another program in its place, for tests."""

    def __init__(self, slots: Sequence[Slot], logs: Path, module: str = "fer_kit.auto.worker") -> None:
        self.slots, self.logs, self.module = list(slots), logs, module
        self.logs.mkdir(parents=True, exist_ok=True)
        self.at_once = len(slots)
        self._workers: dict[int, Worker] = {}

    def start(self) -> float:
        """Start all workers; the seconds until each of them has imported torch.

        Raises:
            FerKitError: a worker cannot start.
        """
        began = time.monotonic()
        workers = [self.worker(number) for number in range(len(self.slots))]
        while not all(worker.ready for worker in workers):
            for worker in workers:
                if worker.answer() is None and not worker.ready and worker.process.poll() is not None:
                    raise FerKitError(f"a worker ended with exit code {worker.process.returncode}; see {worker.log}")
            time.sleep(POLL_SECONDS)
        return time.monotonic() - began

    def worker(self, number: int) -> Worker:
        """The worker of slot `number`; a new one where the last one has ended."""
        old = self._workers.get(number)
        if old is None or old.process.poll() is not None:
            if old is not None:
                old.close()
            self._workers[number] = Worker(self.slots[number], self.logs / f"worker{number}.txt", self.module)
        return self._workers[number]

    def threads(self, at_once: int) -> int:
        """Threads of each of `at_once` processes."""
        given = self.slots[0].environ.get("OMP_NUM_THREADS", "")
        return int(given) if os.environ.get("OMP_NUM_THREADS") and given.isdigit() else max(1, cores() // at_once)

    def together(self, recipe: str, at_once: int, seconds: float, folder: Path) -> dict[str, float]:
        """Measure `recipe` with `at_once` workers that start their clocks together.

        Raises:
            FerKitError: the recipe does not run there, or not so often.
        """
        workers = [self.worker(number) for number in range(at_once)]
        threads = self.threads(at_once)
        for number, worker in enumerate(workers):
            device = _device(self.slots[number])
            worker.order(do="warm", recipe=recipe, device=device, folder=str(folder), threads=threads)
        try:
            starts = [worker.wait(MOST_START_SECONDS)["start_seconds"] for worker in workers]
            for worker in workers:
                worker.order(do="go", seconds=seconds)
            found = [worker.wait(MOST_START_SECONDS) for worker in workers]
        except FerKitError:
            self.stop()  # workers that wait for the start of the clocks would take its order for another one
            raise
        return {
            "images_per_second": sum(one["images_per_second"] for one in found),
            "predicted_per_second": sum(one["predicted_per_second"] for one in found),
            "save_seconds": max(one["save_seconds"] for one in found),
            "start_seconds": max(starts),
        }

    def keep(self, at_once: int) -> None:
        """Keep `at_once` workers and end the others."""
        self.at_once = at_once
        for number in [number for number in self._workers if number >= at_once]:
            self._workers.pop(number).close()
        del self.slots[at_once:]

    def launch(self, number: int, words: Sequence[str], file: BinaryIO) -> Process:
        """Train in slot `number`; see `fer_kit.sweep.runner.Launch`."""
        worker = self.worker(number)
        log = str(Path(file.name).absolute())
        worker.order(do="train", words=list(words), log=log, threads=self.threads(self.at_once))
        return Order(worker)

    def stop(self) -> None:
        """End all workers at once."""
        end([worker.process for worker in self._workers.values()], (signal.SIGTERM, signal.SIGKILL))
        self.close()

    def close(self) -> None:
        """Let the workers end."""
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()


def _device(slot: Slot) -> str:
    return slot.options[slot.options.index("--device") + 1] if "--device" in slot.options else "auto"
