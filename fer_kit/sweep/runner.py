"""The trainings of a sweep as child processes: in slots, longest first, until all are done or time is up.

The run folder is the queue. A worker takes the next fold that is not finished and that no other process holds, so any
number of workers, on any number of hosts that share the folder, work off the same trainings:

    runs/<run>/.fold3.worker.lock    held by the worker whose child trains the fold
    runs/<run>/.fold3.lock           held by the training itself; it outlives a worker that is killed
    runs/sweeps/logs/<run>-fold3.txt   what the children printed
    runs/sweeps/failed/<run>-fold3.json   a fold that failed twice, and how; no worker tries it again

A child writes to a file and not into a pipe: when the worker is killed, the training goes on to its end.
"""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from fer_kit import programs
from fer_kit.files import atomic, lock
from fer_kit.runs import finished_folder, folders
from fer_kit.runs.training_record import read_result
from fer_kit.sweep.slots import Slot
from fer_kit.sweep.training import Training, epochs_saved

POLL_SECONDS = 0.2
LOOK_AGAIN_SECONDS = 2.0  # at folds that another worker holds
GRACE_SECONDS = 20.0  # from one signal to the next, see `end`
FAILURES = 2  # in a row and without a new epoch between them: then a fold is given up
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)  # started in the background, a child ignores SIGINT


class Process(Protocol):
    """What the runner needs of a child: `subprocess.Popen`, or one training of a process that trains several."""

    @property
    def pid(self) -> int:
        """Where signals go."""

    def poll(self) -> int | None:
        """The exit code; None while the training runs."""


# Starts a training in slot number `int` with the words of `fer_kit.train`; the file takes what it prints.
Launch = Callable[[int, Sequence[str], BinaryIO], Process]


