"""The teachers of soft targets, a run or the runs of a blend, and what they say about train and test rows.

Each target comes from networks that were trained without the row and its twins; `ensembles.targets` explains schemes.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensembles.fit.crossfit import ONE
from ensembles.members import RUN
from fer_kit import metrics
from fer_kit.competition import NUM_CLASSES
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.folds import fold_spec
from fer_kit.runs import finished_folder, folders, lookup, predictions, soft_targets
from fer_kit.runs.blend_record import BlendRecord
from fer_kit.runs.finished_folder import OOF, TEST
from fer_kit.runs.folders import BLENDS, Run
from fer_kit.runs.lookup import RunFolder
from fer_kit.runs.predictions import Predictions
from fer_kit.runs.training_record import CONFIG

Shares = NDArray[np.float32]

OOF_SCHEME, NESTED, PSEUDO = "oof", "nested", "pseudo-labels"


@dataclass(frozen=True, eq=False)
class Team:
    """The teachers: a run, or the runs of a blend.

    name, oof, sha256: of the run or blend; oof has all N train rows. runs: the run, or all runs that the blend is made
    of. fold_of_row: fold that held out each row, int64 (N,). folds: number of folds. fitted: whether weights,
    temperatures or the choice of a method were fitted to the labels of all folds.
    """

    name: str
    oof: Predictions
    runs: tuple[Run, ...]
    fold_of_row: NDArray[np.int64]
    folds: int
    fitted: bool
    sha256: dict[str, str]

    def described(self, scheme: str | None) -> dict[str, Any]:
        """The prediction files, with sha256, that the targets come from; scheme: that of train rows, None without."""
        whose: dict[str, Any] = {run.name: dict(run.sha256) for run in self.runs}
        if scheme == OOF_SCHEME:
            return {"source": self.name, "sha256": self.sha256, "runs": whose}
        for run in self.runs if scheme == NESTED else ():
            for pair in itertools.combinations(range(self.folds), 2):
                place = f"{fold_spec.folder_name(pair)}/{OOF}"
                whose[run.name][place] = atomic.sha256_of(run.folder / place)
        return {"runs": whose}


def load(runs_dir: Path, source: str) -> Team:
    """The teachers called `source`: a run, or a blend (NAME or blends/NAME).

    Raises:
        FerKitError: the run or blend does not exist or is unfinished; the blend has no run among its members, or looks
            up twins.
    """
    where = lookup.find_whole(runs_dir, source, "--from")
    name = where.name
    if isinstance(where, RunFolder):
        run = where.load()
        return Team(name, run.oof, (run,), run.fold_of_row, run.count, False, run.sha256)
    blend = where.load()
    if blend.record.twins is not None:
        raise FerKitError(
            f"--from {source}: twins were looked up, so the target of a row would use the labels of its twins; take "
            f"'{blend.record.twins.blend}'"
        )
    behind = {run.folder.resolve(): run for run in _runs_behind(runs_dir, blend.record)}
    found = tuple(behind.values())
    if not found:
        raise FerKitError(
            f"--from {source}: no member of the blend is a run, so the folds of its teachers are unknown; name a run "
            "or a blend of runs"
        )
    predictions.same_meta([blend.oof, *(run.oof for run in found)], ("folds_digest", "data_digest"), f"--from {source}")
    fitted = blend.record.learned is not False or blend.record.method not in ("mean", ONE)
    return Team(name, blend.oof, found, found[0].fold_of_row, found[0].count, fitted, blend.record.files)


def out_of_fold(team: Team) -> Shares:
    """The out-of-fold probabilities, the same for all students: float32 (1, N, 7)."""
    return metrics.softmax(team.oof.logits).astype(np.float32)[None]


def nested(team: Team) -> Shares:
    """Targets for the student of each fold k by networks that left out the row's fold and fold k.

    Returns:
        float32 (folds + 1, N, 7), NaN for the rows of fold k. The last set is for the student of the full fit, which
        has no held-out rows: the mean over k.

    Raises:
        FerKitError: the blend has fitted weights, which depend on all labels; a network with two folds left out is
            missing.
    """
    if team.fitted:
        raise FerKitError(
            f"--scheme nested: weights or temperatures of '{team.name}' were fitted to the labels of all folds; blend "
            "with --method mean --temperatures none, or name a run"
        )
    shares = np.full((team.folds + 1, len(team.oof), NUM_CLASSES), np.nan, np.float32)
    for one, other in itertools.combinations(range(team.folds), 2):
        parts = [_pair(run, (one, other), team) for run in team.runs]
        mean = metrics.softmax(metrics.mean_of_probabilities([part.logits for part in parts])).astype(np.float32)
        fold_of = team.fold_of_row[parts[0].ids]
        shares[one, parts[0].ids[fold_of == other]] = mean[fold_of == other]
        shares[other, parts[0].ids[fold_of == one]] = mean[fold_of == one]
    shares[team.folds] = np.nanmean(shares[: team.folds], axis=0)
    return shares


def pseudo_labels(team: Team, confidence: float) -> Shares:
    """Targets of the test rows for the student of each fold k: the mean probabilities of the runs' fold-k networks.

    Returns:
        float32 (folds + 1, M, 7), NaN where the most probable class is below `confidence`. The last set is for the
        student of the full fit: the mean of all networks.

    Raises:
        FerKitError: the student of some fold would get no test row.
    """
    made = []
    for fold in range(team.folds):
        tests = [_test_of(run, fold) for run in team.runs]
        made.append(metrics.softmax(metrics.mean_of_probabilities(tests)))
    shares = np.stack([*made, np.mean(made, axis=0)]).astype(np.float32)
    return without_unsure(shares, team.folds, confidence, "the networks of some fold predict")


def without_unsure(shares: Shares, folds: int, confidence: float, who: str) -> Shares:
    """`shares` float32 (S, M, 7) with NaN where the most probable class is below `confidence`; changed in place.

    who: begins the error message, with its verb.

    Raises:
        FerKitError: the student of some fold would get no row.
    """
    surest = shares.max(axis=2)
    least = float(surest[:folds].max(axis=1).min())  # the set behind those of the folds is for the full fit
    if least < confidence:
        raise FerKitError(
            f"--confidence {confidence:g}: {who} no test row with this probability; give at most {least:.3f}"
        )
    shares[surest < confidence] = np.nan
    return shares


def taught_by_oof(runs_dir: Path, team: Team) -> list[str]:
    """Names of the teachers that were trained on targets with the indirect leak of scheme oof, or of unknown scheme."""
    found = []
    for run in team.runs:
        path = run.folder / fold_spec.folder_name(0) / CONFIG
        config = atomic.read_json(path) if path.is_file() else None
        named = str(config.get("targets") or "") if isinstance(config, dict) else ""
        if named and _scheme(runs_dir, named) not in (NESTED, PSEUDO):
            found.append(run.name)
    return found


def _scheme(runs_dir: Path, named: str) -> str | None:
    """The scheme of the targets that a config calls NAME@digest; None if the file is missing or has changed."""
    path = soft_targets.path_of(runs_dir, named.rpartition("@")[0])
    try:
        return str(soft_targets.open_named(path, named).meta["scheme"]) if path.is_file() else None
    except FerKitError:
        return None  # the file was replaced


def given(shares: Shares) -> NDArray[np.bool_]:
    """Which rows have targets, bool (S, rows). shares: (S, rows, 7)."""
    there: NDArray[np.bool_] = ~np.isnan(shares.sum(axis=2))
    return there


def _test_of(run: Run, fold: int) -> NDArray[np.float32]:
    return predictions.read(run.folder / fold_spec.folder_name(fold) / TEST).logits


def _pair(run: Run, pair: tuple[int, int], team: Team) -> Predictions:
    """The predictions of two held-out folds by the network of `run` that left out both."""
    folder = run.folder / fold_spec.folder_name(pair)
    if not finished_folder.is_finished(folder):
        typed = "+".join(map(str, pair))
        raise FerKitError(
            f"{folder}: not finished, but needed for nested targets; train it with the options of the other folds of "
            f"'{run.name}' and --fold {typed}"
        )
    part = folders.read_oof(run.folder.parent, folder)
    predictions.same_meta([run.oof, part], ("run", "config_digest", "folds_digest", "data_digest"), f"{folder}")
    rows = np.flatnonzero(np.isin(team.fold_of_row, pair))
    if not np.array_equal(part.ids, rows):
        raise FerKitError(f"{folder / OOF}: not the rows of folds {pair[0]} and {pair[1]}; train it again")
    return part


def _runs_behind(runs_dir: Path, record: BlendRecord) -> Sequence[Run]:
    """All runs that a blend and the blends inside it were made of, by their blend.json."""
    found: list[Run] = []
    for entry in record.members:
        for source in entry.sources:
            place = runs_dir / source.path
            if source.kind == RUN:
                found.append(folders.load(place.parent, place.name))
            elif place.parent.name == BLENDS:
                inside = folders.load_blend(place.parent.parent, place.name).record
                found += _runs_behind(place.parent.parent, inside)
    return found
