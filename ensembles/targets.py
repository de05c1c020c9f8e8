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

With --shipped the teacher is the network that ships with fer_kit, see `fer_kit.predict.shipped_teacher`. Test rows with
a twin among the train rows get no pseudo-label from this network, which was trained on the twin's label.
"""

from __future__ import annotations

import argparse
import importlib
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ensembles.teachers import (
    NESTED,
    OOF_SCHEME,
    PSEUDO,
    given,
    load,
    nested,
    out_of_fold,
    pseudo_labels,
    taught_by_oof,
    without_unsure,
)
from fer_kit import cli
from fer_kit.data import loading
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.folds import table
from fer_kit.runs import folders, soft_targets
from fer_kit.runs.soft_targets import SoftTargets

TRAIN_ROWS, TEST_ROWS, BOTH = "train", "test", "both"
SCHEMES = (OOF_SCHEME, NESTED)  # of train rows
SHIPPED = "shipped"  # the scheme of --shipped


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
    targets, lines = of_shipped(args) if args.shipped else of_team(args)
    path = soft_targets.path_of(runs_dir, name)
    made = write(path, targets, args.force)
    print("\n".join([*lines, f"{'wrote' if made else 'unchanged'} {path}"]))
    options = "" if args.runs == "runs" else f" --runs {shlex.quote(args.runs)}"
    options += f" --data {shlex.quote(args.data)}" if args.data else ""
    changed = f"--set {shlex.quote(f'targets={path}')} --tag {name}"
    print(f"next: python -m fer_kit.train --folds 0-{targets.meta['folds'] - 1} {changed}{options}")


def of_shipped(args: argparse.Namespace) -> tuple[SoftTargets, list[str]]:
    """Targets by the network that ships, and where they come from in lines for people."""
    runs_dir = Path(args.runs)
    folds = table.read(runs_dir / "folds.csv")
    competition = loading.load(loading.find(args.data), runs_dir / folders.CACHE)
    table.check(folds, competition.train.labels)
    teacher = importlib.import_module("fer_kit.predict.shipped_teacher")  # of a higher floor, so it is imported late
    network = teacher.read()
    train = test = None
    lines = []
    if args.rows != TEST_ROWS:
        train = teacher.shares(network, competition.train.images, args.device, "train rows")
        right = float((train[0].argmax(axis=1) == folds.labels).mean())
        lines.append(f"train    {train.shape[1]:,} rows, {right:.2%} of them predicted as labelled")
    if args.rows != TRAIN_ROWS:
        test = teacher.shares(network, competition.test.images, args.device, "test rows")
        test = without_unsure(test, folds.count, args.confidence, "the network that ships predicts")
        twins = np.isin(table.read_test_groups(runs_dir / table.TEST_FILE, test.shape[1]), folds.groups)
        test[:, twins] = np.nan
        if not given(test).any():
            raise FerKitError("--rows with --shipped: no test row is left that has no twin among the train rows")
        lines.append(
            f"test     {test.shape[1]:,} rows, {given(test).mean():.1%} with pseudo-labels; {int(twins.sum()):,} rows "
            "with a twin among the train rows have none, because the network that ships has seen the twin's label"
        )
    why = "was trained on all train rows, so scores of its students can be slightly too high"
    lines.append(f"teacher  the network that ships with fer_kit ({network.name}); it {why}")
    digests = {"folds_digest": folds.digest, "data_digest": competition.digest}
    about = {"source": network.name, "sha256": atomic.sha256_of(network.path)}
    meta = meta_of(args, SHIPPED, about, folds.count, digests)
    return SoftTargets(train, test, meta), lines


def of_team(args: argparse.Namespace) -> tuple[SoftTargets, list[str]]:
    """Targets by the networks of a run or blend, and where they come from in lines for people."""
    runs_dir = Path(args.runs)
    train = test = None
    team = load(runs_dir, args.source)
    if args.rows != TEST_ROWS:
        train = nested(team) if args.scheme == NESTED else out_of_fold(team)
    if args.rows != TRAIN_ROWS:
        test = pseudo_labels(team, args.confidence)
    scheme = None if train is None else args.scheme
    meta = meta_of(args, scheme or PSEUDO, team.described(scheme), team.folds, team.oof.meta)
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


def meta_of(
    args: argparse.Namespace, scheme: str, teachers: dict[str, Any], folds: int, digests: Mapping[str, Any]
) -> dict[str, Any]:
    """The record of the targets. digests: has the keys folds_digest and data_digest."""
    return {
        "schema": soft_targets.SCHEMA,
        "name": args.name,
        "scheme": scheme,
        "teachers": teachers,
        "confidence": args.confidence,
        "folds": folds,
        "folds_digest": digests["folds_digest"],
        "data_digest": digests["data_digest"],
    }


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
