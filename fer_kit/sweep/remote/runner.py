"""Runners whose trainings are tasks of a Ray cluster.

The run folder stays the queue, the driver's locks hold the folds, and checkpoints are written into the run folder as
they arrive. So the driver can stop at any time, and workers without Ray can go on. A task that was lost with its node
is submitted again with the last checkpoint; a task whose training failed counts as any failed training does.
"""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from fer_kit.errors import FerKitError
from fer_kit.files import lock
from fer_kit.sweep.remote import arrival
from fer_kit.sweep.remote.cluster import FAILED, Cluster
from fer_kit.sweep.remote.node import Ended, News, Task
from fer_kit.sweep.runner import Child, Process, Runner, log_file
from fer_kit.sweep.search.worker import SearchRunner
from fer_kit.sweep.training import Training, epochs_saved
from fer_kit.train.request import PROGRAM

DRAIN_SECONDS = 0.5
CANCELLED = -9


class RemoteTraining(Process):
    """A training on the cluster, as a process for the runner."""

    def __init__(self, cluster: Cluster, runs: Path, training: Training, task: Task) -> None:
        self._cluster, self._runs, self._training = cluster, runs, training
        self.key = f"{training} {time.time():.3f}"
        self._command = f"{PROGRAM} {shlex.join([*task.words, *cluster.places])}"
        self.lost = ""  # a sentence, if the node was lost
        self._code: int | None = None
        self._reference: Any = None
        self._lock = lock.take(training.folder(runs))
        if self._lock is None:
            self._end(FAILED, b"error: another process trains this fold\n")
        else:
            self._reference = cluster.submit(task, self.key)

    @property
    def pid(self) -> int:
        """There is no process here."""
        raise RuntimeError("the process is on another machine")

    def poll(self) -> int | None:
        """The exit code; None while the training runs. A finished run folder is in place before the code is given."""
        if self._code is not None:
            return self._code
        try:
            outcome = self._cluster.outcome(self._reference)
            if outcome is None:
                return None
            if isinstance(outcome, str):
                self.lost = outcome
                self._end(FAILED, f"the node was lost: {outcome}\n".encode())
            else:
                self._arrived(outcome)
        except FerKitError as error:
            self._end(FAILED, f"error: {error}\n".encode())
        return self._code

    def _arrived(self, outcome: Ended) -> None:
        with self._log() as file:
            file.write(outcome.news.printed)
        if outcome.finished:
            arrival.put_in_place(outcome.files, self._runs, self._training, self._cluster.expected, self._command)
        elif outcome.files:  # stopped at a time limit or an epoch, or failed
            arrival.save_checkpoint(outcome.files, self._runs, self._training, self._command)
        self._end(outcome.code, b"")

    def take(self, news: News) -> None:
        """Keep what the node has told."""
        if self._code is None:
            with self._log() as file:
                file.write(news.printed)
            if news.checkpoint is not None:
                arrival.save_checkpoint(news.checkpoint, self._runs, self._training, self._command)

    def cancel(self) -> None:
        """End the training."""
        if self._code is None:
            self._cluster.cancel(self._reference)
            self._end(-9, b"")

    def _end(self, code: int, printed: bytes) -> None:
        if printed:
            with self._log() as file:
                file.write(printed)
        if self._lock is not None:
            self._lock.release()
        self._code = code

    @contextlib.contextmanager
    def _log(self) -> Iterator[BinaryIO]:
        with log_file(self._runs, self._training).open("ab") as file:
            yield file


class RayRunner(Runner):
    """A runner on a Ray cluster; its `options` do not name data and runs, which a node has in places of its own."""

    def __init__(self, cluster: Cluster, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.cluster = cluster
        self._starting: Training | None = None
        self._drain_at = 0.0

    def _start(self, training: Training, number: int, claim: lock.Lock) -> None:
        self._starting = training
        super()._start(training, number, claim)

    def _launch(self, number: int, words: Sequence[str], file: BinaryIO) -> Process:
        assert self._starting is not None
        words, deadline = list(words), None
        if "--limit-minutes" in words:
            at = words.index("--limit-minutes")
            deadline = time.time() + 60 * float(words[at + 1])
            del words[at : at + 2]
        task = self.cluster.task(self._starting, words, deadline)
        return RemoteTraining(self.cluster, self.runs, self._starting, task)

    def _remote(self) -> list[RemoteTraining]:
        return [child.process for child in self.running if isinstance(child.process, RemoteTraining)]

    def _reap(self) -> None:
        if time.monotonic() >= self._drain_at:
            self._drain_at = time.monotonic() + DRAIN_SECONDS
            self._drain()
        if self.limits.overdue():
            for child in self.running:
                if isinstance(child.process, RemoteTraining) and child.process.poll() is None:
                    child.cut = True
                    child.process.cancel()
        super()._reap()

    def _drain(self) -> None:
        """Keep what the nodes have told."""
        by_key = {process.key: process for process in self._remote()}
        for key, news in self.cluster.drain().items():
            if key in by_key:  # else of a task that was lost
                by_key[key].take(news)

    def _ended(self, child: Child, code: int) -> None:
        if isinstance(child.process, RemoteTraining) and child.process.lost:
            epochs = epochs_saved(child.training.folder(self.runs))
            self.reporter.say(f"{child.training}: its node was lost after epoch {epochs}; it goes on elsewhere")
            self.waiting.insert(0, child.training)
            return
        super()._ended(child, code)

    def _end_all(self) -> None:
        if self.running:
            self._drain()
        for process in self._remote():
            process.cancel()
        for child in self.running:
            child.claim.release()
        self.running.clear()


class RaySearchRunner(RayRunner, SearchRunner):
    """A search on a Ray cluster."""
