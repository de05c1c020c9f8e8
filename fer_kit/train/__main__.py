"""Train one fold of a recipe, predict the held-out rows and the test rows, and write a run folder.

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
from fer_kit.config import growth, recipes, suggest
from fer_kit.config.networks import Cost, known_cost
from fer_kit.config.train_config import TrainConfig, shown, used
from fer_kit.data import loading
from fer_kit.errors import FerKitError
from fer_kit.folds import deal, fold_spec, splits
from fer_kit.track import follow
from fer_kit.train import config_file
from fer_kit.train.fold_folder import refuse_early
from fer_kit.train.request import PROGRAM, ResolvedRequest, TrainRequest, resolve, watched_for


def build_parser() -> argparse.ArgumentParser:
    """The command line of `python -m fer_kit.train`."""
    parser = cli.parser(
        "python -m fer_kit.train",
        "Train a network on all folds but one, then predict the rows of the held-out fold and the test rows. Weights, "
        "predictions and log are written to RUNS/<run>/fold<K>.",
    )
    parser.hint = suggest.as_settings
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--fold",
        type=fold_spec.parse,
        metavar="K",
        help="the fold to hold out and predict, counted from 0; full (or all): train on all rows and predict only the "
        "test rows (recipes with early stopping or a plateau schedule still hold out 10%% to watch); 1+3: hold out two "
        "folds, for a teacher of soft targets (see fer-kit targets)",
    )
    which.add_argument(
        "--folds",
        metavar="LIST",
        help="several folds in parallel: 0-4; 0,2; every (all folds); full (all rows); or every,full. Run the same "
        "command again to continue after an interruption",
    )
    parser.add_argument(
        "--at-once",
        type=cli.number_or_auto,
        metavar="N",
        help="with --folds: number of trainings that run in parallel; without this option, or with auto: one for each "
        "GPU, or one for each CPU core if there is no GPU",
    )
    parser.add_argument(
        "--recipe",
        default=recipes.DEFAULT,
        help=f"one of {', '.join(recipes.RECIPES)}, or timm/NAME for a network of timm",
    )
    parser.add_argument(
        "--weights",
        metavar="FROM",
        help="initial weights, in place of the recipe's: a file (safetensors, or a state dict saved by torch), the "
        "folder of a finished run, package:NAME (the file inside an installed package), a Kaggle model, hub (timm's "
        "pretrained weights), or none (random); needs --tag",
    )
    parser.add_argument(
        "--augment",
        metavar="FILE",
        help="replace the recipe's augmentation by a pipeline saved by albumentations (.json or .yaml), or by the "
        "built-in pipeline v3; needs --tag",
    )
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes that run --augment; without this option one for each core, at most 16",
    )
    parser.add_argument(
        "--data",
        help="folder with the competition's files; without this option the variable FER_KIT_DATA, Kaggle's mounts and "
        "./data are searched",
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs, which holds folds.csv")
    parser.add_argument(
        "--set",
        action="extend",
        nargs="+",
        default=[],
        metavar="K=V",
        help="change settings of the recipe (fer-kit settings lists them); needs --tag",
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="a .toml or .yaml file with recipe, tag, set and further options, such as the best settings of a search "
        "(docs/sweep.md); options on the command line take precedence",
    )
    parser.add_argument("--tag", help="suffix that names a changed run: <recipe>-<tag>")
    parser.add_argument("--seed", type=int, metavar="N", help="random seed; the run is named <recipe>[-<tag>]-seed<N>")
    parser.add_argument(
        "--accumulate",
        type=int,
        metavar="N",
        help="split each step's batch into N parts to save memory: sets batch_size and accumulate; needs --tag",
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help="images per step, with learning rate, weight decay and weight average scaled to match (--set batch_size=N "
        "changes the batch alone); large GPUs train faster with 256 or more; needs --tag",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:1")
    parser.add_argument(
        "--compile",
        action="store_true",
        help="compile the network with torch.compile: faster on GPUs; results differ by about as much as between seeds",
    )
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="continue after the last finished epoch")
    again.add_argument(
        "--restart", action="store_true", help="delete an unfinished training of this fold and start again"
    )
    parser.add_argument(
        "--limit-minutes",
        type=float,
        metavar="M",
        help="stop after the last epoch that fits into M minutes; continue later with --resume",
    )
    parser.add_argument(
        "--stop-after",
        type=int,
        metavar="EPOCH",
        help="stop after this epoch, with the learning rate schedule of the whole training, and measure the accuracy "
        "on the held-out fold; continue later with --resume",
    )
    parser.add_argument(
        "--trial", type=int, metavar="N", help="number of a trial of a search: the run is named <recipe>-<tag>-trial<N>"
    )
    parser.add_argument(
        "--finish-at-limit",
        action="store_true",
        help="at --limit-minutes leave out the remaining epochs and predict: the fold is finished, with fewer epochs",
    )
    parser.add_argument(
        "--save-seconds",
        type=float,
        default=0.0,
        metavar="S",
        help="save a checkpoint only if S seconds have passed since the last one, for epochs of a few seconds; "
        "0: after every epoch",
    )
    parser.add_argument("--deterministic", action="store_true", help="on a GPU: repeat results bit for bit; slower")
    follow.add_option(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="print settings, rows and folder, check them, and stop before training"
    )
    parser.add_argument("--smoke", action="store_true", help="trial run: 512 rows, 1 or 2 epochs, named <recipe>-smoke")
    return parser


def request_of(args: argparse.Namespace, typed: Sequence[str] = ()) -> TrainRequest:
    """The request for parsed arguments. `typed`: the command line that was parsed, to be recorded in env.json."""
    names = [field.name for field in dataclasses.fields(TrainRequest) if field.name not in ("settings", "command")]
    command = f"{PROGRAM} {shlex.join(typed)}" if typed else None
    return TrainRequest(settings=tuple(args.set), command=command, **{name: getattr(args, name) for name in names})


def cost_of(config: TrainConfig) -> Cost:
    """Parameters and FLOPs of the config's network."""
    if known := known_cost(config.model, config.width_mult):
        return known
    from fer_kit.models import cost  # loads torch: networks without a known cost are built and measured

    return cost.measure(config)


