"""What runs on a node: one training as a child process, in a folder of the node; nothing here needs Ray.

The node's folder is <temporary folder>/fer_kit-ray/<driver>/<node>: the data once, and the runs of this driver. The
driver gets a checkpoint after each epoch, so a node can vanish at any time.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_kit import programs
from fer_kit.data import loading
from fer_kit.errors import FerKitError
from fer_kit.files import atomic, lock
from fer_kit.sweep.remote import parcel
from fer_kit.sweep.training import epochs_saved

POLL_SECONDS = 0.2
PATIENCE_SECONDS = 900.0  # for another training that writes the data
OLD_SECONDS = 30 * 86_400.0
GRACE_SECONDS = 60.0  # past the time limit
PR_SET_PDEATHSIG = 1  # of prctl(2)

Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Data:
    """The competition as arrays: train images (N, 48, 48), labels (N,), test images (M, 48, 48)."""

    train_images: Images
    train_labels: NDArray[np.int64]
    test_images: Images


@dataclass(frozen=True)
class Task:
    """One training, for any node.

    Attributes:
        driver: identifies the driver: runs of different drivers do not meet on a node.
        run, fold: of the training; `fold` as the name of its folder.
        words: options of `fer_kit.train`, without --data and --runs; `inputs` replace words by files.
        data_digest: that the data must have.
        folds: the folds files, by name.
        inputs: files and folders that the words name, by word, as parcels.
        checkpoint: a parcel of the run folder to resume; None for a new training.
        deadline: in time.time(); None for no time limit.
        environ: variables of the child process.
        module: what is run, for tests.
    """

    driver: str
    run: str
    fold: str
    words: Sequence[str]
    data_digest: str
    folds: Mapping[str, bytes]
    inputs: Mapping[str, bytes] = field(default_factory=dict)
    checkpoint: bytes | None = None
    deadline: float | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    module: str = "fer_kit.train"


@dataclass(frozen=True)
class News:
    """What happened since the last news: printed bytes, and a checkpoint if an epoch was saved."""

    printed: bytes = b""
    checkpoint: bytes | None = None


@dataclass(frozen=True)
class Ended:
    """How a training ended. files: a parcel of the run folder. finished: it holds a finished fold, not a checkpoint."""

    code: int
    files: bytes
    news: News
    finished: bool = False


def train(task: Task, node: str, data: Callable[[], Data], tell: Callable[[News], None]) -> Ended:
    """Train on this node.

    Args:
        node: identifies the node.
        data: fetches the data, if this node does not have it yet.
        tell: gives news to the driver.

    Raises:
        FerKitError: the node's folder cannot be written, or the data is not what the driver has.
    """
    base = root() / task.driver / node
    remove_old(root())
    place, runs = prepare(base, task, data)
    folder = runs / task.run / task.fold
    shutil.rmtree(folder, ignore_errors=True)
    if task.checkpoint is not None:
        parcel.unpack(task.checkpoint, folder, parcel.CHECKPOINT)
    words = [*with_inputs(task, base / "inputs"), "--data", str(place), "--runs", str(runs)]
    if task.deadline is not None:
        words += ["--limit-minutes", f"{max(task.deadline - time.time(), 0.6) / 60:.4g}"]
    try:
        return follow(task, words, base, folder, tell)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def root() -> Path:
    """The folder of all drivers on this node, which only this user can read.

    Raises:
        FerKitError: another user made a folder of that name.
    """
    folder = Path(tempfile.gettempdir()) / f"fer_kit-ray-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise FerKitError(f"{folder}: belongs to another user; remove it, or set TMPDIR on this node")
    return folder


def prepare(base: Path, task: Task, data: Callable[[], Data]) -> tuple[Path, Path]:
    """The folders of data and of runs; the first training on a node makes them."""
    place, runs = base / "data", base / "runs"
    with lock.held(base / "ready", "another training prepares this node", PATIENCE_SECONDS):
        if not (base / "ready").exists():
            write_data(place, data())
            loading.load(place, runs / "cache", task.data_digest, "the driver's runs")
            for name, content in task.folds.items():
                with atomic.replacing(runs / name) as file:
                    file.write(content)
            (base / "ready").touch()
    return place, runs


def write_data(place: Path, data: Data) -> None:
    """Write train.csv and test.csv."""
    place.mkdir(parents=True, exist_ok=True)
    with atomic.replacing(place / "train.csv", "w") as file:
        file.write("emotion,pixels\n")
        for label, image in zip(data.train_labels.tolist(), data.train_images, strict=True):
            file.write(f"{label},{_pixels(image)}\n")
    with atomic.replacing(place / "test.csv", "w") as file:
        file.write("pixels\n")
        for image in data.test_images:
            file.write(f"{_pixels(image)}\n")


def _pixels(image: Images) -> str:
    return " ".join(map(str, image.reshape(-1).tolist()))


def with_inputs(task: Task, place: Path) -> list[str]:
    """The words, with the paths of the input files on this node."""
    words = list(task.words)
    for word, content in task.inputs.items():
        folder = place / atomic.digest_of(word)[:16]
        parcel.unpack(content, folder)
        name, equals, path = word.rpartition("=")
        here = folder / Path(path).name if (folder / Path(path).name).is_file() else folder
        words = [f"{name}{equals}{here}" if one == word else one for one in words]
    return words


def follow(task: Task, words: Sequence[str], base: Path, folder: Path, tell: Callable[[News], None]) -> Ended:
    """Run the training and give news until it ends."""
    log = base / f"{task.run}-{task.fold}.txt"
    with log.open("wb") as out:
        process = subprocess.Popen(
            programs.python("-u", "-m", task.module, *words),
            cwd=base,
            env=programs.environ({**os.environ, **task.environ}),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            preexec_fn=_die_with_parent,
        )
    read, epochs = 0, epochs_saved(folder)
    try:
        while process.poll() is None:
            time.sleep(POLL_SECONDS)
            printed = _printed(log, read)
            saved = epochs_saved(folder)
            checkpoint = parcel.pack(folder, parcel.CHECKPOINT) if saved > epochs else None
            if printed or checkpoint is not None:
                tell(News(printed, checkpoint))
                read, epochs = read + len(printed), saved
            if task.deadline is not None and time.time() > task.deadline + GRACE_SECONDS:
                process.send_signal(signal.SIGINT)
    finally:
        process.kill()
        process.wait()
    finished = (folder / "result.json").is_file()
    files = parcel.pack(folder, parcel.FINISHED if finished else parcel.CHECKPOINT) if folder.is_dir() else b""
    news = News(_printed(log, read))
    with contextlib.suppress(OSError):
        log.unlink()
    return Ended(process.returncode, files, news, finished)


def _printed(log: Path, start: int) -> bytes:
    with log.open("rb") as file:
        file.seek(start)
        return file.read()


def _die_with_parent() -> None:
    """The training must not outlive the worker process of Ray: when its node dies, another node resumes it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def remove_old(folder: Path) -> None:
    """Remove the folders of drivers that have ended long ago without `clean`."""
    for ready in folder.glob("*/*/ready"):
        with contextlib.suppress(OSError):
            if time.time() - ready.stat().st_mtime > OLD_SECONDS:
                shutil.rmtree(ready.parent)


def clean(driver: str) -> None:
    """Remove the folders of a driver from this node."""
    shutil.rmtree(root() / driver, ignore_errors=True)
