"""The scores of a run or blend as a JSON object, for evaluate.json and `fer_kit.report`."""

from __future__ import annotations

from typing import Any

import numpy as np

from fer_kit import metrics
from fer_kit.competition import CLASSES
from fer_kit.evaluate.scores import Scores, confident_mistakes
from fer_kit.evaluate.sources import Groups, ScoredSource

MISTAKES_A_CLASS = 8


def fold_accuracies(source: ScoredSource, groups: Groups) -> dict[int, float]:
    """Accuracy on the rows of each fold, by fold number; empty if folds.csv is missing."""
    folds = groups.folds_of(source.oof.ids)
    right = metrics.predicted(source.oof.logits) == source.labels
    return {} if folds is None else {int(fold): float(right[folds == fold].mean()) for fold in np.unique(folds)}


def mistakes(source: ScoredSource, groups: Groups) -> list[dict[str, Any]]:
    """The wrong rows of each true class with the highest probability, at most one row of each twin group.

    Each item is a JSON object: id, true class, predicted class ("answer"), its probability.
    """
    logits = source.oof.logits
    rows = confident_mistakes(logits, source.labels, groups.of(source.oof.ids), MISTAKES_A_CLASS)
    predicted, confidence = metrics.predicted(logits[rows]), metrics.softmax(logits[rows]).max(axis=1)
    return [
        {
            "id": int(source.oof.ids[row]),
            "true": CLASSES[source.labels[row]],
            "answer": CLASSES[answer],
            "probability": float(probability),
        }
        for row, answer, probability in zip(rows, predicted, confidence, strict=True)
    ]


def record_of(source: ScoredSource, scores: Scores, groups: Groups) -> dict[str, Any]:
    """The entry of one run or blend in evaluate.json."""
    meta = source.oof.meta
    return {
        "name": source.name,
        "kind": source.kind,
        "recipe": meta["recipe"],
        "folds": list(source.folds),
        "missing_folds": list(source.missing),
        "note": source.note,
        **{key: meta[key] for key in ("config_digest", "folds_digest", "data_digest")},
        "fold_accuracies": {str(fold): value for fold, value in fold_accuracies(source, groups).items()},
        **scores.to_json(),
        "confident_mistakes": mistakes(source, groups),
    }
