"""The asked folds, trained by `python -m fer_kit.train`, one process a GPU, until they are done or time is up."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fer_kit.runs import folders

RESERVE_SECONDS = 600.0  # kept for predicting, packing and an epoch that took longer than the one before
LEAST_SECONDS = 60.0  # with less time than this left, a fold is not begun
GRACE_SECONDS = 120.0  # from SIGTERM to a kill


@dataclass(frozen=True)
class Slot:
    """Where one process trains: what its log lines are headed by, and the environment that shows it one device."""

    name: str
    environ: Mapping[str, str]


@dataclass
class Outcome:
    """Fold numbers by how they ended; `failed` with the last line that the trainer printed."""

    finished: list[int] = field(default_factory=list)
    stopped: list[int] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)


class Training:
    """Trains `folds` of run `run` in `work`, which holds runs/, on `slots`; ends by `deadline` (time.monotonic())."""

    def __init__(
        self,
        options: Sequence[str],
        run: str,
        folds: Sequence[int],
        work: Path,
        slots: Sequence[Slot],
        deadline: float,
        say: Callable[[str], None],
        reserve_seconds: float = RESERVE_SECONDS,
        least_seconds: float = LEAST_SECONDS,
    ) -> None:
        self.options, self.run, self.work, self.deadline, self.say = list(options), run, work, deadline, say
        self.reserve_seconds, self.least_seconds = reserve_seconds, least_seconds
        self.outcome = Outcome()
        self._waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
        for fold in folds:
            self._waiting.put(fold)
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._work_off, args=(slot,)) for slot in slots]

    def run_all(self, save: Callable[[], None], save_every_seconds: float) -> Outcome:
        """Train; until all have ended, `save` is called in this thread after each fold and as often as asked."""
        for thread in self._threads:
            thread.start()
        saved = time.monotonic()
        while any(thread.is_alive() for thread in self._threads):
            ended = self._ended.wait(timeout=0.2)
            if not any(thread.is_alive() for thread in self._threads):
                break
            if ended or time.monotonic() - saved > save_every_seconds:
                self._ended.clear()
                save()
                saved = time.monotonic()
        return self.outcome

    def _folder(self, fold: int) -> Path:
        return folders.fold_folder(self.work / "runs", self.run, fold)

    def _work_off(self, slot: Slot) -> None:
        while True:
            try:
                fold = self._waiting.get_nowait()
            except queue.Empty:
                return
            if folders.is_finished(self._folder(fold)):
                self.say(f"fold {fold}: finished already")
                self.outcome.finished.append(fold)
                continue
            left = self.deadline - self.reserve_seconds - time.monotonic()
            if left < self.least_seconds:
                self.say(f"fold {fold}: no time left to begin")
                self.outcome.stopped.append(fold)
                continue
            self._train(fold, slot, left)
            self._ended.set()

    def _train(self, fold: int, slot: Slot, left: float) -> None:
        """One fold in one process; what it prints is told line by line."""
        words = ["-m", "fer_kit.train", *self.options, "--fold", str(fold), "--resume"]
        words += ["--limit-minutes", f"{left / 60:.4g}"]
        self.say(f"fold {fold}: starts on {slot.name}: python {' '.join(words)}")
        process = subprocess.Popen(
            [sys.executable, "-u", *words],
            cwd=self.work,
            env=dict(slot.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        # Past its own limit by half of the reserve it hangs, or its epochs are very long: the last one is saved.
        cut = threading.Event()
        late = threading.Timer(left + self.reserve_seconds / 2, end, [process, cut])
        late.daemon = True
        late.start()
        last = "it printed nothing"
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip():
                last = line.rstrip()
                self.say(f"fold {fold} | {last}")
        process.stdout.close()
        code = process.wait()
        late.cancel()
        if code == 0 and folders.is_finished(self._folder(fold)):
            self.outcome.finished.append(fold)
        elif code == 0 or cut.is_set():
            self.outcome.stopped.append(fold)
        else:
            self.outcome.failed[fold] = last
            self.say(f"fold {fold}: FAILED with exit code {code}: {last}")


def end(process: subprocess.Popen[str], cut: threading.Event) -> None:
    """End a trainer, which loses what is after its last epoch; `cut` tells that it was so.

    By SIGTERM: what is started in the background of a shell script ignores SIGINT.
    """
    if process.poll() is None:
        cut.set()
        process.terminate()
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
