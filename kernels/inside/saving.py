"""Save what the session trained: one archive and its manifest, after each fold and from time to time."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from fer_kit.errors import FerKitError
from fer_kit.sweep.runner import Outcome, Runner
from fer_kit.sweep.training import Training
from kernels.inside import archive, manifest
from kernels.inside.kernel_log import say
from kernels.inside.settings import Places, RunSettings, Settings

SAVE_EVERY_SECONDS = 1200.0


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
    pack(places.runs, first, path, others)
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


def pack(runs: Path, name: str, path: Path, others: Sequence[str] = ()) -> None:
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


def numbers(trainings: Iterable[Training], run: str) -> tuple[int, ...]:
    """The folds of the trainings of `run`, ascending."""
    return tuple(sorted(one.fold for one in trainings if one.run == run and isinstance(one.fold, int)))
