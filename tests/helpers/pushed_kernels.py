"""Kernels for tests: arguments for a small one, outputs that nobody trained, and the pushed script run for real."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fer_kit.folds import table
from fer_kit.runs import folders
from kernels import __main__ as commands
from kernels import push_log
from kernels.inside import archive, manifest
from tests.helpers import fake_runs
from tests.helpers.kaggle_fixture import hermetic
from tests.helpers.kaggle_standin import KernelVersion

SLUG = "challenges-in-representation-learning-facial-expression-recognition-challenge"
RUN = "baseline_v1-small"
SMALL = ["--recipe", "baseline_v1", "--set", "epochs=2", "batch_size=32", "--tag", "small", "--accelerator", "none"]


def parsed(*argv: str) -> Any:
    return commands.build_parser().parse_args([*argv])


def constants(script: str) -> dict[str, Any]:
    """The settings at the top of a script, without running it."""
    head: dict[str, Any] = {"__name__": "looked at"}
    exec(compile(script, "script", "exec"), head)
    return head


def bare_python(folder: Path) -> Path:
    """An interpreter that finds all installed packages but fer_kit: the installation in place is left out.

    A path in a .pth file is searched for packages, and the .pth files in that place are not read.
    """
    venv.create(folder, symlinks=True)
    place = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    (Path(place) / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = folder / "bin" / "python"
    found = [sys.executable, "-c", "import fer_kit"], [str(python), "-I", "-c", "import torch, numpy, fer_kit"]
    for command, module in zip(found, (b"", b"No module named 'fer_kit'"), strict=True):
        assert module in subprocess.run(command, capture_output=True).stderr, "fer_kit is not installed in place"
    return python


def run_script(version: KernelVersion, home: Path, inputs: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Do what Kaggle does with a pushed version: a clean python without fer_kit, inputs mounted, the output kept."""
    output, scratch = home / "working", home / "tmp"
    for folder in (output, scratch):
        folder.mkdir(parents=True)
    script = home / "script.py"
    script.write_text(version.source)
    done = subprocess.run(
        [str(bare_python(home / "env")), "-I", str(script)],
        cwd=output,
        env={
            **{name: value for name, value in hermetic(os.environ).items() if not name.startswith("FER_KIT_")},
            "TMPDIR": str(scratch),
            "FER_KIT_KAGGLE_INPUT": str(inputs),
            "FER_KIT_KAGGLE_WORKING": str(output),
            **environ,
        },
        capture_output=True,
        text=True,
    )
    assert not list(scratch.glob("fer_kit*")), "the session left its scratch behind"
    version.files = {path.name: path.read_bytes() for path in sorted(output.iterdir())}
    version.log = json.dumps([{"stream_name": "stdout", "time": 1.0, "data": done.stdout + done.stderr}])
    version.states = ["QUEUED", "RUNNING", "COMPLETE" if done.returncode == 0 else "ERROR"]
    return done


def save_runs(folder: Path, finished: tuple[int, ...] = (0, 1, 2), unfinished: tuple[int, ...] = ()) -> Path:
    """Run folders as `archive.pack` takes them, with folds.csv, drawn from a seed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "folds.csv").write_bytes(fake_runs.TABLE)
    digest = table.read(folder / "folds.csv").digest
    for fold in (*finished, *unfinished):
        path = folders.fold_folder(folder, RUN, fold)
        fake_runs.save_fold(path, *fake_runs.fold_parts(RUN, fold, 1, 1.5, folds_digest=digest))
        (path / "config.json").write_text('{"epochs": 1}')
        if fold in unfinished:
            for name in ("result.json", "oof.npz", "test.npz"):
                (path / name).unlink()
            (path / "last.pt").write_bytes(b"a checkpoint")
    return folder


def save_output(folder: Path, run_id: str, runs_dir: Path, **changes: Any) -> Path:
    """A kernel's output folder with what `runs_dir` holds; `changes` go to the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    archive.pack(runs_dir, RUN, folder / "runs-1.tar")
    finished = tuple(fold for fold in range(3) if (runs_dir / RUN / f"fold{fold}" / "result.json").exists())
    values = {
        "run_id": run_id,
        "bundle_sha256": "0" * 64,
        "commit": "tests",
        "run": RUN,
        "device": "2 × Tesla T4 (15 GiB, fp16)",
        "written": "2026-01-31T12:00:00Z",
        "final": True,
        "asked": (0, 1, 2),
        "finished": finished,
        "stopped": tuple({0, 1, 2} - set(finished)),
        "failed": (),
    }
    ours = {name: changes.pop(name) for name in ("archive", "bytes", "sha256") if name in changes}
    told = manifest.of(folder / "runs-1.tar", **(values | changes))
    manifest.write(folder, dataclasses.replace(told, **ours))
    return folder


@contextlib.contextmanager
def full_disk(full: Callable[[tarfile.TarFile, Path], bool]) -> Iterator[None]:
    """The disk of a kernel's archives is full where `full` says so of an archive and the file to be added."""
    add = archive.add

    def add_if_room(tar: tarfile.TarFile, source: Path, name: str) -> None:
        if full(tar, source):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        add(tar, source, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive, "add", add_if_room)
        yield


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def mount(inputs: Path, place: str, files: Mapping[str, Any] | Path) -> None:
    """Files below `inputs`, not writable."""
    folder = inputs / place
    folder.mkdir(parents=True)
    if isinstance(files, Path):
        shutil.copytree(files, folder, dirs_exist_ok=True)
    else:
        for name, content in files.items():
            (folder / name).write_bytes(content)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)


def entry(run_id: str = "20260131T120000-aaaaaaaa", **changes: Any) -> push_log.Push:
    values: dict[str, Any] = {
        "run_id": run_id,
        "ref": "player/fer-kit-small",
        "version": 1,
        "url": "https://www.kaggle.com/code/player/fer-kit-small",
        "utc": push_log.utc_now(),
        "accelerator": "none",
        "run": RUN,
        "folds": (0, 1, 2),
        "limit_minutes": 500.0,
        "bundle_sha256": "0" * 64,
        "commit": "tests",
        "state": push_log.PUSHED,
    }
    return push_log.Push(**(values | changes))
