"""The tracker: logs a run folder to Weights & Biases (W&B) while it grows. Started by `fer_kit.track.follow`.

    python -m fer_kit.track.tracker FOLDER offline --data D

The tracker reads metrics.jsonl until its standard input ends. Then, if the folder is finished, it adds results,
pictures and artifacts. All data come from files, so a later tracker logs what a killed tracker has missed.
"""

from __future__ import annotations

import os
import secrets
import select
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fer_kit import cli
from fer_kit.errors import first_line
from fer_kit.files import atomic
from fer_kit.runs.training_record import METRICS, read_epochs
from fer_kit.track import run_description
from fer_kit.track.follow import FOLDERS, IDENTITY, OFFLINE, ONLINE, PLACE, STOPPED, UPLOAD_SECONDS, sync_line
from fer_kit.track.run_description import RunDescription

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from wandb import Run

PROJECT = "facial-expression-recognition"
LOOK_SECONDS = 1.0
LOGIN_SECONDS = 60.0


def build_parser() -> ArgumentParser:
    """The command line of `python -m fer_kit.track.tracker`."""
    parser = cli.parser("python -m fer_kit.track.tracker", "Log one run folder to Weights & Biases as it grows.")
    parser.add_argument("folder", type=Path, help="a fold of a run, or a blend")
    parser.add_argument("mode", choices=(OFFLINE, ONLINE))
    parser.add_argument("--data", help="folder with the competition's files")
    return parser


def body(args: Namespace) -> int:
    """Log the folder until its end; returns 1 if W&B raised an error."""
    folder = args.folder
    try:
        description = run_description.describe(folder)
        run, mode = begin(folder, description, args.mode)
        follow(folder, run)
        finished = run_description.is_finished(folder)
        if finished:
            run_description.log_results(run, run_description.describe(folder), args.data)
        where = run.dir
        run.finish(exit_code=0 if finished else 1)
    except Exception as error:  # wandb has no common base class of errors, and no error may stop the training
        tell(f"{STOPPED} ({first_line(error, 300)}); the run itself is not affected")
        return 1
    if mode == OFFLINE:
        tell(f"W&B: written to {Path(where).parent}; upload with: {sync_line(folder)}")
        return 0
    tell(f"W&B: {run.url}; if the network was lost, upload the rest with: {sync_line(folder)}")
    shutil.rmtree(folder / PLACE / FOLDERS["WANDB_DATA_DIR"], ignore_errors=True)
    return 0


def begin(folder: Path, description: RunDescription, mode: str) -> tuple[Run, str]:
    """Start the W&B run, or continue the run of this folder.

    Without login or network, the run is written offline and a line says so.

    Returns:
        The run and its mode.
    """
    import wandb

    known = identity(folder, description)
    before = set((folder / PLACE).glob("run-*"))
    if mode == ONLINE:
        try:
            run = start(folder, description, mode, known)
            tell(f"W&B: logging to {run.url}")
            return run, mode
        except Exception as error:  # no login, no network, wrong entity: errors of many classes
            tell(f"W&B: cannot log online ({first_line(error)}); writing offline files, for {sync_line(folder)}")
            wandb.teardown()
    empty = set((folder / PLACE).glob("run-*")) - before  # folders of the failed attempt
    for old in empty.union((folder / PLACE).glob(f"offline-run-*-{known}")):
        shutil.rmtree(old, ignore_errors=True)  # the new run logs all epochs again
    return start(folder, description, OFFLINE, known), OFFLINE


def start(folder: Path, description: RunDescription, mode: str, known: str) -> Run:
    """Call wandb.init with all arguments given, so that WANDB_ variables of other runs have no effect."""
    import wandb

    settings = wandb.Settings(
        silent=True,
        console="off",
        disable_git=True,  # the commit is in the config
        disable_code=True,
        init_timeout=LOGIN_SECONDS,
        x_stats_pid=os.getppid(),  # log load and memory of the training, not of the tracker
    )
    if "finish_timeout" in wandb.Settings.model_fields:  # older versions wait until `follow` ends this process
        settings.finish_timeout = UPLOAD_SECONDS
    return wandb.init(
        project=PROJECT,
        id=known,
        name=description.name,
        group=description.group,
        job_type=description.job_type,
        tags=list(description.tags),
        config=description.config,
        dir=str(folder),  # some versions refuse a Path
        mode="online" if mode == ONLINE else "offline",
        resume="allow" if mode == ONLINE else None,
        settings=settings,
    )


def identity(folder: Path, description: RunDescription) -> str:
    """The id of the folder's W&B run, kept in identity.json; a new id if the config has changed."""
    path = folder / PLACE / IDENTITY
    digest = description.config["config_digest"]
    if path.is_file():
        kept = atomic.read_json(path)
        if kept.get("config_digest") == digest:
            return str(kept["id"])
    made = {"id": secrets.token_hex(4), "project": PROJECT, "config_digest": digest}
    atomic.write_json(path, made)
    return str(made["id"])


def follow(folder: Path, run: Run) -> None:
    """Log each epoch of metrics.jsonl soon after it is written, until standard input ends."""
    stdin = sys.stdin.fileno()
    logged = run.step - 1  # the last step that the server has, if the run is continued
    while True:
        ended = bool(select.select([stdin], [], [], LOOK_SECONDS)[0])
        for row in read_epochs(folder / METRICS)[0]:  # always replaced as a whole, so no line is incomplete
            if row["epoch"] > logged:
                run.log(run_description.history_row(row), step=row["epoch"], commit=True)
                logged = row["epoch"]
        if ended:
            return


def tell(line: str) -> None:
    """Print a line to stderr, which is the terminal of the training."""
    print(line, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tracker; exit code 0, or 1 after an error of W&B."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
