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
import shlex
from collections.abc import Sequence
from pathlib import Path

from ensembles import teachers
from ensembles.teachers import NESTED, OOF_SCHEME, PSEUDO, SCHEMES, TARGETS
from fer_kit import cli
from fer_kit.errors import FerKitError
from fer_kit.runs import folders, soft_targets
from fer_kit.runs.soft_targets import SoftTargets

TRAIN_ROWS, TEST_ROWS, BOTH = "train", "test", "both"


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
    team = teachers.load(runs_dir, args.source)
    if args.rows != TEST_ROWS:
        train = teachers.nested(team) if args.scheme == NESTED else teachers.out_of_fold(team)
    if args.rows != TRAIN_ROWS:
        test = teachers.pseudo_labels(team, args.confidence)
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
        kept = teachers.given(test).mean()
        print(f"test     {test.shape[1]:,} rows, {kept:.1%} with pseudo-labels, by teachers of the student's own fold")
    print(f"teachers {team.name}: {', '.join(run.name for run in team.runs) or 'files'}")
    for run in teachers.taught_by_oof(runs_dir, team) if test is not None else []:
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
