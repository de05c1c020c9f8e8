"""What comes back from a node: checked as a whole, then put in place of the unfinished run folder."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.folds import fold_spec
from fer_kit.runs import finished_folder, folders
from fer_kit.runs.training_record import CONFIG, ENVIRONMENT
from fer_kit.sweep.remote import parcel
from fer_kit.sweep.training import Training


@dataclass(frozen=True)
class Expected:
    """Digests of the driver's folds and data."""

    folds_digest: str
    data_digest: str


def save_checkpoint(content: bytes, runs: Path, training: Training, command: str) -> None:
    """Write a checkpoint into the run folder, from which any worker can go on; metrics.jsonl comes last."""
    parcel.unpack(content, training.folder(runs), parcel.CHECKPOINT)
    record_command(training.folder(runs), command)


def record_command(folder: Path, command: str) -> None:
    """Record in env.json the command as the driver would give it; the node's had its temporary folders."""
    path = folder / ENVIRONMENT
    if path.is_file():
        atomic.write_json(path, {**atomic.read_json(path), "command": command})


def put_in_place(content: bytes, runs: Path, training: Training, expected: Expected, command: str) -> None:
    """Check a finished run folder and move it to its place; env.json gets the driver's command.

    Raises:
        FerKitError: files are missing or damaged; the scores are not those of the rows; the training had other data,
            folds or settings. The unfinished folder is as it was.
    """
    target = training.folder(runs)
    aside = runs / f".arriving-{atomic.digest_of(str(target))[:12]}"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        arrived = aside / target.parent.name / target.name
        parcel.unpack(content, arrived, parcel.FINISHED)
        check(aside, arrived, training, expected)
        for sibling in (target, *sorted(target.parent.glob("fold*"))):
            same_settings(arrived, sibling)
        record_command(arrived, command)
        atomic.move_folder(arrived, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def check(aside: Path, arrived: Path, training: Training, expected: Expected) -> None:
    """Check hashes, digests and scores of an arrived folder.

    Raises:
        FerKitError: see `put_in_place`.
    """
    where = f"{training}: what the node sent"
    result: dict[str, Any] | None = finished_folder.read(arrived, finished_folder.RESULT)
    if result is None:
        raise FerKitError(f"{where} has no {finished_folder.RESULT}")
    for key in ("folds_digest", "data_digest"):
        if result.get(key) != getattr(expected, key):
            raise FerKitError(f"{where} has {key} {result.get(key)}, not {getattr(expected, key)}")
    if result.get("config_digest") != atomic.digest_of(atomic.read_json(arrived / CONFIG)):
        raise FerKitError(f"{where} has another {CONFIG} than {finished_folder.RESULT} was written for")
    if result.get("run") != training.run or result.get("fold") != fold_spec.recorded(training.fold):
        raise FerKitError(f"{where} is fold {result.get('fold')} of {result.get('run')}")
    if isinstance(training.fold, int) and "oof_accuracy" in result:
        folders.load(aside, training.run, allow_partial=True)  # computes the score again from the rows


def same_settings(arrived: Path, sibling: Path) -> None:
    """Refuse an arrived folder whose settings are not those of the other folds of its run.

    Raises:
        FerKitError: the message names both folders.
    """
    if not (sibling / CONFIG).is_file():
        return
    if atomic.read_json(sibling / CONFIG) != atomic.read_json(arrived / CONFIG):
        raise FerKitError(f"{sibling} has other settings than the training on the node; name a new run with --tag")
