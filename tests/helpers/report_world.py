"""A whole run folder that nobody trained, for tests of the report: runs, curves, blend, ledger, maps, drawn faces."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ensembles import blend
from fer_kit.data import loading as data
from fer_kit.files import atomic
from fer_kit.folds import table
from fer_kit.runs import ledger
from fer_kit.synthetic import draw
from tests.helpers import fake_runs
from tests.helpers.fake_runs import FOLDS, LABELS, ROWS, TEST_ROWS
from tests.helpers.fake_submissions import save_entry

RUNS = ("strong", "middle", "weak")
EPOCHS = 6


@dataclass(frozen=True)
class World:
    """runs: the folder of runs; data: the competition's files; ledger: the ledger's; folder: what holds all of them."""

    folder: Path
    runs: Path
    data: Path
    ledger: Path


def make(folder: Path) -> World:
    """Three finished runs of three folds and a blend of them, three scored entries, maps of one fold."""
    world = World(folder, folder / "runs", folder / "data", folder / "submissions" / ledger.LEDGER.split("/")[1])
    world.runs.mkdir(parents=True)
    (world.runs / "folds.csv").write_bytes(fake_runs.TABLE)
    write_faces(world.data)
    digest = data.load(world.data, folder / "cache").digest
    for seed, (run, skill) in enumerate(zip(RUNS, (2.5, 2.0, 1.0), strict=True), start=1):
        save_run(world, run, seed, skill, digest)
    assert blend.main(["first", "--runs", str(world.runs), "--method", "mean"]) == 0
    world.ledger.parent.mkdir()
    for number, (cv, public) in enumerate([(0.6, 0.62), (0.65, 0.66), (0.7, 0.69)], start=1):
        file = world.ledger.parent / f"entry{number}.csv"
        file.write_text(f"{number}\n")
        scores = {"cv_accuracy": cv, "public": public, "source": "blend first", "message": "<best> & last"}
        save_entry(world.ledger, file, tag=f"fer-{number}", **scores)
    write_maps(world.runs / "explain" / "strong-fold0")
    return world


def save_run(world: World, run: str, seed: int, skill: float, digest: str) -> None:
    folds_digest = table.read(world.runs / "folds.csv").digest
    folder = fake_runs.save_run(world.runs, run, seed, skill, folds_digest=folds_digest, data_digest=digest)
    for fold in range(FOLDS):
        write_curves(folder / f"fold{fold}", skill, watched=run != "weak")
        env = {"command": "python -m fer_kit.train", "commit": "c0ffee123456789", "device": "NVIDIA H200"}
        atomic.write_json(folder / f"fold{fold}" / "env.json", {**env, "started": "2030-01-31T12:00:00Z"})


def write_curves(folder: Path, skill: float, watched: bool = True) -> None:
    lines = []
    for epoch in range(1, EPOCHS + 1):
        share = 1 - math.exp(-skill * epoch / 6)
        line = {"epoch": epoch, "lr": 0.001 / epoch, "train_loss": 2 - share, "train_accuracy": share, "seconds": 3.0}
        if watched:
            line |= {"watch_loss": 2.1 - share, "watch_accuracy": share - 0.05}
        lines.append(json.dumps(line) + "\n")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(lines))


def write_faces(folder: Path) -> None:
    """Drawn faces under the labels of `fake_runs`."""
    drawn = draw.draw(100, 100, seed=1)
    folder.mkdir()
    pixels = [
        " ".join(map(str, image.reshape(-1))) for image in (*drawn.train_images[:ROWS], *drawn.test_images[:TEST_ROWS])
    ]
    train = [f'{label},"{text}"\n' for label, text in zip(LABELS, pixels[:ROWS], strict=True)]
    (folder / "train.csv").write_text("".join(["emotion,pixels\n", *train]))
    (folder / "test.csv").write_text("".join(["pixels\n", *(f'"{text}"\n' for text in pixels[ROWS:])]))


def write_maps(folder: Path) -> None:
    """What `explain` leaves: a sheet, and where the light falls."""
    from PIL import Image

    folder.mkdir(parents=True)
    Image.fromarray(np.full((90, 700, 3), 128, np.uint8)).save(folder / "classes.png")
    light = {"Angry": {"mouth": 0.6, "rim": 0.1}, "Happy": {"mouth": 0.7, "rim": 0.2}}
    about = {"method": "hirescam", "layer": "stages", "side": [6, 6], "light": light}
    atomic.write_json(folder / "explain.json", {**about, "light_if_even": {"mouth": 0.21, "rim": 0.31}})
