"""A sweep to be killed: its worker dies, its training lives on, and the same command ends the work."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from fer_kit.runs import finished_folder, folders
from fer_kit.sweep import __main__ as sweep
from tests.faults import training
from tests.faults.scenes import Scene, Tree, tree

NAME = "queue"
FOLDER = "runs/deep_v1-t/fold{}"
FOLDS = (0, 1)


def scenes(shared: Path) -> list[Scene]:
    """A sweep of two folds, one after the other; each fold is trained by a process that a kill does not reach."""
    words = ["--recipes", "deep_v1", "--set", *training.STUDY, *training.SMALL, "--tag", "t", "--folds", "0-1"]
    words += ["--at-once", "1", "--device", "cpu", "--name", NAME, "--data", str(shared / "data")]
    command = partial(sweep.main, words)
    return [Scene("sweep", partial(training.build, shared / "runs"), command, command, products, look)]


def products(root: Path) -> Tree:
    """The plan and both folds, without what time decides; no failure is kept."""
    for fold in FOLDS:
        assert finished_folder.is_finished(root / FOLDER.format(fold))
    assert not (root / "runs" / folders.SWEEPS / "failed").exists()
    return kept(root)


def look(root: Path, whole: Tree) -> None:
    """The plan is whole or not there, and so is each fold that counts as finished."""
    there = kept(root)
    plan = f"runs/{folders.SWEEPS}/{NAME}.json"
    assert there.get(plan, whole[plan]) == whole[plan]
    for fold in FOLDS:
        if finished_folder.is_finished(root / FOLDER.format(fold)):
            mine = {name: value for name, value in whole.items() if name.startswith(FOLDER.format(fold))}
            assert {name: there.get(name) for name in mine} == mine


def kept(root: Path) -> Tree:
    """All files below runs but logs and caches."""
    found = training.kept(tree(root / "runs", root))
    return {name: value for name, value in found.items() if "/logs/" not in name and "/cache/" not in name}