@dataclass
class Outcome:
    """How the trainings ended. stopped: out of time, resumable. failed: with the last line that was printed."""

    finished: list[Training] = field(default_factory=list)
    stopped: list[Training] = field(default_factory=list)
    failed: dict[Training, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """When to stop.

    deadline: in time.monotonic(), None for never. reserve_seconds: before the deadline, for predictions and for an
    epoch that takes longer than the one before; a child past half of it is ended. least_seconds: with less time left no
    fold begins.
    """

    deadline: float | None = None
    reserve_seconds: float = 0.0
    least_seconds: float = 0.0

    def left(self) -> float | None:
        """Seconds for training."""
        return None if self.deadline is None else self.deadline - self.reserve_seconds - time.monotonic()

    def overdue(self) -> bool:
        """Whether children have to be ended."""
        left = self.left()
        return left is not None and left < -self.reserve_seconds / 2


FOREVER = Limits()


@dataclass(eq=False)
class Child:
    """A process that trains, and how far its log has been read."""

    training: Training
    number: int  # of its slot
    process: Process
    claim: lock.Lock
    log: Path
    read: int
    epochs: int  # saved when the process began
    began: float = field(default_factory=time.monotonic)
    partial: bytes = b""
    last: str = "it printed nothing"
    cut: bool = False  # ended by the worker


@dataclass(frozen=True)
class Stint:
    """One child process that has ended: in which slot, and when, in time.monotonic()."""

    training: Training
    slot: int
    began: float
    ended: float


@dataclass
class Reporter:
    """What a caller wants to hear. say: one event in one line. line: one line that a child printed."""

    say: Callable[[str], None] = lambda text: print(text, flush=True)
    line: Callable[[Training, str], None] = lambda training, text: None


class Runner:
    """Works off `trainings` in `slots`; see `run`.

    options: for every child, such as `--data`. module: what is run instead of fer_kit.train, for tests. launch: starts
    a child in another way than as a process of its own. share: the seconds that a training may take, from the training
    and the seconds left for all; all of them if not given.
    """

    def __init__(
        self,
        trainings: Iterable[Training],
        runs: Path,
        slots: Sequence[Slot],
        *,
        options: Sequence[str] = (),
        limits: Limits = FOREVER,
        reporter: Reporter | None = None,
        cwd: Path | None = None,
        module: str = "fer_kit.train",
        launch: Launch | None = None,
        share: Callable[[Training, float], float] = lambda training, left: left,
    ) -> None:
        self.launch, self.share = launch or self._launch, share
        self.runs, self.slots, self.options, self.limits = runs, list(slots), list(options), limits
        self.reporter, self.cwd, self.module = reporter or Reporter(), cwd, module
        self.outcome = Outcome()
        self.running: list[Child] = []
        self.waiting = sorted(trainings, key=lambda training: -training.work)  # a stable sort: equal ones keep order
        self.elsewhere: set[Training] = set()
        self.stints: list[Stint] = []  # in the order of their end
        self._failures: dict[Training, tuple[int, int]] = {}  # how many, and the epochs saved at the last
        self._look_again = 0.0

    def run(self, meanwhile: Callable[[], None] = lambda: None) -> Outcome:
        """Train until every fold is finished, stopped or failed; `meanwhile` is called about five times a second.

        Raises:
            KeyboardInterrupt: Ctrl-C; the children have been ended and can be resumed.
        """
        try:
            while self._is_busy():
                self._reap()
                self._fill()
                meanwhile()
                if self._is_busy():
                    time.sleep(POLL_SECONDS)
        finally:
            self._end_all()
        return self.outcome

    def _is_busy(self) -> bool:
        return bool(self.waiting or self.running)

    def _fill(self) -> None:
        """Start trainings in the slots that are free."""
        busy = {child.number for child in self.running}
        free = [number for number in range(len(self.slots)) if number not in busy]
        if not free or not self.waiting:
            return
        only_elsewhere = set(self.waiting) <= self.elsewhere
        if only_elsewhere and time.monotonic() < self._look_again:
            return
        self._look_again = time.monotonic() + LOOK_AGAIN_SECONDS
        for training in list(self.waiting):
            if not free:
                return
            if self._settled(training):
                self.waiting.remove(training)
            elif (claim := self._claim(training)) is not None:
                self.waiting.remove(training)
                self._start(training, free.pop(0), claim)

    def _settled(self, training: Training) -> bool:
        """Whether there is nothing to do for `training`: finished, given up by another worker, or no time left."""
        if training.is_done(self.runs):
            self.reporter.say(f"{training}: {training.end} {'elsewhere' if training in self.elsewhere else 'already'}")
            self.outcome.finished.append(training)
            return True
        if (why := read_failure(self.runs, training)) is not None:
            self.reporter.say(f"{training}: failed before ({why}); the sweep's own command tries again")
            self.outcome.failed[training] = why
            return True
        left = self.limits.left()
        if left is not None and left < self.limits.least_seconds:
            self.reporter.say(f"{training}: no time left to begin")
            self.outcome.stopped.append(training)
            return True
        return False

    def _claim(self, training: Training) -> lock.Lock | None:
        """The lock that makes this worker the one that trains the fold; None while another process does."""
        folder = training.folder(self.runs)
        claim = lock.take(claimed(folder))
        if claim is not None:
            done = training.is_done(self.runs)  # since `_settled` has looked
            if not done and not lock.is_held(folder):  # an orphan of a killed worker, or a training by hand
                self.elsewhere.discard(training)
                return claim
            claim.release()
        if training not in self.elsewhere:
            self.reporter.say(f"{training}: another process trains it")
            self.elsewhere.add(training)
        return None

    def _start(self, training: Training, number: int, claim: lock.Lock) -> None:
        slot = self.slots[number]
        words = [*training.words(), *slot.options, *self.options]
        if (left := self.limits.left()) is not None:
            words += ["--limit-minutes", f"{max(self.share(training, left), 0.01) / 60:.4g}"]
        log = log_file(self.runs, training)
        log.parent.mkdir(parents=True, exist_ok=True)
        epochs = 0 if training.trial else epochs_saved(training.folder(self.runs))
        how = f", resumed after epoch {epochs}" if epochs else ""
        self.reporter.say(f"{training}: starts on {slot.name}{how}: python -m {self.module} {' '.join(words)}")
        with log.open("ab") as file:
            process = self.launch(number, words, file)
            self.running.append(Child(training, number, process, claim, log, file.tell(), epochs))

    def _launch(self, number: int, words: Sequence[str], file: BinaryIO) -> Process:
        return subprocess.Popen(
            programs.python("-u", "-m", self.module, *words),
            cwd=self.cwd,
            env=programs.environ(self.slots[number].environ),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            process_group=0,  # Ctrl-C reaches the worker alone, which ends its children in order
        )

    def _reap(self) -> None:
        """Read what the children printed, and see which have ended."""
        overdue = self.limits.overdue()
        late = [child for child in self.running if overdue and child.process.poll() is None]
        for child in late:
            child.cut = True
        end([child.process for child in late], _SIGNALS[1:])
        for child in list(self.running):
            code = child.process.poll()
            self._read(child)
            if code is not None:
                self.running.remove(child)
                child.claim.release()
                self.stints.append(Stint(child.training, child.number, child.began, time.monotonic()))
                self._ended(child, code)

    def _read(self, child: Child) -> None:
        with child.log.open("rb") as file:
            file.seek(child.read)
            new = file.read()
        child.read += len(new)
        *lines, child.partial = (child.partial + new).split(b"\n")
        for raw in lines:
            text = raw.decode("utf-8", "replace").rpartition("\r")[2].rstrip()
            if text:
                child.last = text
                self.reporter.line(child.training, text)

    def _ended(self, child: Child, code: int) -> None:
        training, folder = child.training, child.training.folder(self.runs)
        if code == 0 and finished_folder.is_finished(folder):
            self.outcome.finished.append(training)
            score = read_result(folder / finished_folder.RESULT).get("oof_accuracy")
            told = "" if score is None else f", {score:.2%} out of fold"
            self.reporter.say(f"{training}: finished after {(time.monotonic() - child.began) / 60:.1f} minutes{told}")
        elif code == 0 and training.is_done(self.runs):
            self.outcome.finished.append(training)
            self.reporter.say(f"{training}: {training.end}")
        elif child.cut or (code == 0 and self._at_the_limit(child)):
            self.outcome.stopped.append(training)
            self.reporter.say(f"{training}: stopped at the time limit after epoch {epochs_saved(folder)}")
        else:
            self._failed(child, code)

    def _at_the_limit(self, child: Child) -> bool:
        """Whether a child that exited with code 0 stopped for time: it saved an epoch, or little time is left.

        A child that saved none although time is left would do the same again, without end.
        """
        left = self.limits.left()
        saved = epochs_saved(child.training.folder(self.runs)) > child.epochs
        return left is not None and (saved or left <= self.limits.least_seconds)

    def _failed(self, child: Child, code: int) -> None:
        """Resume a fold that failed, or give up on it."""
        training, epochs = child.training, epochs_saved(child.training.folder(self.runs))
        before, then = self._failures.get(training, (0, child.epochs))
        failures = before + 1 if epochs <= then else 1
        self._failures[training] = (failures, epochs)
        how = f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
        if failures < FAILURES:
            self.reporter.say(f"{training}: ended with {how} ({child.last}); it is tried again")
            self.waiting.insert(0, training)
            return
        self.reporter.say(f"{training}: FAILED with {how}: {child.last}")
        self.outcome.failed[training] = child.last
        record = {
            "how": how,
            "last_line": child.last,
            "host": platform.node(),
            "time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        }
        atomic.write_json(failure_file(self.runs, training), record)

    def _end_all(self) -> None:
        """End what still runs; everything up to the last saved epoch can be resumed."""
        end([child.process for child in self.running], _SIGNALS)
        for child in self.running:
            child.claim.release()
        self.running.clear()


def end(processes: Sequence[Process], signals: Sequence[signal.Signals]) -> None:
    """End `processes`: send one signal after the other, as long as some still run."""
    for number in signals:
        for process in processes:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, number)
        deadline = time.monotonic() + GRACE_SECONDS
        while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
            time.sleep(0.02)


def claimed(folder: Path) -> Path:
    """What a worker locks while its child trains the fold in `folder`."""
    return folder.with_name(f"{folder.name}.worker")


def log_file(runs: Path, training: Training) -> Path:
    """What the children of a training printed."""
    return runs / folders.SWEEPS / "logs" / f"{training.file_name}.txt"


def failure_file(runs: Path, training: Training) -> Path:
    """The record of a training that failed twice."""
    return runs / folders.SWEEPS / "failed" / f"{training.file_name}.json"


def read_failure(runs: Path, training: Training) -> str | None:
    """The last line that a training printed before it was given up; None for the others."""
    path = failure_file(runs, training)
    return str(atomic.read_json(path).get("last_line")) if path.is_file() else None


def forget_failures(runs: Path, trainings: Iterable[Training]) -> None:
    """Let failed trainings be tried again."""
    for training in trainings:
        failure_file(runs, training).unlink(missing_ok=True)
