"""The full fit of a run, runs/<run>/foldall: trained on every row but watched ones.

It predicts the test rows and no others.
"""

from __future__ import annotations

from dataclasses import dataclass

from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.folds import fold_spec
from fer_kit.runs import folders, predictions
from fer_kit.runs.folders import TEST, Run
from fer_kit.runs.predictions import Predictions


@dataclass(frozen=True, eq=False)
class FullFit:
    """test: M test rows. sha256: of the file they are in."""

    test: Predictions
    sha256: str


def load(run: Run) -> FullFit | None:
    """The full fit of `run`; None where it was not trained or is not finished.

    Raises:
        FerKitError: a foldall of another config, other folds or data than the run's folds, or with other test rows.
    """
    folder = run.folder / fold_spec.folder_name(fold_spec.ALL)
    if not folders.is_finished(folder):
        return None
    test = predictions.read(folder / TEST)
    keys = ("run", "config_digest", "folds_digest", "data_digest", "views")
    predictions.same_meta([run.test, test], keys, f"{folder}")
    if test.meta["fold"] != fold_spec.FULL or test.labels is not None or test.ids.tolist() != run.test.ids.tolist():
        raise FerKitError(f"{folder / TEST}: not the test rows of a full fit; train it again with --fold all")
    return FullFit(test, atomic.sha256_of(folder / TEST))
