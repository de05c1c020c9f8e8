"""The network that ships with fer_kit as a teacher: soft targets at the price of a prediction, without a first round.

The network was trained on all train rows, on soft targets itself and with augmentation that leaves little to memorise:
73% of the train rows are predicted right, where the networks of its five folds have 69% out of fold. A student of fold
k is never shown the images of fold k, nor their twins, and what the network says about other rows tells next to nothing
about them. Still, no fold was left out, so the indirect leak of scheme oof (see `ensembles.targets`) is there as well.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from fer_kit.data import loading
from fer_kit.engine.face_network import FaceNetwork
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.folds import table
from fer_kit.predict import named
from fer_kit.predict.model import FaceModel
from fer_kit.runs import folders, soft_targets
from fer_kit.runs.soft_targets import SoftTargets

SCHEME = "shipped"
VIEWS = "flip"  # a third of the time of the network's own
AT_ONCE = 1024  # images between two updates of the progress bar


def make(name: str, runs_dir: Path, data: str | None, rows: str, confidence: float, device: str) -> SoftTargets:
    """Soft targets `name` from the probabilities of the network that ships, by mirrored views.

    Args:
        data: folder with the competition's files; None to find it.
        rows: "train", "test" or "both".
        confidence: test rows whose most probable class is below it get no target.
        device: "auto", "cpu", "cuda" or "cuda:1".

    Raises:
        FerKitError: there is no folds.csv, or it is of other data; no network ships with this version; no test row is
            as probable as `confidence`.
    """
    folds = table.read(runs_dir / "folds.csv")
    competition = loading.load(loading.find(data), runs_dir / folders.CACHE)
    table.check(folds, competition.train.labels)
    network = named.model(None, runs_dir, device)
    for module in network.network.modules():
        if isinstance(module, FaceNetwork):
            module.view_set = VIEWS
    train = _shares(network, competition.train.images, "train rows") if rows != "test" else None
    test = _shares(network, competition.test.images, "test rows") if rows != "train" else None
    if test is not None:
        surest = test.max(axis=2)
        if confidence > surest.max():
            raise FerKitError(
                f"--confidence {confidence:g}: the network that ships predicts no test row with this probability; give "
                f"at most {surest.max():.3f}"
            )
        test[surest < confidence] = np.nan
    meta = {
        "schema": soft_targets.SCHEMA,
        "name": name,
        "scheme": SCHEME,
        "teachers": {"source": network.name, "sha256": atomic.sha256_of(named.shipped_network())},
        "confidence": confidence,
        "folds": folds.count,
        "folds_digest": folds.digest,
        "data_digest": competition.digest,
    }
    return SoftTargets(train, test, meta)


def _shares(network: FaceModel, images: NDArray[np.uint8], what: str) -> NDArray[np.float32]:
    """Probabilities float32 (1, N, 7) of images uint8 (N, 48, 48)."""
    made = []
    with tqdm(total=len(images), desc=f"predicting {what}", unit=" images", leave=False, disable=None) as progress:
        for start in range(0, len(images), AT_ONCE):
            faces = np.array(images[start : start + AT_ONCE])  # a copy: torch warns about read-only arrays
            made.append(network(faces).astype(np.float32))
            progress.update(len(faces))
    return np.concatenate(made)[None]
