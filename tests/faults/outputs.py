"""Commands to be killed while they write answers and exported networks: classify, export, and the Python API."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.faults import training
from tests.faults.kills import attempt
from tests.faults.scenes import Scene, Tree, clean_tree, each_is_whole, tree

RUN, FOLD = "deep_v1-t", 1
FACES = 6


def scenes(shared: Path) -> list[Scene]:
    """All of them; `shared` takes the competition of `training` and one trained fold, which is made once."""
    trained = partial(trained_fold, shared)
    exports = [exported(trained, name) for name in ("x.safetensors", "x.onnx")]
    return [classified(), *exports, trained_by_api(shared)]


def classified() -> Scene:
    """Answers in a file."""

    def build(root: Path) -> None:
        import numpy as np

        faces = np.random.default_rng(0).integers(0, 256, (FACES, 48, 48), dtype=np.uint8)
        np.savez(root / "faces.npz", faces=faces)

    return scene("classify --out", build, lambda: classify("--out", "answers.csv", "--quiet"))


def classify(*words: str) -> int:
    from fer_kit.classify.__main__ import main

    return main(["faces.npz", *words])


def exported(trained: Callable[[], Path], name: str) -> Scene:
    """A network in one file, with its card."""

    def build(root: Path) -> None:
        shutil.copytree(trained(), root / "runs")

    def export() -> int:
        from fer_kit.export.__main__ import main

        return main([f"{RUN}/fold{FOLD}", "--out", name])

    return scene(f"export {Path(name).suffix}", build, export)


def trained_by_api(shared: Path) -> Scene:
    """`fer_kit.train` from Python; the same call again goes on."""
    settings = (*training.STUDY, *training.SMALL)

    def train_by_api(resume: bool) -> int:
        import fer_kit

        where = {"data": shared / "data", "device": "cpu"}
        done = fer_kit.train("deep_v1", fold=FOLD, settings=settings, tag="t", resume=resume, **where)
        return 0 if done.finished else 1

    return Scene(
        name="API train",
        build=partial(training.build, shared / "runs"),
        first=partial(train_by_api, False),
        again=partial(train_by_api, True),
        products=partial(training.products, training.FOLDER.format("deep_v1")),
        look=partial(training.look, training.FOLDER.format("deep_v1")),
    )


def scene(name: str, build: Callable[[Path], None], command: Callable[[], int]) -> Scene:
    """A command whose files are whole or not there, and which goes on by being called again."""

    def look(root: Path, whole: Tree) -> None:
        each_is_whole(tree(root, root), whole)

    return Scene(name, build, command, command, clean_tree, look)


def trained_fold(shared: Path) -> Path:
    """A folder of runs with one finished fold, trained in a process of its own."""
    done = shared / "trained-fold"
    if not (done / RUN).exists():
        one = training.scene("deep_v1", training.STUDY, shared)
        root = shared / "training"
        root.mkdir()
        one.build(root)
        made = attempt(one.first, root)
        assert made.code == 0, made.told
        shutil.move(root / "runs", done)
    return done
