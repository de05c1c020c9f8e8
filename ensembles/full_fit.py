"""Full fits in a blend: a run's foldall predicts the test rows with the weight that its folds have earned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ensembles.members import RUN, Member
from fer_kit import metrics
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.runs import folders, full_fit

OFF, INSTEAD, BESIDE = "off", "instead", "beside"
WAYS = (OFF, INSTEAD, BESIDE)


def put(runs_dir: Path, members: Sequence[Member], how: str) -> tuple[list[Member], dict[str, str]]:
    """Members whose runs have a full fit with other test rows, and the sha256 of each full fit by the run's name.

    how: "instead" of the mean of the folds, or "beside" it, where the full fit is one more network among those of the
    folds. Out-of-fold rows, and so all weights and scores, stay those of the folds. The scores then speak for
    networks like the full fit, trained on a fold less.

    Raises:
        FerKitError: no member has a full fit, or one does not belong to its run.
    """
    if how == OFF:
        return list(members), {}
    changed, found = [], {}
    for member in members:
        run = folders.load(runs_dir, member.name) if member.kind == RUN and "/" not in member.name else None
        full = None if run is None else full_fit.load(run)
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


def marked(meta: dict[str, Any], how: str, found: dict[str, str]) -> dict[str, Any]:
    """meta of a blend whose test rows come from full fits: another config digest than without."""
    if not found:
        return meta
    digest = atomic.digest_of({"blend": meta["config_digest"], "how": how, "full_fit": found})
    return {**meta, "config_digest": digest}


def line(how: str, found: dict[str, str], members: Sequence[Member]) -> str:
    """What the report says."""
    names = [member.name for member in members if not {source.path.name for source in member.sources} & set(found)]
    rest = f"; by their folds alone: {', '.join(names)}" if names else ""
    place = "instead of the mean of the folds" if how == INSTEAD else "as one more network beside those of the folds"
    return f"test rows: the full fit of {', '.join(found)} {place}{rest}; scores are those of the folds"
