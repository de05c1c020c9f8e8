"""The settings at the top of the pushed script, the runs that they ask for, and the folders of the session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_kit.track import follow
from fer_kit.train import request
from kernels.inside import pipeline


@dataclass(frozen=True)
class RunSettings:
    """What makes one run of the kernel different from the others, and the folds that are trained."""

    recipe: str
    set: tuple[str, ...]
    tag: str | None
    seed: int | None
    folds: tuple[int, ...]


@dataclass(frozen=True)
class Settings:
    """The settings at the top of the pushed script, with names in lower case."""

    recipe: str
    folds: tuple[int, ...]
    set: tuple[str, ...]
    tag: str | None
    seed: int | None
    accumulate: int | None
    compile: bool
    limit_minutes: float
    allow_cpu: bool
    accelerator: str
    weights: str | None
    augment: str | None
    earlier: str | None
    run_id: str
    commit: str
    bundle_sha256: str
    folds_digest: str | None
    folds_table: str
    augment_file: str
    batch_size: int | None = None
    wandb: str = follow.OFF
    more: Sequence[Mapping[str, Any]] = ()  # further runs, each with recipe, set, tag, seed and folds

    @property
    def runs(self) -> list[RunSettings]:
        """All runs of the kernel."""
        further = [
            RunSettings(one["recipe"], tuple(one["set"]), one["tag"], one["seed"], tuple(one["folds"]))
            for one in self.more
        ]
        return [RunSettings(self.recipe, self.set, self.tag, self.seed, self.folds), *further]

    def options(self, run: RunSettings) -> list[str]:
        """The options of `python -m fer_kit.train` that choose recipe and run."""
        words = ["--recipe", run.recipe]
        words += ["--set", *run.set] if run.set else []
        for name, value in (("tag", run.tag), ("seed", run.seed), ("accumulate", self.accumulate)):
            words += [] if value is None else [f"--{name}", f"{value}"]
        words += [] if self.batch_size is None else ["--batch-size", f"{self.batch_size}"]
        words += ["--compile"] if self.compile else []
        return words + (["--wandb", self.wandb] if self.wandb != follow.OFF else [])


@dataclass(frozen=True)
class Places:
    """Folders: inputs (mounted, read-only), output (kept by Kaggle), work (temporary, has runs/), code (package)."""

    inputs: Path
    output: Path
    work: Path
    code: Path

    @property
    def runs(self) -> Path:
        """The folder of runs."""
        return self.work / "runs"


def run_name(settings: Settings, places: Places, run: RunSettings) -> str:
    """The name of a run; writes the file of its pipeline, which is a part of its config, into `work`.

    Raises:
        FerKitError: the settings are not allowed, or the file of the pipeline is damaged.
    """
    if settings.augment is not None:
        pipeline.write(places.work / settings.augment, settings.augment_file)
    return resolved(settings, places, run).run


def resolved(settings: Settings, places: Places, run: RunSettings) -> request.ResolvedRequest:
    """The run as train resolves it."""
    augment = None if settings.augment is None else str(places.work / settings.augment)
    return request.resolve(
        request.TrainRequest(
            0, run.recipe, run.set, run.tag, run.seed, settings.accumulate, settings.batch_size, augment=augment
        )
    )
