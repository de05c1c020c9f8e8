"""One training of a sweep: which run and fold, and the options of `python -m fer_kit.train` that make it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fer_kit.folds.fold_spec import Fold, in_words, typed
from fer_kit.runs import finished_folder, folders
from fer_kit.runs.training_record import METRICS


@dataclass(frozen=True)
class Training:
    """One fold of one run.

    options: what chooses recipe and settings; not the fold, the folders or the device. work: the expected amount of
    work, in any unit that all trainings of a sweep share; the longest start first. trial: a `--smoke` run, which begins
    anew each time and is never resumed. until: stop after this epoch; None trains to the end.
    """

    run: str
    fold: Fold
    options: tuple[str, ...]
    work: float = 0.0
    trial: bool = False
    until: int | None = None

    def __str__(self) -> str:
        return f"{self.run} {in_words(self.fold)}"

    @property
    def end(self) -> str:
        """What it comes to when nothing is left to do: `finished`, or `trained until epoch 3`."""
        return "finished" if self.until is None else f"trained until epoch {self.until}"

    @property
    def file_name(self) -> str:
        """A name for files about this training."""
        return f"{self.run}-{folders.fold_folder('', '', self.fold).name}"

    def folder(self, runs: Path) -> Path:
        """The run folder of the fold."""
        return folders.fold_folder(runs, self.run, self.fold)

    def words(self, *, fresh: bool = False) -> list[str]:
        """The options of the child process; it resumes what an earlier process left, unless `fresh`."""
        words = [*self.options, "--fold", typed(self.fold), *([] if self.trial or fresh else ["--resume"])]
        return words if self.until is None else [*words, "--stop-after", str(self.until)]

    def is_done(self, runs: Path) -> bool:
        """Whether there is nothing left to train: the fold is finished, or has reached `until`."""
        folder = self.folder(runs)
        if not self.trial and (folder / finished_folder.RESULT).is_file() and finished_folder.is_finished(folder):
            return True
        return self.until is not None and epochs_saved(folder) >= self.until


def epochs_saved(folder: Path) -> int:
    """How many epochs of an unfinished fold are saved."""
    try:
        return (folder / METRICS).read_bytes().count(b"\n")
    except OSError:
        return 0
