"""Log to Weights & Biases (W&B) during a run: a separate process, the tracker, reads the run folder and logs the files.

    with follow.following(folder, "offline", data, facts):
        ...  # train: metrics.jsonl grows, and result.json is written at the end

The tracker shares only files and a pipe with the training process. It draws no random numbers there and takes no time
from the loop. Neither a crash of the tracker nor a lost network can stop the run or change its results.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fer_kit import programs
from fer_kit.errors import FerKitError
from fer_kit.files import atomic

OFF, OFFLINE, ONLINE = MODES = ("off", "offline", "online")
PLACE = "wandb"  # folder below the run folder, for the files of W&B and the two below
FACTS, IDENTITY = "facts.json", "identity.json"  # facts given by the training; the id of the W&B run
STOPPED = "W&B: stopped"

UPLOAD_SECONDS = 600.0  # limit of the upload after the end of a run; the rest stays on disk
WAIT_SECONDS = UPLOAD_SECONDS + 60
WAIT_AFTER_FAULT_SECONDS = 30.0  # shorter after an error or Ctrl-C

OTHER_RUNS = tuple(  # variables that name another run: of a sweep's agent, or set for a run by hand
    f"WANDB_{name}"
    for name in ("RUN_ID", "SWEEP_ID", "SWEEP_PARAM_PATH", "NAME", "RUN_GROUP", "JOB_TYPE", "TAGS", "RESUME", "SERVICE")
)
PASSING = ("TMPDIR", "WANDB_CACHE_DIR")  # folders that are deleted at the end
FOLDERS = {"TMPDIR": "tmp", "WANDB_CACHE_DIR": "cache", "WANDB_DATA_DIR": "data"}


def add_option(parser: ArgumentParser) -> None:
    """Add the option `--wandb off|offline|online`."""
    parser.add_argument(
        "--wandb",
        choices=MODES,
        default=OFF,
        help="log to Weights & Biases; offline: only write files into the run folder, without login or network, for "
        "`wandb sync` later",
    )


@contextlib.contextmanager
def following(
    folder: Path, mode: str, data: str | Path | None = None, facts: dict[str, Any] | None = None
) -> Iterator[None]:
    """Log the fold or blend in `folder` while the body makes it; at the end, wait for the upload.

    Args:
        mode: one of `MODES`; "off" starts nothing.
        data: folder with the competition's files, for sample pictures; searched for if None.
        facts: JSON values known from the start that are in no other file of the folder.

    If the tracker cannot be started, stops or hangs, a line on stderr says so; no error is raised.
    """
    if mode == OFF:
        yield
        return
    tracker = _start(folder, mode, data, facts)
    try:
        yield
    except BaseException:
        _end(tracker, folder, min(WAIT_AFTER_FAULT_SECONDS, WAIT_SECONDS))
        raise
    _end(tracker, folder, WAIT_SECONDS)


def send(folder: Path, mode: str, data: str | Path | None = None) -> bool:
    """Log a finished fold or blend; returns whether the tracker logged everything."""
    return mode == OFF or _end(_start(folder, mode, data, None), folder, WAIT_SECONDS)


def _start(
    folder: Path, mode: str, data: str | Path | None, facts: dict[str, Any] | None
) -> subprocess.Popen[bytes] | None:
    command = programs.python("-m", "fer_kit.track.tracker", str(folder), mode)
    command += [] if data is None else ["--data", str(data)]
    try:
        if facts is not None:
            atomic.write_json(folder / PLACE / FACTS, facts)
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=_environment(folder),
            start_new_session=True,  # so that Ctrl-C does not reach the tracker, and one kill ends all its processes
        )
    except (OSError, FerKitError) as error:
        _tell(f"{STOPPED}, because the tracker could not be started ({error}); the run continues without W&B")
        return None


def _environment(folder: Path) -> dict[str, str]:
    """The tracker's environment variables, with folders for the files of wandb."""
    place = folder.absolute() / PLACE
    environment = {name: value for name, value in programs.environ(os.environ).items() if name not in OTHER_RUNS}
    environment["WANDB_DIR"] = str(folder.absolute())
    environment.setdefault("WANDB_ERROR_REPORTING", "false")
    for name, inside in FOLDERS.items():
        (place / inside).mkdir(parents=True, exist_ok=True)
        environment[name] = str(place / inside)
    return environment


def _end(tracker: subprocess.Popen[bytes] | None, folder: Path, seconds: float) -> bool:
    """End the tracker, wait for it and delete its temporary folders; returns whether it logged everything."""
    if tracker is None:
        return False
    try:
        with contextlib.suppress(OSError):  # the tracker may have ended
            if tracker.stdin is not None:
                os.set_blocking(tracker.stdin.fileno(), False)
                tracker.stdin.write(b"end\n")  # closing is not enough: a forked data loader can hold the pipe open
                tracker.stdin.close()
        return tracker.wait(seconds) == 0
    except subprocess.TimeoutExpired:
        _tell(f"{STOPPED}, because the upload took over {seconds:.0f} s; send the files with: {sync_line(folder)}")
        return False
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(tracker.pid, signal.SIGKILL)
        tracker.wait()
        for name in PASSING:
            shutil.rmtree(folder / PLACE / FOLDERS[name], ignore_errors=True)


def sync_line(folder: Path) -> str:
    """The command that uploads the W&B files in `folder`, for a shell."""
    return f"wandb sync {shlex.quote(str(folder / PLACE))}/*run-*"


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
