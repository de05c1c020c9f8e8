"""Weights & Biases beside a run: a process of its own reads the run folder and logs what it finds there.

    with wandb_log.following(folder, "offline", data, facts):
        ...  # train; metrics.jsonl grows, at last result.json appears

The tracker shares nothing with the training process but files and the end of a pipe. So it draws no random number
there, takes no time from the loop, and neither its crash nor a dead network can stop the run or move a bit of it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fer_kit.errors import FerKitError
from fer_kit.files import atomic

OFF, OFFLINE, ONLINE = MODES = ("off", "offline", "online")
PLACE = "wandb"  # below the run folder: what wandb writes, and what follows
FACTS, IDENTITY = "facts.json", "identity.json"  # told by the run; the id of its W&B run
STOPPED = "W&B: stopped"

UPLOAD_SECONDS = 600.0  # for what is still to be sent when the run ends; the rest stays on disk
WAIT_SECONDS = UPLOAD_SECONDS + 60
WAIT_AFTER_FAULT_SECONDS = 30.0  # after Ctrl-C nobody wants to wait for an upload

PASSING = ("TMPDIR", "WANDB_CACHE_DIR")  # thrown away at the end
FOLDERS = {"TMPDIR": "tmp", "WANDB_CACHE_DIR": "cache", "WANDB_DATA_DIR": "data"}


def add_option(parser: ArgumentParser) -> None:
    """`--wandb off|offline|online`."""
    parser.add_argument(
        "--wandb",
        choices=MODES,
        default=OFF,
        help="log to Weights & Biases; offline keeps everything in the run folder, without login or network, "
        "until `wandb sync`",
    )


@contextlib.contextmanager
def following(
    folder: Path, mode: str, data: str | Path | None = None, facts: dict[str, Any] | None = None
) -> Iterator[None]:
    """Log the fold or blend in `folder` while the body runs and makes it; at the end wait for the last bytes.

    Args:
        mode: one of `MODES`; "off" starts nothing.
        data: where the competition's files are, for pictures of samples; found by itself where not given.
        facts: JSON values known from the start that no other file of the folder tells.

    A tracker that cannot be started, stops or hangs is told of on stderr, and that is all it does.
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
    """Log a fold or blend that is there already; whether the tracker came to its end."""
    return mode == OFF or _end(_start(folder, mode, data, None), folder, WAIT_SECONDS)


def _start(
    folder: Path, mode: str, data: str | Path | None, facts: dict[str, Any] | None
) -> subprocess.Popen[bytes] | None:
    command = [sys.executable, "-m", "fer_kit.track.tracker", str(folder), mode]
    command += [] if data is None else ["--data", str(data)]
    try:
        if facts is not None:
            atomic.write_json(folder / PLACE / FACTS, facts)
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=_environment(folder),
            start_new_session=True,  # Ctrl-C is for the training; and so one kill reaches all of it
        )
    except (OSError, FerKitError) as error:
        _tell(f"{STOPPED}, since it could not be started ({error}); the run goes on without")
        return None


def _environment(folder: Path) -> dict[str, str]:
    """The tracker's environment: this code, and folders of its own for all that wandb drops."""
    place = folder.absolute() / PLACE
    code = str(Path(__file__).resolve().parents[2])
    paths = [code, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "WANDB_DIR": str(folder.absolute())}
    environment.pop("WANDB_SERVICE", None)  # the tracker of whoever started us
    environment.setdefault("WANDB_ERROR_REPORTING", "false")
    for name, inside in FOLDERS.items():
        (place / inside).mkdir(parents=True, exist_ok=True)
        environment[name] = str(place / inside)
    return environment


def _end(tracker: subprocess.Popen[bytes] | None, folder: Path, seconds: float) -> bool:
    """Tell the tracker that nothing more will come, wait for it, clear up behind it; whether it logged everything."""
    if tracker is None:
        return False
    try:
        with contextlib.suppress(OSError):  # it may be gone
            if tracker.stdin is not None:
                os.set_blocking(tracker.stdin.fileno(), False)
                tracker.stdin.write(b"end\n")  # said and not only closed: a forked loader could hold the pipe open
                tracker.stdin.close()
        return tracker.wait(seconds) == 0
    except subprocess.TimeoutExpired:
        _tell(f"{STOPPED}, since it was not done after {seconds:.0f} s; send what it wrote with: {sync_line(folder)}")
        return False
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(tracker.pid, signal.SIGKILL)
        tracker.wait()
        for name in PASSING:
            shutil.rmtree(folder / PLACE / FOLDERS[name], ignore_errors=True)


def sync_line(folder: Path) -> str:
    """The command that sends what lies in `folder`."""
    return f"wandb sync {folder / PLACE}/*run-*"


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
