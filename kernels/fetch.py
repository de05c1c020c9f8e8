"""Fetch what a kernel trained: download to a temporary folder, check everything, then move it to the local runs."""

from __future__ import annotations

import contextlib
import dataclasses
import filecmp
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fer_kit.errors import FerKitError
from fer_kit.files import atomic, lock
from fer_kit.folds import table
from fer_kit.kaggle.client import Client, KernelState
from fer_kit.kaggle.errors import KernelFailed, OutputIncomplete, UnknownSlug
from fer_kit.runs import finished_folder, folders
from fer_kit.runs.training_record import CONFIG
from kernels import push_log
from kernels.inside import archive, manifest
from kernels.inside.manifest import Manifest
from kernels.push import ENDED, failed, look
from kernels.push_log import Push


class OlderOutput(OutputIncomplete):
    """The output is that of another push: Kaggle has not replaced it yet, or somebody else pushed."""


@dataclass(frozen=True)
class Fetched:
    """What came home: moved and kept are fold folders (kept: finished here already), output is the manifest."""

    moved: tuple[Path, ...]
    kept: tuple[Path, ...]
    output: Manifest


def fetch(client: Client, push: Push, runs_dir: Path, *, partial: bool = False, replace: bool = False) -> Fetched:
    """Fetch the output of `push`, check it, and move its folds into `runs_dir`.

    partial: accept what a failed or interrupted kernel saved. replace: replace unfinished local folds.

    Raises:
        KaggleError: the kernel has not ended or failed, or its output is incomplete or of another push.
        FerKitError: the output does not fit the local runs. Nothing is changed in any of these cases.
    """
    state, sure = look(client, push, runs_dir)
    if state.word not in ENDED:
        raise FerKitError(f"{push.name} has not ended ({state.raw.lower() or state.word}); wait, then fetch again")
    with folder_aside(runs_dir, push) as aside:
        output, unpacked = aside / "output", aside / "runs"
        output.mkdir()
        unpacked.mkdir()
        download(client, push, output)
        described = examine(push, state, sure, output, partial)
        try:
            first, *others = names = [part.run for part in described.runs]
            archive.unpack(manifest.check_archive(output, described), unpacked, first, others)
        except FerKitError as error:
            raise OutputIncomplete(f"{push.name}: {error}; fetch again") from None
        check_runs(unpacked, described)
        with contextlib.ExitStack() as locks:
            locks.enter_context(lock.held(runs_dir / "folds.csv", "another process makes folds or fetches here"))
            for fold in [fold for name in names for fold in fold_folders(unpacked, name)]:
                target = runs_dir / fold.parent.name / fold.name
                locks.enter_context(lock.held(target, "another process trains or fetches this fold"))
            moves, kept = plan_moves(unpacked, runs_dir, names, replace)
            bring_folds(unpacked, runs_dir)
            for target in (*kept, *(target for _, target in moves)):  # a fetch that was killed behind its last rename
                atomic.sweep(target.parent, target.name)
            for source, target in moves:
                atomic.move_folder(source, target)
    push_log.put(runs_dir, dataclasses.replace(push, state=push_log.FETCHED, seen=True))
    return Fetched(tuple(target for _, target in moves), kept, described)


def download(client: Client, push: Push, folder: Path) -> None:
    """Download the output of the version of `push`, or of the kernel where the client or Kaggle knows no versions."""
    if push.version and client.knows_versions:
        with contextlib.suppress(UnknownSlug):
            client.kernel_output(push.versioned, folder)
            return
    client.kernel_output(push.ref, folder)


@contextlib.contextmanager
def folder_aside(runs_dir: Path, push: Push) -> Iterator[Path]:
    """An empty folder in `runs_dir` for the output of `push`, removed afterwards, as is the rest of a killed fetch.

    Raises:
        FerKitError: another process fetches the same push, or the folder cannot be written.
    """
    folder = runs_dir / f".fetch-{atomic.digest_of(push.run_id)[:12]}"
    with lock.held(folder, "another process fetches this kernel"):
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def examine(push: Push, state: KernelState, sure: bool, output: Path, partial: bool) -> Manifest:
    """The manifest in a fetched output, checked to be that of this push, written when all its folds had ended.

    sure: the state is certainly that of this push. Of a version that failed Kaggle may give the output of an older one.

    Raises:
        KernelFailed: the kernel failed (the end of its log is shown). OlderOutput: of another push.
        OutputIncomplete: no manifest, or one written while the kernel still trained.
    """
    log = log_lines(output)
    log_ids = re.findall(r"run id\s+([\w-]+)", "\n".join(log))
    older_log = bool(log_ids) and push.run_id not in log_ids
    failure = failed(push, state, [] if older_log else log)
    fails = sure and state.word != "complete"
    if not (output / manifest.NAME).is_file():
        if older_log and not fails:
            raise OlderOutput(f"{push.ref}: its log is that of an older version; fetch again in a minute")
        if state.word != "complete":
            raise failure
        names = ", ".join(sorted(path.name for path in output.iterdir())) or "nothing"
        raise OutputIncomplete(f"{push.name}: no {manifest.NAME} in its output ({names}); was the script changed?")
    try:
        described = manifest.read(output)
    except FerKitError as error:
        raise OutputIncomplete(f"{push.name}: {error}") from None
    if described.run_id != push.run_id:
        if fails:
            raise failure
        raise OlderOutput(
            f"{push.ref}: its output is of run id {described.run_id} ({described.written}), this push has "
            f"{push.run_id}; the output belongs to an older version or to another push; if the push is recent, "
            "fetch again in a minute"
        )
    if described.final or partial:
        return described
    done = " and ".join(f"{f'{one.run} ' * bool(described.more)}{_list(one.finished)}" for one in described.runs)
    hint = f"; folds that it finished: {done}; take what there is with --partial"
    if state.word != "complete":
        raise KernelFailed(f"{failure}{hint}")
    raise OutputIncomplete(f"{push.name}: its output was saved at {described.written}, during the training{hint}")


