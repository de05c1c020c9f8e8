"""Save what the session trained: one archive and its manifest, after each fold and from time to time."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
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
    save: Callable[[], object],
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
        except (FerKitError, OSError) as error:
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
) -> tuple[str, ...]:
    """Save all run folders and the manifest in the output folder, in place of the previous save.

    On a full disk the last save needs the room of the previous one, too. What fits beside that archive takes its place
    first, so that nothing is lost if the session is killed then; after that everything is tried once more.

    Returns:
        The names of the files that are left out, because the disk has no room for them.
    """
    replace = partial(_replace, settings, places, runs, device, outcome, final)
    had_one = bool(_archives(places.output))
    left_out = replace(archive.SMALLER)
    if not (final and had_one and left_out):
        return left_out
    say(f"note     the earlier archive is deleted now; trying once more with {', '.join(left_out)}")
    try:
        return replace(archive.SMALLER[: archive.SMALLER.index(left_out)])
    except (FerKitError, OSError) as error:
        say(f"warning  saved without {', '.join(left_out)}: {error}")
        return left_out


def _replace(
    settings: Settings,
    places: Places,
    runs: Mapping[str, RunSettings],
    device: str,
    outcome: Outcome,
    final: bool,
    ways: Sequence[tuple[str, ...]],
) -> tuple[str, ...]:
    """Save in place of the previous save; `ways` and the names that are returned are as for `pack`.

    The order is: write the new archive, replace the manifest, delete the old archive. So the manifest names a complete
    archive at any time.
    """
    before = _archives(places.output)
    path = places.output / f"runs-{_number(before[-1]) + 1 if before else 1}.tar"
    first, *others = runs
    left_out = pack(places.runs, first, path, others, ways)
    try:
        manifest.write(places.output, _described(path, settings, runs, device, outcome, final))
    except (FerKitError, OSError):
        path.unlink(missing_ok=True)  # no manifest names it, and the next save needs its room
        raise
    for old in before:
        old.unlink()
    say(f"saved    {path.name}, {path.stat().st_size:,} bytes")
    return left_out


def _described(
    path: Path, settings: Settings, runs: Mapping[str, RunSettings], device: str, outcome: Outcome, final: bool
) -> manifest.Manifest:
    """The manifest of the archive at `path`."""
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
    return manifest.of(
        path,
        run_id=settings.run_id,
        bundle_sha256=settings.bundle_sha256,
        commit=settings.commit,
        device=device,
        written=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        final=final,
        **vars(parts[0]),
        more=tuple(parts[1:]),
    )


def kept(output: Path, run_id: str) -> manifest.Manifest | None:
    """The manifest of the save of this push in the output folder; None if there is none, or its archive is missing."""
    try:
        described = manifest.read(output)
        whole = (output / described.archive).stat().st_size == described.bytes
    except (FerKitError, OSError):
        return None
    return described if whole and described.run_id == run_id else None


def pack(
    runs: Path,
    name: str,
    path: Path,
    others: Sequence[str] = (),
    ways: Sequence[tuple[str, ...]] = archive.SMALLER,
) -> tuple[str, ...]:
    """Pack the run folders; where the disk has too little space, without checkpoints, then without weights too.

    ways: names of files to leave out, the next where the disk is too full for the one before.

    Returns:
        The names that are left out.

    Raises:
        FerKitError: the disk is too full for the last of `ways`, or another fault.
    """
    for number, without in enumerate(ways, start=1):
        try:
            archive.pack(runs, name, path, others, without)
        except FerKitError as error:
            full = isinstance(error.__cause__, OSError) and error.__cause__.errno in (errno.ENOSPC, errno.EDQUOT)
            if not full or number == len(ways):
                raise
            say(f"warning  {path.parent} is full; saving without {', '.join(ways[number])}")
        else:
            return without
    raise AssertionError("unreachable: the last way returns or raises")


def _archives(output: Path) -> list[Path]:
    """The archives in the output folder, the newest last."""
    return sorted(output.glob("runs-*.tar"), key=_number)


def _number(path: Path) -> int:
    return int(path.stem.split("-")[1])


def numbers(trainings: Iterable[Training], run: str) -> tuple[int, ...]:
    """The folds of the trainings of `run`, ascending."""
    return tuple(sorted(one.fold for one in trainings if one.run == run and isinstance(one.fold, int)))
