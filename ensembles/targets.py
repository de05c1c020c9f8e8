"""Soft targets for training students (self-distillation), and pseudo-labels for test rows.

    python -m ensembles.targets NAME --from BLEND
    python -m ensembles.targets ROUND1 --from BLEND --rows test
    python -m fer_kit.train --fold 0 --set targets=runs/targets/NAME.npz --tag distilled

A row's target always comes from networks that saw neither the row nor its twins. That leaves a second door: the
teacher of a row of fold a was trained on the labels of fold k, and its target helps to train the student of fold k,
which is scored on just these labels. Not by memory (the student never sees the images of fold k, nor their twins), but
as if the student had been trained on a little more data than it is scored for.

    --scheme oof     targets are the out-of-fold predictions, as is usual. The second door stands open: students' scores
                     can be a little high, and a student's gain over its teachers should be confirmed by nested targets
    --scheme nested  the student of fold k gets targets by teachers that left out the row's fold and fold k, trained
                     with --fold a+k: ten more networks for five folds, and both doors are shut

Pseudo-labels need no choice: the student of fold k gets the mean of the fold-k networks, which never saw fold k. Where
the teachers are students of an earlier round of pseudo-labels or of nested targets that holds for them, too. Students
of targets by scheme oof have learned a little about fold k through the second door, and the command says so.
"""

from __future__ import annotations

import argparse
import itertools
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensembles.fit.crossfit import ONE
from ensembles.members import RUN
from fer_kit import cli, metrics
from fer_kit.competition import NUM_CLASSES
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.folds import fold_spec
from fer_kit.runs import folders, lookup, predictions, soft_targets
from fer_kit.runs.blend_record import BlendRecord
from fer_kit.runs.folders import BLENDS, OOF, TEST, Run
from fer_kit.runs.lookup import RunFolder
from fer_kit.runs.predictions import Predictions
from fer_kit.runs.soft_targets import SoftTargets

Shares = NDArray[np.float32]

TRAIN_ROWS, TEST_ROWS, BOTH = "train", "test", "both"
TARGETS = "targets"  # folder beside the runs
OOF_SCHEME, NESTED, PSEUDO = "oof", "nested", "pseudo-labels"
SCHEMES = (OOF_SCHEME, NESTED)  # of train rows


@dataclass(frozen=True, eq=False)
class Team:
    """Teachers by name. oof: of the run or blend, all N train rows. runs: all runs behind it; fold_of_row: int64 (N,).

    fitted: whether weights, temperatures or a choice were fitted to the labels of all folds.
    """

    name: str
    oof: Predictions
    runs: tuple[Run, ...]
    fold_of_row: NDArray[np.int64]
    folds: int
    fitted: bool
    sha256: dict[str, str]

    def described(self, scheme: str | None) -> dict[str, Any]:
        """For the record: whose predictions the targets of the train rows are, by `scheme`, with digests."""
        whose: dict[str, Any] = {run.name: dict(run.sha256) for run in self.runs}
        if scheme == OOF_SCHEME:
            return {"source": self.name, "sha256": self.sha256, "runs": whose}
        for run in self.runs if scheme == NESTED else ():
            for pair in itertools.combinations(range(self.folds), 2):
                place = f"{fold_spec.folder_name(pair)}/{OOF}"
                whose[run.name][place] = atomic.sha256_of(run.folder / place)
        return {"runs": whose}


def load(runs_dir: Path, source: str) -> Team:
    """The teachers that `source` names: a run, or a blend (also as blends/NAME).

    Raises:
        FerKitError: no such run or blend; unfinished; without a run behind it; with twins looked up.
    """
    where = lookup.find_whole(runs_dir, source, "--from")
    name = where.name
    if isinstance(where, RunFolder):
        run = where.load()
        return Team(name, run.oof, (run,), run.fold_of_row, run.count, False, run.sha256)
    blend = where.load()
    if blend.record.twins is not None:
        raise FerKitError(
            f"--from {source}: its twins were looked up, so a row's target would know the labels of its twins; take "
            f"'{blend.record.twins.blend}'"
        )
    behind = {run.folder.resolve(): run for run in _runs_behind(runs_dir, blend.record)}
    found = tuple(behind.values())
    if not found:
        raise FerKitError(f"--from {source}: no run is behind it, so nothing tells the folds of its teachers apart")
    predictions.same_meta([blend.oof, *(run.oof for run in found)], ("folds_digest", "data_digest"), f"--from {source}")
    fitted = blend.record.learned is not False or blend.record.method not in ("mean", ONE)
    return Team(name, blend.oof, found, found[0].fold_of_row, found[0].count, fitted, blend.record.files)


