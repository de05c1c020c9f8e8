"""Soft targets for training students (self-distillation), and pseudo-labels for test rows.

    python -m ensembles.targets NAME --from BLEND
    python -m ensembles.targets ROUND1 --from BLEND --rows test
    python -m ensembles.targets QUICK --shipped
    python -m fer_kit.train --folds 0-4 --set targets=runs/targets/NAME.npz --tag distilled

The target of a row always comes from networks that were trained without the row and its twins. An indirect leak
remains: the teacher of a row of fold a was trained on the labels of fold k, its target trains the student of fold k,
and that student is scored on the labels of fold k. The student cannot memorise these labels, because it never sees the
images of fold k nor their twins; the effect is that of slightly more training data than the score assumes.

    --scheme oof     targets are the out-of-fold predictions, as is usual. The indirect leak remains: scores of students
                     can be slightly too high, and a gain over the teachers should be confirmed with nested targets
    --scheme nested  the student of fold k gets targets by teachers that left out both the row's fold a and fold k,
                     trained with --fold a+k: ten more networks for five folds, and no leak

Pseudo-labels have no such choice: the student of fold k gets the mean of the fold-k networks, which were trained
without fold k. This also holds if these networks are students of earlier pseudo-labels or of nested targets. Students
of targets by scheme oof have the indirect leak of fold k, and the command prints a note.

With --shipped the teacher is the network that ships with fer_kit, see `fer_kit.predict.shipped_teacher`.
"""

from __future__ import annotations

import argparse
import importlib
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
from fer_kit.folds import fold_spec, table
from fer_kit.runs import finished_folder, folders, lookup, predictions, soft_targets
from fer_kit.runs.blend_record import BlendRecord
from fer_kit.runs.finished_folder import OOF, TEST
from fer_kit.runs.folders import BLENDS, Run
from fer_kit.runs.lookup import RunFolder
from fer_kit.runs.predictions import Predictions
from fer_kit.runs.soft_targets import SoftTargets
from fer_kit.runs.training_record import CONFIG

Shares = NDArray[np.float32]

