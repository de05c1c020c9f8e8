"""Trainings to be killed: one of the study's recipes with plateau and early stopping, and a modern one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from fer_kit.folds import __main__ as folds_command
from fer_kit.runs import finished_folder, folders
from fer_kit.synthetic import draw
from fer_kit.train import __main__ as train
from tests.faults.scenes import Scene, Tree, left_over, tree

ROWS, TEST_ROWS = 100, 20
SMALL = ["batch_size=16", "limit_rows=32"]
STUDY = ["schedule=plateau", "plateau_patience_epochs=1", "early_stop_epochs=2", "epochs=3"]
RECIPES = {"deep_v1": STUDY, "residual": ["epochs=2"]}
FOLDER = "runs/{}-t/fold1"
VARYING_FILES = ("log.txt", "env.json", "last.pt")  # and what JSON tells of time, see `scenes`


def scenes(shared: Path) -> list[Scene]:
    """One scene a recipe; `shared` takes the competition and its folds, which are made here once."""
    data = shared / "data"
    draw.write(data, draw.draw(ROWS, TEST_ROWS, seed=3))
    place = ["--data", str(data), "--runs", str(shared / "runs"), "--folds", "3", "--method", "exact"]
    assert folds_command.main(place) == 0
    return [scene(recipe, settings, shared) for recipe, settings in RECIPES.items()]


def scene(recipe: str, settings: list[str], shared: Path) -> Scene:
    """One fold of `recipe`, trained without a cache of the data."""
    words = ["--recipe", recipe, "--set", *settings, *SMALL, "--tag", "t", "--device", "cpu", "--fold", "1"]
    words += ["--data", str(shared / "data"), "--runs", "runs"]
    return Scene(
        name=f"train {recipe}",
        build=partial(build, shared / "runs"),
        first=partial(train.main, words),
        again=partial(train.main, [*words, "--resume"]),
        products=partial(products, FOLDER.format(recipe)),
        look=partial(look, FOLDER.format(recipe)),
        timed=True,
    )


def build(made: Path, root: Path) -> None:
    """A run folder with folds and nothing else."""
    (root / "runs").mkdir()
    for path in made.glob("folds*"):
        shutil.copy(path, root / "runs")


def products(folder: str, root: Path) -> Tree:
    """All that a finished fold holds but for times, and what lies beside it; nothing of a kill is left."""
    assert finished_folder.is_finished(root / folder)
    assert not (root / folder / "last.pt").exists() and not left_over(root), left_over(root)
    return kept(tree(root / "runs", root))


def look(folder: str, root: Path, whole: Tree) -> None:
    """What lies there is whole, and finished only if all of it is there."""
    there = kept(tree(root / "runs", root))
    metrics = there.pop(f"{folder}/metrics.jsonl", [])
    every = whole[f"{folder}/metrics.jsonl"]
    assert isinstance(every, list) and metrics == every[: len(metrics)]  # type: ignore[arg-type]
    for name, value in there.items():
        assert whole.get(name) == value, f"{name} is not what it is in the end"
    run = Path(folder).parent.name
    finished = finished_folder.is_finished(root / folder)
    assert finished == ((root / folder / finished_folder.RESULT).exists())
    if finished:
        assert {**there, f"{folder}/metrics.jsonl": metrics} == whole
    assert folders.list_runs(root / "runs") in ([], [run])
    if (root / folder).exists():
        assert folders.status(root / "runs", run).finished == ((1,) if finished else ())


def kept(found: Tree) -> Tree:
    """Without the files in which times stand between other things."""
    return {name: value for name, value in found.items() if not name.endswith(VARYING_FILES)}


def imports() -> list[Callable[..., object]]:
    """Bring torch in before the forks, with one thread: a pool of threads would not survive them."""
    import torch

    torch.set_num_threads(1)
    from fer_kit.train import fold

    return [fold.train_fold]
