"""The program in the kernel: check the device, find the data, train the folds, save one archive.

The pushed script unpacks this package and calls `main`. The folds are trained by `python -m fer_kit.train`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from fer_kit import programs
from fer_kit.competition import COMPETITION
from fer_kit.config.networks import known_cost
from fer_kit.data import loading
from fer_kit.errors import FerKitError, first_line
from fer_kit.folds import table
from fer_kit.runs.finished_folder import WEIGHTS
from fer_kit.runs.training_record import LAST
from fer_kit.sweep.runner import Limits, Outcome, Reporter, Runner
from fer_kit.sweep.slots import Slot, on_cpu, on_gpus
from fer_kit.sweep.training import Training
from kernels.inside import devices, earlier, fold_table, pipeline, saving, weights
from kernels.inside.kernel_log import listed, say
from kernels.inside.saving import numbers, save_output, saver
from kernels.inside.settings import Places, RunSettings, Settings, resolved, run_name

# Folders where Kaggle mounts inputs and keeps outputs. The variables replace them to run a built script elsewhere.
INPUT_VARIABLE, INPUT = "FER_KIT_KAGGLE_INPUT", "/kaggle/input"
WORKING_VARIABLE, WORKING = "FER_KIT_KAGGLE_WORKING", "/kaggle/working"
RULES_URL = f"https://www.kaggle.com/competitions/{COMPETITION}/rules"
RESERVE_SECONDS = 600.0  # reserved for predictions, packing, and an epoch that takes longer than the previous epoch
LEAST_SECONDS = 60.0  # no fold is started if less time is left


def main(values: Mapping[str, Any], code: Path) -> int:
    """Train the folds of the settings; exit code 0 if the output holds what they came to, also if some failed, else 1.

    Kaggle may throw away the output of a script that fails, and with it the folds that have finished.
    """
    began = time.monotonic()
    try:
        settings = Settings(**{**values, "folds": tuple(values["folds"]), "set": tuple(values["set"])})
        with tempfile.TemporaryDirectory(prefix="fer_kit-work-", ignore_cleanup_errors=True) as work:
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
    environ = environment(settings, places)
    found = find_device(settings, runs, environ)
    environ["FER_KIT_DATA"] = place = str(find_data(places.inputs))
    say(f"data     {place}")
    places.runs.mkdir()
    take_earlier(settings, places, list(runs))
    make_folds(settings, places, environ)

    slots = slots_for(found, environ)
    trainings = trainings_of(settings, places, runs, max(1, found.cores // len(slots)))
    limits = Limits(began + 60 * settings.limit_minutes, RESERVE_SECONDS, LEAST_SECONDS)
    runner = runner_of(trainings, places.work, slots, limits)
    save = partial(save_output, settings, places, runs, str(found), runner.outcome)
    why = train(runner, trainings, partial(save, final=False))
    left_out = save_last(partial(save, final=True))
    say(f"took     {(time.monotonic() - began) / 60:.1f} minutes")
    tell(runner.outcome, list(runs), why, left_out)
    return exit_code(places.output, settings.run_id)


def find_device(settings: Settings, runs: Mapping[str, RunSettings], environ: Mapping[str, str]) -> devices.Found:
    """What the session has.

    Raises:
        FerKitError: less than what was asked for.
    """
    found = devices.probe(environ)
    say(f"found    {found}; {found.cores} cores, torch {found.torch}, Python {sys.version.split()[0]}")
    count = sum(len(run.folds) for run in runs.values())
    for line in devices.check(settings.accelerator, found, count, settings.allow_cpu):
        say(line)
    return found


def take_earlier(settings: Settings, places: Places, runs: Sequence[str]) -> None:
    """Copy the runs of the earlier kernel, if the settings name one, to go on with them.

    Raises:
        FerKitError: its output is not attached, or does not fit.
    """
    if settings.earlier is None:
        return
    before = earlier.restore(places.inputs, settings.earlier, runs[0], places.runs, runs[1:])
    for one in before.runs:
        folds = f"finished {listed(one.finished)}, stopped {listed(one.stopped)}"
        say(f"earlier  {settings.earlier}: {f'{one.run}: ' * bool(before.more)}{folds}")


def trainings_of(settings: Settings, places: Places, runs: Mapping[str, RunSettings], cores: int) -> list[Training]:
    """All folds of all runs; each training uses `cores` cores."""
    found = []
    for name, run in runs.items():
        words = tuple(options_for(settings, places, cores, run))
        found += [Training(name, fold, words, work_of(settings, places, run)) for fold in run.folds]
    return found


def train(runner: Runner, trainings: Sequence[Training], save: Callable[[], object]) -> str:
    """Train until all folds have ended; what stopped the others, in words. Folds that were not begun count as stopped.

    A fault of the session, such as a full disk for logs, stops them too: what has finished is saved all the same.
    """
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    why = "at the limit"
    try:
        runner.run(saver(runner, save, ended=ended))
    except KeyboardInterrupt:
        why = "by a signal"
    except (FerKitError, OSError) as error:
        say(f"error    {first_line(error)}")
        why = "by an error"
    outcome = runner.outcome
    settled = {*outcome.finished, *outcome.stopped, *outcome.failed}
    outcome.stopped += [training for training in trainings if training not in settled]
    return why


def save_last(save: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
    """Save for the last time; the names of the files that are left out. A fault is logged, see `exit_code`."""
    try:
        return save()
    except (FerKitError, OSError) as error:
        say(f"error    the last save failed: {error}")
        return ()


def exit_code(output: Path, run_id: str) -> int:
    """0 if the output holds a save of this push, the last or an earlier one, else 1."""
    kept = saving.kept(output, run_id)
    if kept is None:
        say("error    nothing was saved")
        return 1
    if not kept.final:
        finished = "; ".join(f"{part.run} {listed(part.finished)}" for part in kept.runs)
        say(
            f"error    the output is that of {kept.written}, with the finished folds {finished}; it is downloaded with "
            "python -m kernels fetch --partial"
        )
    return 0


def tell(outcome: Outcome, runs: Sequence[str], why: str, left_out: Sequence[str] = ()) -> None:
    """Log how the folds of each run ended. why: what stopped the others, in words. left_out: of the archive."""
    way = "continue with python -m kernels push --resume"
    if LAST in left_out:
        way = f"{LAST} had no room in the archive, so python -m kernels push --resume trains them from the beginning"
    for name in runs:
        which = f"{name}: " * (len(runs) > 1)
        say(f"result   {which}finished: {listed(numbers(outcome.finished, name))}")
        if stopped := numbers(outcome.stopped, name):
            say(f"result   {which}stopped {why}: {listed(stopped)}; {way}")
    if WEIGHTS in left_out:
        say(f"warning  {WEIGHTS} had no room in the archive either; it holds the predictions of the finished folds")
    for training, reason in outcome.failed.items():
        say(f"result   {training} FAILED: {reason}")
    if outcome.failed:
        count = sum(map(len, (outcome.finished, outcome.stopped, outcome.failed)))
        say(f"FAILED   {len(outcome.failed)} of {count} folds: {', '.join(map(str, outcome.failed))}")


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
