"""The program in the kernel: check the device, find the data, train the folds, save one archive.

The pushed script unpacks this package and calls `main`. The folds are trained by `python -m fer_kit.train`.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fer_kit import programs
from fer_kit.competition import COMPETITION
from fer_kit.config.networks import known_cost
from fer_kit.data import loading
from fer_kit.errors import FerKitError
from fer_kit.folds import table
from fer_kit.sweep.runner import Limits, Outcome, Reporter, Runner
from fer_kit.sweep.slots import Slot, on_cpu, on_gpus
from fer_kit.sweep.training import Training
from fer_kit.track import follow
from fer_kit.train import request
from kernels.inside import archive, devices, earlier, fold_table, manifest, pipeline, weights

# Folders where Kaggle mounts inputs and keeps outputs. The variables replace them to run a built script elsewhere.
INPUT_VARIABLE, INPUT = "FER_KIT_KAGGLE_INPUT", "/kaggle/input"
WORKING_VARIABLE, WORKING = "FER_KIT_KAGGLE_WORKING", "/kaggle/working"
RULES_URL = f"https://www.kaggle.com/competitions/{COMPETITION}/rules"
SAVE_EVERY_SECONDS = 1200.0
RESERVE_SECONDS = 600.0  # reserved for predictions, packing, and an epoch that takes longer than the previous epoch
LEAST_SECONDS = 60.0  # no fold is started if less time is left

_lock = threading.Lock()


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


def main(values: Mapping[str, Any], code: Path) -> int:
    """Train the folds of the settings; exit code 0 if all folds finished or stopped at the time limit, else 1."""
    began = time.monotonic()
    try:
        settings = Settings(**{**values, "folds": tuple(values["folds"]), "set": tuple(values["set"])})
        with tempfile.TemporaryDirectory(prefix="fer_kit-work-") as work:
            places = Places(
                Path(os.environ.get(INPUT_VARIABLE) or INPUT).resolve(),
                Path(os.environ.get(WORKING_VARIABLE) or WORKING).resolve(),
                Path(work),
                code,
            )
            return run(settings, places, began)
    except FerKitError as error:
        say(f"error    {error}")
        return 1


def run(settings: Settings, places: Places, began: float) -> int:
    """Run the session; returns the exit code of `main`."""
    say(f"run id   {settings.run_id}")
    say(f"code     commit {settings.commit}, bundle {settings.bundle_sha256[:12]}")
    runs = {run_name(settings, places, run): run for run in settings.runs}
    for name, run in runs.items():
        say(f"plan     run {name}, folds {listed(run.folds)}, on {settings.accelerator}")
    count = sum(len(run.folds) for run in runs.values())
    environ = environment(settings, places)
    found = devices.probe(environ)
    say(f"found    {found}; {found.cores} cores, torch {found.torch}, Python {sys.version.split()[0]}")
    for line in devices.check(settings.accelerator, found, count, settings.allow_cpu):
        say(line)

    place = find_data(places.inputs)
    environ["FER_KIT_DATA"] = str(place)
    say(f"data     {place}")
    places.runs.mkdir()
    if settings.earlier is not None:
        first, *others = runs
        before = earlier.restore(places.inputs, settings.earlier, first, places.runs, others)
        for one in before.runs:
            folds = f"finished {listed(one.finished)}, stopped {listed(one.stopped)}"
            say(f"earlier  {settings.earlier}: {f'{one.run}: ' * bool(before.more)}{folds}")
    make_folds(settings, places, environ)
    slots = slots_for(found, environ)
    options = {
        name: options_for(settings, places, max(1, found.cores // len(slots)), run) for name, run in runs.items()
    }
    deadline = began + 60 * settings.limit_minutes
    limits = Limits(deadline, RESERVE_SECONDS, LEAST_SECONDS)
    trainings = [
        Training(name, fold, tuple(options[name]), work_of(settings, places, run))
        for name, run in runs.items()
        for fold in run.folds
    ]
    runner = runner_of(trainings, places.work, slots, limits)

    def save(final: bool = False) -> None:
        save_output(settings, places, runs, str(found), runner.outcome, final)

    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    try:
        outcome = runner.run(saver(runner, save, ended=ended))
    except KeyboardInterrupt:
        outcome = runner.outcome
        settled = {*outcome.finished, *outcome.stopped, *outcome.failed}
        outcome.stopped += [training for training in trainings if training not in settled]
    save(final=True)
    why = "by a signal" if ended.is_set() else "at the limit"
    for name in runs:
        which = f"{name}: " * (len(runs) > 1)
        say(f"result   {which}finished: {listed(numbers(outcome.finished, name))}")
        if stopped := numbers(outcome.stopped, name):
            way = "continue with python -m kernels push --resume"
            say(f"result   {which}stopped {why}: {listed(stopped)}; {way}")
    for training, reason in outcome.failed.items():
        say(f"result   {training} FAILED: {reason}")
    say(f"took     {(time.monotonic() - began) / 60:.1f} minutes")
    if ended.is_set():
        return 128 + signal.SIGTERM
    return 1 if outcome.failed else 0


def find_data(inputs: Path) -> Path:
    """The folder of the competition's files, which Kaggle mounts below `inputs`.

    Raises:
        FerKitError: they are not mounted; the message lists what is.
    """
    try:
        return loading.find(inputs=inputs)
    except FerKitError as error:
        if os.environ.get("FER_KIT_DATA"):
            raise
        mounted = sorted(path.relative_to(inputs).as_posix() for path in inputs.glob("*/*")) if inputs.is_dir() else []
        raise FerKitError(
            f"the competition's files are not attached to this kernel ({inputs} holds "
            f"{', '.join(mounted[:10]) or 'nothing'}); accept the rules at {RULES_URL}, then push again with python -m "
            f"kernels push, which attaches them ({str(error).partition(';')[0]})"
        ) from None


def runner_of(trainings: Sequence[Training], work: Path, slots: Sequence[Slot], limits: Limits) -> Runner:
    """The runner of the folds: processes train in `work`, and their output is part of the kernel's log."""
    several = len({training.run for training in trainings}) > 1
    reporter = Reporter(say, lambda training, line: say(f"{f'{training.run} ' * several}fold {training.fold} | {line}"))
    return Runner(trainings, work / "runs", slots, limits=limits, reporter=reporter, cwd=work)