def refuse(resolved: ResolvedRequest) -> None:
    """Raise FerKitError if training would refuse the device, or what the network or the pipeline cannot do."""
    config, pipeline, wanted = resolved.config, resolved.pipeline, resolved.request.device
    if wanted not in ("auto", "cpu") or config.precision not in ("auto", "fp32"):  # these four work everywhere
        from fer_kit.engine.device import choose_device, choose_precision

        choose_precision(config.precision, choose_device(wanted))
    if own := growth.grows(config):
        growth.check(config)
    asks_network = config.freeze_epochs or config.layer_decay != 1 or config.head_lr_mult != 1
    if asks_network or (config.progressive_px and not own):
        import torch

        from fer_kit import models
        from fer_kit.models import fine_tuning

        with torch.device("meta"):  # only shapes: no weights are allocated
            fine_tuning.check(config, models.build(config))
    if pipeline is not None and pipeline.where not in pipeline_file.BUILT_IN:
        import numpy as np

        from fer_kit.batches.pipeline import Pipeline

        slope = np.arange(SIDE_PX, dtype=np.uint8)
        Pipeline(pipeline).try_on(np.add.outer(slope, slope))  # (48, 48), in place of a face


def show_plan(resolved: ResolvedRequest) -> None:
    """Print what a training would do. torch is loaded only if a network must be built to be measured."""
    request, config = resolved.request, resolved.config
    place = loading.find(request.data)
    table = deal.read(request.runs / "folds.csv")
    parts = splits.split(table, request.fold, config)
    cost = cost_of(config)
    for name, value, before in used(config, resolved.recipe):
        changed = "" if value == before else f"   (recipe: {shown(before) or 'none'})"
        print(f"  {name:<24} {shown(value)}{changed}")
    print(f"network  {config.model}: {cost}")
    print(f"data     {place}")
    print(f"folds    {request.runs / 'folds.csv'} ({table.count} folds, digest {table.digest[:12]})")
    less = " (minus those of one grey value)" if config.drop_constant else ""
    watched = f"{len(parts.watch):,} {watched_for(config)}, " if config.watches else ""
    print(f"rows     {len(parts.train):,} to train on{less}, {watched}{len(parts.out):,} held out")
    print(f"config   {config.digest[:12]}")
    print(f"folder   {resolved.folder}")


def train_folds(args: argparse.Namespace) -> int:
    """Train the folds of --folds in child processes, each of which runs this command for one fold."""
    if args.trial is not None:
        raise FerKitError(f"--trial {args.trial} with --folds {args.folds}: a trial is one fold; give --fold K")
    if args.restart:
        raise FerKitError(f"--restart with --folds {args.folds}: --restart works on a single fold; give --fold K")
    sweeps = importlib.import_module("fer_kit.sweep.__main__")  # a higher layer, so it is imported late
    first = request_of(argparse.Namespace(**{**vars(args), "fold": 0, "resume": False}))
    if args.dry_run:
        count = deal.read(args.runs / "folds.csv").count
        fold = fold_spec.parse_list(args.folds, count)[0]
        resolved = resolve(dataclasses.replace(first, fold=fold))
        refuse(resolved)
        print(f"plan of {fold_spec.in_words(fold)}, the first of --folds {args.folds}:")
        show_plan(resolved)
    code: int = sweeps.train_folds(first, args)
    return code


def with_config(args: argparse.Namespace, typed: Sequence[str]) -> argparse.Namespace:
    """The arguments together with the options in the file of --config, which the command line takes precedence over."""
    if args.config is None:
        return args
    parser = build_parser()
    parser.set_defaults(**config_file.read(args.config, args.set))
    return parser.parse_args(typed)


def body(args: argparse.Namespace, typed: Sequence[str]) -> int | None:
    """Train, or with --dry-run print the plan."""
    args = with_config(args, typed)
    if args.finish_at_limit and args.limit_minutes is None:
        raise FerKitError("--finish-at-limit needs a time limit; add --limit-minutes M")
    if args.folds is not None:
        return train_folds(args)
    if args.at_once is not None:
        raise FerKitError(f"--at-once {args.at_once} needs several folds; give --folds LIST instead of --fold")
    resolved = resolve(request_of(args, typed))
    if resolved.pipeline is not None:
        print(pipeline_file.change_line(resolved.recipe, resolved.pipeline))
    refuse_early(resolved)
    if args.dry_run:
        refuse(resolved)
        show_plan(resolved)
        print("dry run: nothing was trained or written")
        return None
    from fer_kit.train import fold  # loads torch

    fold.train_fold(resolved)
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0, 2 for a user error, 130 when interrupted."""
    typed = list(sys.argv[1:] if argv is None else argv)
    return cli.run(build_parser, lambda args: body(args, typed), typed)


if __name__ == "__main__":
    raise SystemExit(main())
