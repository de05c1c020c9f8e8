"""Predict finished folds again with other test-time views, as a new run.

python -m fer_kit.predict attention --views ten_crops
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from fer_kit import cli
from fer_kit.config.settings import TABLE
from fer_kit.errors import FerKitError
from fer_kit.folds import fold_spec
from fer_kit.folds.fold_spec import Fold
from fer_kit.runs import finished_folder, folders, lookup
from fer_kit.runs.training_record import read_config


def build_parser() -> argparse.ArgumentParser:
    """The options of `python -m fer_kit.predict`."""
    parser = cli.parser(
        "python -m fer_kit.predict",
        "Predict the finished folds of a run again with other test-time views, from their saved weights, without "
        "training. The result is a new run, RUN-TAG; RUN does not change.",
    )
    parser.add_argument("run", metavar="RUN", help="the name of a run")
    parser.add_argument(
        "--views",
        required=True,
        choices=TABLE["views"].choices,
        help="the views of each face whose predictions are averaged",
    )
    parser.add_argument("--tag", help="end of the new run's name, RUN-TAG; by default the name of the views")
    parser.add_argument(
        "--fold", type=fold_spec.parse, metavar="K", help="only this fold; by default every finished fold"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs, with folds.csv")
    parser.add_argument("--data", help="folder with the competition's files; searched for if not given")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:1")
    return parser


def finished_folds(runs_dir: Path, run: str) -> tuple[tuple[Fold, ...], list[str]]:
    """The finished folds of `run`, and the folder names of the unfinished folds; neither lists teachers' folds.

    Raises:
        FerKitError: the run does not exist, or none of its folds is finished.
    """
    found = lookup.find_run(runs_dir, run)
    state = found.status()
    folds = [one for one in found.folds() if len(fold_spec.left_out(one.fold)) < 2]
    finished = tuple(one.fold for one in folds if one.finished)
    if not finished:
        raise FerKitError(folders.unfinished_message(runs_dir, state))
    return finished, [one.folder.name for one in folds if one.fold not in finished]


def refuse_same_views(runs_dir: Path, run: str, folds: Sequence[Fold], views: str) -> None:
    """Raise FerKitError if a fold was predicted with these views already; torch is not loaded for this."""
    for fold in folds:
        folder = folders.fold_folder(runs_dir, run, fold)
        if read_config(folder).views == views:
            raise FerKitError(f"{folder} was predicted with --views {views} already; choose other views")


def body(args: argparse.Namespace) -> None:
    """Choose the folds, predict them and print a line for each."""
    tag = args.views if args.tag is None else args.tag
    target = folders.safe_name(f"{args.run}-{folders.safe_name(tag, 'tag')}", "run")
    chosen, missing = finished_folds(args.runs, args.run)
    if args.fold is not None:
        folder = folders.fold_folder(args.runs, args.run, args.fold)
        if not finished_folder.is_finished(folder):
            raise FerKitError(f"{folder} is not a finished fold; train it first")
        chosen = (args.fold,)
    elif missing:
        print(f"skipped, because not finished: {', '.join(missing)}")
    refuse_same_views(args.runs, args.run, chosen, args.views)
    from fer_kit.predict import again  # loads torch

    words = [args.run, "--views", args.views, "--runs", f"{args.runs}"]
    words += ["--tag", args.tag] if args.tag is not None else []
    words += ["--data", args.data] if args.data is not None else []
    request = again.PredictRequest(
        runs=args.runs,
        source=args.run,
        target=target,
        views=args.views,
        folds=chosen,
        data=args.data,
        device=args.device,
        command=f"python -m fer_kit.predict {shlex.join(words)}",
    )
    for line in again.write(request):
        print(line, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0, 2 for a user error, 130 when interrupted."""
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