def saver(
    runner: Runner,
    save: Callable[[], None],
    every_seconds: float = SAVE_EVERY_SECONDS,
    ended: threading.Event | None = None,
) -> Callable[[], None]:
    """A function for the runner to call often: saves after each fold, and at least every `every_seconds`.

    A save that fails, as on a full disk, is repeated later; the training goes on. When `ended` is set, by SIGTERM,
    the function saves at once, since little time may be left, and raises KeyboardInterrupt, which ends the trainings.
    """
    outcome, before, saved = runner.outcome, 0, time.monotonic()

    def try_to_save() -> None:
        try:
            save()
        except FerKitError as error:
            say(f"warning  not saved: {error}")

    def meanwhile() -> None:
        nonlocal before, saved
        if ended is not None and ended.is_set():
            say("signal   SIGTERM: saving, then ending the trainings")
            try_to_save()
            raise KeyboardInterrupt
        now = len(outcome.finished) + len(outcome.stopped) + len(outcome.failed)
        if runner.running and (now > before or time.monotonic() - saved > every_seconds):
            try_to_save()
            before, saved = now, time.monotonic()

    return meanwhile


def numbers(trainings: Iterable[Training], run: str) -> tuple[int, ...]:
    """The folds of the trainings of `run`, ascending."""
    return tuple(sorted(one.fold for one in trainings if one.run == run and isinstance(one.fold, int)))


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


def work_of(settings: Settings, places: Places, run: RunSettings) -> float:
    """The expected work of a fold, for the order: the longest start first. One run keeps the order of its folds."""
    config = resolved(settings, places, run).config
    known = known_cost(config.model, config.width_mult)
    return known.flops * config.epochs if settings.more and known else 0.0


def options_for(settings: Settings, places: Places, cores: int, run: RunSettings) -> list[str]:
    """The options of each training, which runs in `work` and uses `cores` cores.

    Raises:
        FerKitError: the weights are not attached.
    """
    words = settings.options(run)
    if settings.weights is not None:
        file = weights.find(places.inputs, settings.weights)
        say(f"weights  {file}")
        words += [weights.OPTION, file]
    if settings.augment is not None:
        say(f"augment  {settings.augment}, {cores} workers a fold")
        words += [pipeline.OPTION, settings.augment, "--workers", str(cores)]
    return words


