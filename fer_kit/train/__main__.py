"""Train one fold of one recipe, predict its rows and the test rows, and leave a run folder.

python -m fer_kit.train --recipe attention --fold 3
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from fer_kit import cli
from fer_kit.batches import pipeline_file
from fer_kit.competition import SIDE_PX
from fer_kit.config import recipes, suggest
from fer_kit.config.networks import Cost, known_cost
from fer_kit.config.train_config import TrainConfig, used
from fer_kit.data import loading
from fer_kit.errors import FerKitError
from fer_kit.folds import deal, fold_spec, splits
from fer_kit.track import follow
from fer_kit.train.request import PROGRAM, ResolvedRequest, TrainRequest, resolve


def build_parser() -> argparse.ArgumentParser:
    """The command line of `python -m fer_kit.train`."""
    parser = cli.parser(
        "python -m fer_kit.train",
        "Train one fold of a recipe; predict the fold's own rows and the test rows; keep everything in a run folder.",
    )
    parser.hint = suggest.as_settings
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--fold",
        type=fold_spec.parse,
        metavar="K",
        help="the fold to leave out and predict, from 0; full: train on every row but those watched for an early stop, "
        "and predict the test rows alone (also: all); 1+3: leave out two, for a teacher (see ensembles.targets)",
    )
    which.add_argument(
        "--folds",
        metavar="LIST",
        help="several folds, several at once: 0-4, 0,2, every (each fold), full (the full fit), or every,full; the "
        "same command again goes on where it stopped",
    )
    parser.add_argument(
        "--at-once",
        type=at_once,
        metavar="N",
        help="with --folds: trainings side by side; auto, if not given: one a core on the CPU, one a GPU otherwise",
    )
    parser.add_argument(
        "--recipe", default=recipes.DEFAULT, help=f"one of {', '.join(recipes.RECIPES)}, or timm/NAME for any of timm's"
    )
    parser.add_argument(
        "--weights",
        metavar="FROM",
        help="what the network starts from, in place of the recipe's: a file (safetensors or a state dict), the folder "
        "of a run of ours, a Kaggle model, hub, or none; needs --tag",
    )
    parser.add_argument(
        "--augment",
        metavar="FILE",
        help="a pipeline saved by albumentations (.json or .yaml), or v3, in place of the recipe's augmentation; "
        "needs --tag",
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes that run the pipeline; one a core, 16 at most, if not given"
    )
    parser.add_argument("--data", help="folder with the competition's files; found by itself where not given")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs, with folds.csv")
    parser.add_argument(
        "--set", action="extend", nargs="+", default=[], metavar="K=V", help="change settings; needs --tag"
    )
    parser.add_argument("--tag", help="names the changed run: <recipe>-<tag>")
    parser.add_argument(
        "--seed", type=int, metavar="N", help="another seed, as a run of its own: <recipe>[-<tag>]-seed<N>"
    )
    parser.add_argument(
        "--accumulate",
        type=int,
        metavar="N",
        help="cut each step's batch in N parts, to save memory: sets batch_size and accumulate; needs --tag",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:1")
    parser.add_argument(
        "--compile",
        action="store_true",
        help="torch.compile the network for training: faster on GPUs; the numbers differ as between seeds",
    )
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on after the last finished epoch")
    again.add_argument("--restart", action="store_true", help="throw an unfinished run away and begin anew")
    parser.add_argument(
        "--limit-minutes", type=float, help="stop at an epoch's end before this time is over, resumable"
    )
    parser.add_argument("--deterministic", action="store_true", help="on a GPU: the same bits every time, more slowly")
    follow.add_option(parser)
    parser.add_argument("--dry-run", action="store_true", help="show what would be done and stop")
    parser.add_argument("--smoke", action="store_true", help="a trial: one epoch on 512 rows, as run <recipe>-smoke")
    return parser


def at_once(text: str) -> int | None:
    """The value of --at-once; None for auto. For argparse."""
    if text == "auto":
        return None
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no number; give 1 or more, or auto") from None


def request_of(args: argparse.Namespace, typed: Sequence[str] = ()) -> TrainRequest:
    """The request that parsed arguments stand for; `typed` are the words that they were parsed from."""
    names = [field.name for field in dataclasses.fields(TrainRequest) if field.name not in ("settings", "command")]
    command = f"{PROGRAM} {shlex.join(typed)}" if typed else None
    return TrainRequest(settings=tuple(args.set), command=command, **{name: getattr(args, name) for name in names})


def cost_of(config: TrainConfig) -> Cost:
    """Parameters and FLOPs of the config's network."""
    if known := known_cost(config.model, config.width_mult):
        return known
    from fer_kit.models import cost  # torch: a network of timm, or of a width of one's own, is built to be counted

    return cost.measure(config)