def out_of_fold(team: Team) -> Shares:
    """Each row's out-of-fold prediction, the same for all students: float32 (1, N, 7)."""
    return metrics.softmax(team.oof.logits).astype(np.float32)[None]


def nested(team: Team) -> Shares:
    """For the student of fold k a row's prediction by networks that left out its fold and fold k: (folds + 1, N, 7).

    NaN for the rows of fold k. The full fit's student, which is scored on nothing, gets the mean over k.

    Raises:
        FerKitError: fitted weights, which knew all labels; a network of two folds left out that is not there.
    """
    if team.fitted:
        raise FerKitError(
            f"nested targets from '{team.name}', whose weights or temperatures were fitted to the labels of all folds; "
            "blend by --method mean --temperatures none, or name a run"
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
    """For the student of fold k the mean of the runs' fold-k networks on the test rows: float32 (folds + 1, M, 7).

    NaN where the likeliest class has less than `confidence`. The full fit's student gets the mean of all networks.

    Raises:
        FerKitError: the student of some fold would get no row.
    """
    made = []
    for fold in range(team.folds):
        tests = [_test_of(run, fold) for run in team.runs]
        made.append(metrics.softmax(metrics.mean_of_probabilities(tests)))
    shares = np.stack([*made, np.mean(made, axis=0)]).astype(np.float32)
    surest = shares.max(axis=2)
    least = float(surest[: team.folds].max(axis=1).min())
    if least < confidence:
        raise FerKitError(
            f"--confidence {confidence:g}: of some fold's networks no test row is that sure, at most {least:.3f}; take "
            "less"
        )
    shares[surest < confidence] = np.nan
    return shares


def taught_by_oof(runs_dir: Path, team: Team) -> list[str]:
    """Names of the teachers that were trained on targets which may have known the labels that they are scored on."""
    found = []
    for run in team.runs:
        path = run.folder / fold_spec.folder_name(0) / "config.json"
        config = atomic.read_json(path) if path.is_file() else None
        named = str(config.get("targets") or "") if isinstance(config, dict) else ""
        if named and _scheme(runs_dir, named) not in (NESTED, PSEUDO):
            found.append(run.name)
    return found


def _scheme(runs_dir: Path, named: str) -> str | None:
    """The scheme of the targets that a config calls NAME@digest; None where they are not to be found."""
    path = runs_dir / TARGETS / f"{named.rpartition('@')[0]}.npz"
    try:
        return str(soft_targets.open_named(path, named).meta["scheme"]) if path.is_file() else None
    except FerKitError:
        return None  # other targets by now


def given(shares: Shares) -> NDArray[np.bool_]:
    """Which rows have shares, (S, rows)."""
    there: NDArray[np.bool_] = ~np.isnan(shares.sum(axis=2))
    return there


def _test_of(run: Run, fold: int) -> NDArray[np.float32]:
    return predictions.read(run.folder / fold_spec.folder_name(fold) / TEST).logits


def _pair(run: Run, pair: tuple[int, int], team: Team) -> Predictions:
    """Out-of-fold predictions of the network of `run` that left out two folds."""
    folder = run.folder / fold_spec.folder_name(pair)
    if not folders.is_finished(folder):
        typed = "+".join(map(str, pair))
        raise FerKitError(
            f"{folder}: not finished; nested targets need it: train it as the other folds of '{run.name}', with "
            f"--fold {typed}"
        )
    part = predictions.read(folder / OOF)
    predictions.same_meta([run.oof, part], ("run", "config_digest", "folds_digest", "data_digest"), f"{folder}")
    rows = np.flatnonzero(np.isin(team.fold_of_row, pair))
    if not np.array_equal(part.ids, rows):
        raise FerKitError(f"{folder / OOF}: not the rows of folds {pair[0]} and {pair[1]}; train it again")
    return part


def _runs_behind(runs_dir: Path, record: BlendRecord) -> Sequence[Run]:
    """All runs that a blend was made of, however deep, by its record."""
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


def build_parser() -> argparse.ArgumentParser:
    """The options of `python -m ensembles.targets`."""
    parser = cli.parser(
        "python -m ensembles.targets", "Write soft targets that teachers give to train rows, test rows or both."
    )
    parser.add_argument("name", metavar="NAME", help="of the targets, or of the round; written to DIR/targets/NAME.npz")
    parser.add_argument("--from", dest="source", metavar="SOURCE", required=True, help="a finished run or a blend")
    parser.add_argument("--runs", metavar="DIR", default="runs", help="folder of runs")
    parser.add_argument(
        "--rows", choices=(TRAIN_ROWS, TEST_ROWS, BOTH), default=TRAIN_ROWS, help="which rows get targets"
    )
    parser.add_argument(
        "--scheme",
        choices=SCHEMES,
        default=OOF_SCHEME,
        help="teachers of train rows: oof, the out-of-fold predictions, whose "
        "networks saw the labels that a student of another fold is scored on, so that its score can be a little high; "
        "nested, networks trained with --fold a+b, which saw neither (ten more for five folds)",
    )
    parser.add_argument(
        "--confidence",
        metavar="P",
        type=float,
        default=0.0,
        help="leave out test rows whose likeliest class is below P",
    )
    parser.add_argument("--force", action="store_true", help="replace targets of that name with other content")
    return parser


def body(args: argparse.Namespace) -> None:
    """Load the teachers, write their targets, say what was taken from whom."""
    runs_dir = Path(args.runs)
    name = folders.safe_name(args.name, "targets")
    _refuse_what_says_nothing(args)
    train = test = None
    team = load(runs_dir, args.source)
    if args.rows != TEST_ROWS:
        train = nested(team) if args.scheme == NESTED else out_of_fold(team)
    if args.rows != TRAIN_ROWS:
        test = pseudo_labels(team, args.confidence)
    meta = {
        "schema": soft_targets.SCHEMA,
        "name": name,
        "scheme": PSEUDO if train is None else args.scheme,
        "teachers": team.described(None if train is None else args.scheme),
        "confidence": args.confidence,
        "folds": team.folds,
        "folds_digest": team.oof.meta["folds_digest"],
        "data_digest": team.oof.meta["data_digest"],
    }
    path = runs_dir / TARGETS / f"{name}.npz"
    made = write(path, SoftTargets(train, test, meta), args.force)

    if train is not None:
        told = "out of fold; teachers of other folds knew a fold's labels, see --scheme nested in --help"
        if args.scheme == NESTED:
            told = "nested: no teacher knew the labels that its student is scored on"
        print(f"train    {train.shape[1]:,} rows, {told}")
    if test is not None:
        kept = given(test).mean()
        print(f"test     {test.shape[1]:,} rows, {kept:.1%} with pseudo-labels, by teachers of the student's own fold")
    print(f"teachers {team.name}: {', '.join(run.name for run in team.runs) or 'files'}")
    for run in taught_by_oof(runs_dir, team) if test is not None else []:
        print(
            f"note: '{run}' was itself trained on targets whose teachers knew a fold's labels, so its pseudo-labels "
            "know a little of them, and its students' scores can be a little high"
        )
    print(f"{'wrote' if made else 'unchanged'} {path}")
    options = "" if args.runs == "runs" else f" --runs {shlex.quote(args.runs)}"
    print(f"next: python -m fer_kit.train --fold 0 --set {shlex.quote(f'targets={path}')} --tag {name}{options}")


def _refuse_what_says_nothing(args: argparse.Namespace) -> None:
    """Options that would change nothing, and a confidence that is none."""
    if not 0 <= args.confidence < 1:
        raise FerKitError(f"--confidence {args.confidence:g}: give a number from 0 to below 1")
    if args.confidence and args.rows == TRAIN_ROWS:
        raise FerKitError("--confidence chooses among test rows; add --rows test or both, or leave it out")
    if args.scheme == NESTED and args.rows == TEST_ROWS:
        raise FerKitError(
            "--scheme nested is for train rows, pseudo-labels need none; leave it out, or take --rows both"
        )


def write(path: Path, targets: SoftTargets, force: bool) -> bool:
    """Write `targets`; False where the very same lie there.

    Raises:
        FerKitError: others lie there and `force` is not given: runs trained on them could not be resumed.
    """
    aside = path.with_name(f".{path.name}.new")
    soft_targets.write(aside, targets)
    try:
        if path.exists() and path.read_bytes() == aside.read_bytes():
            return False
        if path.exists() and not force:
            raise FerKitError(f"{path}: holds other targets; choose another name, or replace them with --force")
        aside.replace(path)
        return True
    finally:
        aside.unlink(missing_ok=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