def check_runs(unpacked: Path, described: Manifest) -> None:
    """Raise OutputIncomplete unless the folds of each run are whole, of one configuration, on the folds.csv there."""
    where = f"the output of run id {described.run_id}"
    try:
        digest = table.read(unpacked / "folds.csv").digest
        for part in described.runs:
            finished = folders.status(unpacked, part.run).finished if (unpacked / part.run).is_dir() else ()
            missing = sorted({*part.finished} - {*finished})
            if missing:
                raise OutputIncomplete(f"{where}: fold {missing[0]} is listed as finished, but is not")
            if finished:
                run = folders.load(unpacked, part.run, allow_partial=True)  # every score computed again from its rows
                if run.oof.meta["folds_digest"] != digest:
                    raise OutputIncomplete(f"{where}: trained on other folds than its folds.csv")
            for folder in fold_folders(unpacked, part.run):
                atomic.read_json(folder / CONFIG)
    except OutputIncomplete:
        raise
    except FerKitError as error:
        raise OutputIncomplete(f"{where}: {error}") from None


def plan_moves(
    unpacked: Path, runs_dir: Path, runs: Sequence[str], replace: bool
) -> tuple[list[tuple[Path, Path]], tuple[Path, ...]]:
    """Which fold folders are moved where, and which are skipped because they are finished here.

    Raises:
        FerKitError: there are other folds, another configuration of the same name, or an unfinished local fold.
    """
    here = runs_dir / "folds.csv"
    if here.exists():
        ours, theirs = table.read(here).digest, table.read(unpacked / "folds.csv").digest
        if ours != theirs:
            raise FerKitError(
                f"{here} (digest {ours[:12]}) holds other folds than the kernel trained on ({theirs[:12]}), so its runs"
                " would not blend with yours; fetch into a folder of its own with --runs"
            )
    found = [moves_of_run(unpacked, runs_dir, run, replace) for run in runs]
    return [move for moves, _ in found for move in moves], tuple(folder for _, kept in found for folder in kept)


def moves_of_run(unpacked: Path, runs_dir: Path, run: str, replace: bool) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """As `plan_moves`, for one run.

    Raises:
        FerKitError: another configuration of the same name, or an unfinished local fold.
    """
    moves, kept = [], []
    theirs_config = {_config(folder) for folder in fold_folders(unpacked, run)}
    for folder in fold_folders(runs_dir, run):
        if (folder / CONFIG).is_file() and theirs_config and _config(folder) not in theirs_config:
            raise FerKitError(
                f"{folder} has other settings than what the kernel trained under the name {run}; "
                "move it away, or fetch into a folder of its own with --runs"
            )
    for source in fold_folders(unpacked, run):
        target = runs_dir / run / source.name
        if finished_folder.is_finished(target):
            kept.append(target)
        elif target.exists() and not replace and not _same(source, target):
            raise FerKitError(
                f"{target} is unfinished here, and the kernel's is {_how_far(source)}; finish yours elsewhere, or let "
                "the kernel's take its place with --replace-unfinished"
            )
        else:
            moves.append((source, target))
    return moves, kept


def bring_folds(unpacked: Path, runs_dir: Path) -> None:
    """Put the folds files beside the runs if there are none; folds.csv last."""
    if not (runs_dir / "folds.csv").exists():
        for name in archive.FOLDS:
            if (unpacked / name).is_file():
                os.replace(unpacked / name, runs_dir / name)


def fold_folders(runs_dir: Path, run: str) -> list[Path]:
    """The fold folders of `run`, finished or not."""
    found = (runs_dir / run).glob("fold*")
    return sorted((path for path in found if path.is_dir() and path.name[4:].isdigit()), key=_number)


def log_lines(output: Path) -> list[str]:
    """The lines of the kernel's log: Kaggle sends it as JSON records, or as text."""
    found = sorted(output.glob("*.log"))
    if not found:
        return []
    text = found[0].read_text(encoding="utf-8", errors="replace")
    with contextlib.suppress(ValueError, TypeError):  # else it is plain text
        text = "".join(str(part.get("data", "")) for part in json.loads(text) if isinstance(part, dict))
    return [line.strip() for line in text.splitlines() if line.strip()]


def _same(one: Path, other: Path) -> bool:
    """Whether two folders hold the same files, as after a killed fetch that had moved this folder."""
    names, theirs = (
        {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} for folder in (one, other)
    )
    return names == theirs and not any(filecmp.cmpfiles(one, other, names, shallow=False)[1:])


def _config(folder: Path) -> str:
    return atomic.digest_of(atomic.read_json(folder / CONFIG))


def _how_far(folder: Path) -> str:
    return "finished" if (folder / finished_folder.RESULT).exists() else "unfinished too"


def _number(folder: Path) -> int:
    return int(folder.name.removeprefix("fold"))


def _list(folds: tuple[int, ...]) -> str:
    return ", ".join(map(str, folds)) or "none"