TRAIN_ROWS, TEST_ROWS, BOTH = "train", "test", "both"
OOF_SCHEME, NESTED, PSEUDO = "oof", "nested", "pseudo-labels"
SCHEMES = (OOF_SCHEME, NESTED)  # of train rows


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
    surest = shares.max(axis=2)
    least = float(surest[: team.folds].max(axis=1).min())
    if least < confidence:
        raise FerKitError(
            f"--confidence {confidence:g}: the networks of some fold predict no test row with this probability; give "
            f"at most {least:.3f}"
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


def build_parser() -> argparse.ArgumentParser:
    """The options of `python -m ensembles.targets`."""
    parser = cli.parser(
        "python -m ensembles.targets",
        "Write soft targets: the probabilities that a run or blend (the teachers) predicts for train rows, test rows "
        "or both, to train other networks (the students) on.",
    )
    parser.add_argument("name", metavar="NAME", help="name of the targets, written to DIR/targets/NAME.npz")
    teachers = parser.add_mutually_exclusive_group(required=True)
    teachers.add_argument("--from", dest="source", metavar="SOURCE", help="a finished run or a blend")
    teachers.add_argument(
        "--shipped",
        action="store_true",
        help="the network that ships with fer_kit, which needs no first round of trainings; it was trained on all "
        "train rows, so scores of students can be slightly too high",
    )
    parser.add_argument("--runs", metavar="DIR", default="runs", help="folder of runs")
    parser.add_argument(
        "--data", help="with --shipped: folder with the competition's files; found by itself if not given"
    )
    parser.add_argument("--device", default="auto", help="with --shipped: auto, cpu, cuda or cuda:1")
    parser.add_argument(
        "--rows", choices=(TRAIN_ROWS, TEST_ROWS, BOTH), default=TRAIN_ROWS, help="which rows get targets"
    )
    parser.add_argument(
        "--scheme",
        choices=SCHEMES,
        default=OOF_SCHEME,
        help="teachers of the train rows; oof: the out-of-fold predictions, whose networks were trained on labels that "
        "a student of another fold is scored on, so that scores of students can be slightly too high; nested: networks "
        "trained with --fold a+b, which were not (ten more networks for five folds)",
    )
    parser.add_argument(
        "--confidence",
        metavar="P",
        type=float,
        default=0.0,
        help="leave out test rows whose most probable class is below P, from 0 to below 1",
    )
    parser.add_argument("--force", action="store_true", help="replace existing targets that have other content")
    return parser


def body(args: argparse.Namespace) -> None:
    """Make the targets, write them and print where they come from."""
    runs_dir = Path(args.runs)
    name = folders.safe_name(args.name, "targets")
    _refuse_options_without_effect(args)
    targets, lines = of_shipped(args, name) if args.shipped else of_team(args, name)
    path = soft_targets.path_of(runs_dir, name)
    made = write(path, targets, args.force)
    print("\n".join([*lines, f"{'wrote' if made else 'unchanged'} {path}"]))
    options = "" if args.runs == "runs" else f" --runs {shlex.quote(args.runs)}"
    options += f" --data {shlex.quote(args.data)}" if args.data else ""
    changed = f"--set {shlex.quote(f'targets={path}')} --tag {name}"
    print(f"next: python -m fer_kit.train --folds 0-{targets.meta['folds'] - 1} {changed}{options}")


def of_shipped(args: argparse.Namespace, name: str) -> tuple[SoftTargets, list[str]]:
    """Targets by the network that ships, and where they come from in lines for people."""
    runs_dir = Path(args.runs)
    teacher = importlib.import_module("fer_kit.predict.shipped_teacher")  # of a higher floor, so it is imported late
    made: SoftTargets = teacher.make(name, runs_dir, args.data, args.rows, args.confidence, args.device)
    lines = []
    if made.train is not None:
        labels = table.read(runs_dir / "folds.csv").labels
        right = float((made.train[0].argmax(axis=1) == labels).mean())
        lines.append(f"train    {made.train.shape[1]:,} rows, {right:.2%} of them predicted as labelled")
    if made.test is not None:
        lines.append(f"test     {made.test.shape[1]:,} rows, {given(made.test).mean():.1%} with pseudo-labels")
    why = "was trained on all train rows, so scores of its students can be slightly too high"
    return made, [*lines, f"teacher  the network that ships with fer_kit ({made.meta['teachers']['source']}); it {why}"]


def of_team(args: argparse.Namespace, name: str) -> tuple[SoftTargets, list[str]]:
    """Targets by the networks of a run or blend, and where they come from in lines for people."""
    runs_dir = Path(args.runs)
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
    lines = []
    if train is not None:
        origin = (
            "out-of-fold predictions; their networks were trained on labels that students are scored on, so scores of "
            "students can be slightly too high (see --scheme nested in --help)"
        )
        if args.scheme == NESTED:
            origin = "nested: no teacher was trained on the labels that its student is scored on"
        lines.append(f"train    {train.shape[1]:,} rows, {origin}")
    if test is not None:
        kept = given(test).mean()
        lines.append(
            f"test     {test.shape[1]:,} rows, {kept:.1%} with pseudo-labels, by networks of the student's own fold"
        )
    lines.append(f"teachers {team.name}: {', '.join(run.name for run in team.runs) or 'files'}")
    for run in taught_by_oof(runs_dir, team) if test is not None else []:
        lines.append(
            f"note: '{run}' was trained on targets of scheme oof, or of an unknown scheme, so its pseudo-labels depend "
            "slightly on the labels that students are scored on; scores of students can be slightly too high"
        )
    return SoftTargets(train, test, meta), lines


def _refuse_options_without_effect(args: argparse.Namespace) -> None:
    """Raise FerKitError for options that would have no effect, and for a confidence outside 0 to 1."""
    if not 0 <= args.confidence < 1:
        raise FerKitError(f"--confidence {args.confidence:g}: give a number from 0 to below 1")
    if args.confidence and args.rows == TRAIN_ROWS:
        raise FerKitError("--confidence applies to test rows; add --rows test or --rows both, or drop --confidence")
    if args.shipped and args.scheme == NESTED:
        raise FerKitError("--scheme nested with --shipped: the network that ships left out no fold; drop one of them")
    for option, value in (("data", args.data), ("device", None if args.device == "auto" else args.device)):
        if value and not args.shipped:
            raise FerKitError(
                f"--{option} {value} applies to --shipped alone, which predicts; drop it, or add --shipped"
            )
    if args.scheme == NESTED and args.rows == TEST_ROWS:
        raise FerKitError("--scheme nested applies to train rows; add --rows both, or drop --scheme")


def write(path: Path, targets: SoftTargets, force: bool) -> bool:
    """Write `targets` to `path`; False if the file already holds the same targets.

    Raises:
        FerKitError: the file holds other targets and `force` is False. Runs trained on those could not be resumed.
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
