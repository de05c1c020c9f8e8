"""What a fold leaves: logits of the rows that it left out and of the test rows, and their scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from fer_kit import metrics
from fer_kit.config.train_config import TrainConfig
from fer_kit.data.loading import Competition
from fer_kit.engine import loop
from fer_kit.engine.device import Precision
from fer_kit.folds.fold_spec import Fold, recorded
from fer_kit.runs import predictions
from fer_kit.runs.predictions import Predictions


@dataclass(frozen=True, eq=False)
class Asked:
    """What is to be predicted, and by whom. out: positions of train rows, int64, ascending; none for a full fit.

    identity: config_digest, folds_digest, data_digest. code: commit. most_rows: of either kind, for trials.
    """

    config: TrainConfig
    run: str
    fold: Fold
    competition: Competition
    out: NDArray[np.int64]
    device: torch.device
    identity: dict[str, Any]
    code: str
    most_rows: int | None = None


def predict(asked: Asked, net: torch.nn.Module, epoch: int) -> tuple[Predictions | None, Predictions]:
    """Logits of the fold's rows, with their labels, and of the test rows; in fp32, since bf16 logits tie.

    None for the rows of a full fit, which leaves none out.
    """
    train, test, out = asked.competition.train, asked.competition.test, asked.out
    meta = predictions.build_meta(
        recipe=asked.config.recipe,
        run=asked.run,
        fold=recorded(asked.fold),
        epoch=epoch,
        views=asked.config.views,
        commit=asked.code,
        **asked.identity,
    )

    rows = slice(None, asked.most_rows)
    out = out[rows]
    with tqdm(
        total=len(out) + len(test.ids[rows]), desc="predicting", unit=" images", leave=False, disable=None
    ) as progress:

        def logits(images: NDArray[np.uint8]) -> NDArray[np.float32]:
            on_device = torch.from_numpy(np.array(images)).to(asked.device)
            precision = Precision("fp32", asked.device)
            return loop.predict(net, on_device, asked.config.views, precision, progress.update)

        oof = None
        if len(out):
            oof = Predictions(train.ids[out], logits(train.images[out]), meta, np.array(train.labels[out]))
        return oof, Predictions(test.ids[rows], logits(test.images[rows]), meta)


def scores(oof: Predictions | None) -> dict[str, Any]:
    """For result.json: what the fold's rows say of its network."""
    if oof is None or oof.labels is None:
        return {"oof_rows": 0}
    return {
        "oof_accuracy": metrics.accuracy(oof.logits, oof.labels),
        "oof_log_loss": metrics.log_loss(oof.logits, oof.labels),
        "oof_rows": len(oof),
    }