def environment(settings: Settings, places: Places) -> dict[str, str]:
    """The environment of the trainings: the package is found from any folder, and runs record its commit."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("KAGGLE_")}
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(places.code), os.environ.get("PYTHONPATH")]))
    environ["FER_KIT_COMMIT"] = settings.commit
    environ["PYTHONUNBUFFERED"] = "1"
    return environ


def make_folds(settings: Settings, places: Places, environ: Mapping[str, str]) -> None:
    """Write runs/folds.csv: the local folds in the script, else the folds of the earlier kernel, else new folds.

    Raises:
        FerKitError: the folds do not belong to the data or to the earlier runs, or a fold to train does not exist.
    """
    path = places.runs / "folds.csv"
    if settings.folds_digest is not None:
        before = table.read(path).digest if path.exists() else settings.folds_digest
        if before != settings.folds_digest:
            raise FerKitError(
                f"the folds in this script (digest {settings.folds_digest[:12]}) differ from those of "
                f"{settings.earlier} ({before[:12]}); push from the computer that has these folds, or without --resume"
            )
        competition = loading.load(environ["FER_KIT_DATA"], places.runs / "cache")
        fold_table.write(path, settings.folds_table, competition.train.labels, settings.folds_digest)
        origin = "in the script"
    elif path.exists():
        origin = f"of {settings.earlier}"
    else:
        command = programs.python("-m", "fer_kit.folds", "--runs", str(places.runs))
        done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for line in done.stdout.splitlines():
            say(f"folds  | {line}")
        if done.returncode:
            raise FerKitError("the folds could not be made; see the lines above")
        origin = "made here"
    folds = table.read(path)
    say(f"folds    {folds.count}, digest {folds.digest[:12]}, {origin}")
    beyond = [fold for run in settings.runs for fold in run.folds if fold >= folds.count]
    if beyond:
        raise FerKitError(f"fold {beyond[0]} does not exist; allowed are 0 to {folds.count - 1}")


def slots_for(found: devices.Found, environ: Mapping[str, str]) -> list[Slot]:
    """One slot for each GPU, whose process sees only this GPU, or one slot on the CPU; the cores are divided."""
    if not found.gpus:
        return on_cpu(1, environ, found.cores)
    return on_gpus([gpu.name for gpu in found.gpus], len(found.gpus), environ, found.cores)


def save_output(
    settings: Settings, places: Places, runs: Mapping[str, RunSettings], device: str, outcome: Outcome, final: bool
) -> None:
    """Save all run folders and the manifest in the output folder, in place of the previous save.

    The order is: write the new archive, replace the manifest, delete the old archive. So the manifest names a complete
    archive at any time.
    """
    before = sorted(places.output.glob("runs-*.tar"), key=lambda path: int(path.stem.split("-")[1]))
    number = int(before[-1].stem.split("-")[1]) + 1 if before else 1
    path = places.output / f"runs-{number}.tar"
    first, *others = runs
    _pack(places.runs, first, path, others)
    parts = [
        manifest.RunFolds(
            name,
            run.folds,
            numbers(outcome.finished, name),
            numbers(outcome.stopped, name),
            numbers(outcome.failed, name),
        )
        for name, run in runs.items()
    ]
    manifest.write(
        places.output,
        manifest.of(
            path,
            run_id=settings.run_id,
            bundle_sha256=settings.bundle_sha256,
            commit=settings.commit,
            device=device,
            written=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            final=final,
            **vars(parts[0]),
            more=tuple(parts[1:]),
        ),
    )
    for old in before:
        old.unlink()
    say(f"saved    {path.name}, {path.stat().st_size:,} bytes")


def _pack(runs: Path, name: str, path: Path, others: Sequence[str] = ()) -> None:
    """Pack the run folders; where the disk has too little space, without checkpoints, then without weights too.

    Raises:
        FerKitError: the disk has no space for the predictions either, or another fault.
    """
    for number, without in enumerate(archive.SMALLER, start=1):
        try:
            archive.pack(runs, name, path, others, without)
        except FerKitError as error:
            full = isinstance(error.__cause__, OSError) and error.__cause__.errno in (errno.ENOSPC, errno.EDQUOT)
            if not full or number == len(archive.SMALLER):
                raise
            say(f"warning  {path.parent} is full; saving without {', '.join(archive.SMALLER[number])}")
        else:
            return


def listed(folds: Iterable[int]) -> str:
    """Sorted fold numbers as text, e.g. `0, 2`, or `none`."""
    return ", ".join(map(str, sorted(folds))) or "none"


def say(line: str) -> None:
    """Print a line of the kernel's log with the time in UTC."""
    with _lock:
        print(f"{datetime.now(UTC):%H:%M:%S} {line}", flush=True)