def refuse(resolved: ResolvedRequest) -> None:
    """Raise FerKitError if training would refuse the device, or what the network or the pipeline cannot do."""
    config, pipeline, wanted = resolved.config, resolved.pipeline, resolved.request.device
    if wanted not in ("auto", "cpu") or config.precision not in ("auto", "fp32"):  # each machine has the others
        from fer_kit.engine import device

        device.choose(config.precision, device.choose_device(wanted))
    if config.progressive_px or config.freeze_epochs or config.layer_decay != 1 or config.head_lr_mult != 1:
        import torch

        from fer_kit import models
        from fer_kit.models import fine_tuning

        with torch.device("meta"):  # shapes alone: no weights are drawn
            fine_tuning.check(config, models.build(config))
    if pipeline is not None and pipeline.where not in pipeline_file.BUILT_IN:
        import numpy as np

        from fer_kit.batches.pipeline import Pipeline

        slope = np.arange(SIDE_PX, dtype=np.uint8)
        Pipeline(pipeline).try_on(np.add.outer(slope, slope))  # (48, 48), in place of a face


def show_plan(resolved: ResolvedRequest) -> None:
    """Print what a run would do, from the files at hand; torch is loaded only where a network has to be built."""
    request, config = resolved.request, resolved.config
    place = loading.find(request.data)
    table = deal.read(request.runs / "folds.csv")
    parts = splits.split(table, request.fold, config)
    cost = cost_of(config)
    for name, value, before in used(config, resolved.recipe):
        print(f"  {name:<24} {value}" + ("" if value == before else f"   (recipe: {before})"))
    print(f"network  {config.model}: {cost}")
    print(f"data     {place}")
    print(f"folds    {request.runs / 'folds.csv'} ({table.count} folds, digest {table.digest[:12]})")
    less = " less those of one grey value" if config.drop_constant else ""
    print(
        f"rows     {len(parts.train):,}{less} to train on, {len(parts.watch):,} watched, {len(parts.out):,} out of fold"
    )
    print(f"config   {config.digest[:12]}")
    print(f"folder   {resolved.folder}")
    print("dry run: nothing was trained or written")


def train_folds(args: argparse.Namespace) -> int:
    """Train the folds of --folds by child processes, which run this command for one fold each."""
    if args.restart:
        raise FerKitError(f"--restart with --folds {args.folds}: give --restart with one --fold at a time")
    sweeps = importlib.import_module("fer_kit.sweep.__main__")  # sweeps are built upon this folder
    first = request_of(argparse.Namespace(**{**vars(args), "fold": 0, "resume": False}))
    code: int = sweeps.train_folds(first, args)
    return code


def body(args: argparse.Namespace, typed: Sequence[str]) -> int | None:
    """Train, or with --dry-run show what would be done."""
    if args.folds is not None:
        return train_folds(args)
    if args.at_once is not None:
        raise FerKitError(f"--at-once {args.at_once}: one fold is one process; give --folds LIST instead of --fold")
    resolved = resolve(request_of(args, typed))
    if resolved.pipeline is not None:
        print(pipeline_file.change_line(resolved.recipe, resolved.pipeline))
    if args.dry_run:
        refuse(resolved)
        show_plan(resolved)
        return None
    from fer_kit.train import fold  # this brings torch

    fold.train_fold(resolved)
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0, 2 for a user error, 130 when interrupted."""
    typed = list(sys.argv[1:] if argv is None else argv)
    return cli.run(build_parser, lambda args: body(args, typed), typed)


if __name__ == "__main__":
    raise SystemExit(main())
