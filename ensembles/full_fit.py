"""Full fits in a blend: the network of runs/<run>/foldall predicts the test rows with the weight fitted to the folds.

A full fit is trained on all folds, so it has test predictions only.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ensembles.members import RUN, Member
from fer_kit import metrics
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.folds import fold_spec
from fer_kit.runs import finished_folder, folders, predictions
from fer_kit.runs.finished_folder import TEST
from fer_kit.runs.folders import Run
from fer_kit.runs.predictions import Predictions

OFF, INSTEAD, BESIDE = "off", "instead", "beside"
WAYS = (OFF, INSTEAD, BESIDE)


@dataclass(frozen=True, eq=False)
class FullFit:
    """A full fit. test: its M test rows. sha256: of the file that holds them."""

    test: Predictions
    sha256: str


def load(run: Run) -> FullFit | None:
    """The full fit of `run`; None if the run has no finished full fit.

    Raises:
        FerKitError: config, folds, data or test rows of the full fit differ from those of the run's folds.
    """
    folder = run.folder / fold_spec.folder_name(fold_spec.ALL)
    if not finished_folder.is_finished(folder):
        return None
    test = predictions.read(folder / TEST)
    keys = ("run", "config_digest", "folds_digest", "data_digest", "views")
    predictions.same_meta([run.test, test], keys, f"{folder}")
    if test.meta["fold"] != fold_spec.FULL or test.labels is not None or test.ids.tolist() != run.test.ids.tolist():
        raise FerKitError(f"{folder / TEST}: not the test rows of a full fit; train it again with --fold all")
    return FullFit(test, atomic.sha256_of(folder / TEST))


def with_full_fits(runs_dir: Path, members: Sequence[Member], how: str) -> tuple[list[Member], dict[str, str]]:
    """The members, with test predictions of the full fit where a run has one, and the sha256 of each by run name.

    Out-of-fold rows, weights and scores stay those of the folds. Thus the scores are for networks that were trained
    on one fold less than the full fit.

    Args:
        how: "off"; "instead" of the mean of the folds; "beside" the folds, as one more network.

    Raises:
        FerKitError: no member has a finished full fit, or a full fit does not belong to its run.
    """
    if how == OFF:
        return list(members), {}
    changed, found = [], {}
    for member in members:
        run = folders.load(runs_dir, member.name) if member.kind == RUN and "/" not in member.name else None
        full = None if run is None else load(run)
        if run is None or full is None:
            changed.append(member)
            continue
        found[member.name] = full.sha256
        logits = full.test.logits
        if how == BESIDE:
            share = 1 / (len(run.folds) + 1)
            log_probs = metrics.log_softmax(run.test.logits) + np.log1p(-share)
            mixed = np.logaddexp(log_probs, metrics.log_softmax(full.test.logits) + np.log(share))
            logits = mixed.astype(np.float32)
        changed.append(replace(member, test=replace(member.test, logits=logits)))
    if not found:
        raise FerKitError(f"--full-fit {how}: no member has a finished full fit; train one with --fold all")
    return changed, found


def alone(members: Sequence[Member], how: str, found: Collection[str]) -> bool | None:
    """Whether full fits alone predict the test rows, without folds: True for all members, False for none, else None.

    how, found: of these members, as in `with_full_fits`; blends among them have their own in blend.json.
    """
    kinds = set().union(*(_kinds(member, found if how == INSTEAD else ()) for member in members))
    return None if len(kinds) > 1 else True in kinds


def _kinds(member: Member, found: Collection[str]) -> set[bool]:
    """Whether a full fit takes the place of the folds: for each run of `member`, as a set."""
    if member.record is None:
        ours = member.kind == RUN and "/" not in member.name  # full fits are looked up for runs of this folder alone
        return {ours and source.path.name in found for source in member.sources}
    theirs = member.record.full_fit
    inside = theirs.sha256 if theirs is not None and theirs.how == INSTEAD else {}
    if member.parts:
        return set().union(*(_kinds(part, inside) for part in member.parts))
    return {Path(source.path).name in inside for entry in member.record.members for source in entry.sources}


def meta_with_full_fits(meta: dict[str, Any], how: str, found: dict[str, str]) -> dict[str, Any]:
    """`meta` with a config digest that also covers the full fits; unchanged without full fits."""
    if not found:
        return meta
    digest = atomic.digest_of({"blend": meta["config_digest"], "how": how, "full_fit": found})
    return {**meta, "config_digest": digest}


def line(how: str, found: dict[str, str], members: Sequence[Member]) -> str:
    """The line of the report that says which members predict the test rows by a full fit."""
    names = [member.name for member in members if not {source.path.name for source in member.sources} & set(found)]
    rest = f"; only by their folds: {', '.join(names)}" if names else ""
    place = "instead of the mean of the folds" if how == INSTEAD else "as one more network beside those of the folds"
    return (
        f"test rows: predicted by the full fit of {', '.join(found)} {place}{rest}; all scores are scores of the folds"
    )
