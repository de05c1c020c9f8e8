"""Predictions of one fold: logits of its held-out rows and of the test rows, and their scores."""

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
class FoldToPredict:
    """A fold and the rows to predict.

    out: positions of the held-out train rows, int64, ascending; empty for a full fit. identity: config_digest,
    folds_digest and data_digest. code: commit of the code. most_rows: at most so many held-out rows and so many test
    rows, for trials; None for all.
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


def predict(request: FoldToPredict, net: torch.nn.Module, epoch: int) -> tuple[Predictions | None, Predictions]:
    """Logits of the held-out rows, with their labels, and of the test rows, in fp32, because bf16 logits have ties.

    Returns:
        Predictions of the held-out rows (None for a full fit, which holds out no row) and of the test rows.
    """
    train, test, out = request.competition.train, request.competition.test, request.out
    meta = predictions.build_meta(
        recipe=request.config.recipe,
        run=request.run,
        fold=recorded(request.fold),
        epoch=epoch,
        views=request.config.views,
        commit=request.code,
        **request.identity,
    )

    rows = slice(None, request.most_rows)
    out = out[rows]
    with tqdm(
        total=len(out) + len(test.ids[rows]), desc="predicting", unit=" images", leave=False, disable=None
    ) as progress:

        def logits(images: NDArray[np.uint8]) -> NDArray[np.float32]:
            on_device = torch.from_numpy(np.array(images)).to(request.device)
            precision = Precision("fp32", request.device)
            return loop.predict(net, on_device, request.config.views, precision, progress.update)

        oof = None
        if len(out):
            oof = Predictions(train.ids[out], logits(train.images[out]), meta, np.array(train.labels[out]))
        return oof, Predictions(test.ids[rows], logits(test.images[rows]), meta)


def scores(oof: Predictions | None) -> dict[str, Any]:
    """The scores on the held-out rows, for result.json."""
    if oof is None or oof.labels is None:
        return {"oof_rows": 0}
    return {
        "oof_accuracy": metrics.accuracy(oof.logits, oof.labels),
        "oof_log_loss": metrics.log_loss(oof.logits, oof.labels),
        "oof_rows": len(oof),
    }
