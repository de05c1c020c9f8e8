"""Train one fold of one recipe, predict its rows and the test rows, and leave a run folder.

python -m fer_kit.train --recipe attention --fold 3
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from fer_kit import cli
from fer_kit.batches import pipeline_file
from fer_kit.competition import SIDE_PX
from fer_kit.config import recipes
from fer_kit.config.networks import Cost, known_cost
from fer_kit.config.train_config import TrainConfig, override, refuse_unused, used
from fer_kit.errors import FerKitError
from fer_kit.folds import fold_spec
from fer_kit.pretrained import source
from fer_kit.runs import folders, soft_targets
from fer_kit.track import follow

SMOKE_EPOCHS, SMOKE_ROWS, SMOKE_BATCH = 1, 512, 64
MOST_WORKERS = 256


def build_parser() -> argparse.ArgumentParser:
    """The command line of `python -m fer_kit.train`."""
    parser = cli.parser(
        "python -m fer_kit.train",
        "Train one fold of a recipe; predict the fold's own rows and the test rows; keep everything in a run folder.",
    )
    parser.add_argument(
        "--fold",
        type=fold_spec.parse,
        required=True,
        metavar="K",
        help="the fold to leave out and predict, from 0; all: train on every row but those watched for an early stop, "
        "and predict the test rows alone; 1+3: leave out two, for a teacher (see ensembles.targets)",
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


def resolve(args: argparse.Namespace) -> tuple[TrainConfig, str]:
    """The config and the run's name that the arguments ask for.

    Raises:
        FerKitError: unknown recipe or setting, a changed config without a name of its own, a bad limit.
    """
    settings = [soft_targets.named(setting)[0] for setting in args.set]
    recipe = recipes.get(args.recipe)
    pipeline = pipeline_of(args)
    tags = [args.tag, None if args.seed is None else f"seed{args.seed}", "smoke" if args.smoke else None]
    tag = "-".join(tag for tag in tags if tag is not None) or None
    if args.smoke:
        if args.resume:
            raise FerKitError("--smoke with --resume: a trial begins anew each time; leave one of them out")
    elif args.tag is None:
        for option, value in (("set", " ".join(args.set)), ("augment", args.augment), ("accumulate", args.accumulate)):
            if value:
                raise FerKitError(f"--{option} {value} changes the recipe; name the changed run with --tag NAME")
    run = folders.run_name(args.recipe, tag)
    weights = weights_of(args, run)
    if weights is not None and weights.name != recipe.weights and args.tag is None and not args.smoke:
        raise FerKitError(f"--weights {args.weights} changes the recipe; name the changed run with --tag NAME")
    base = recipe if pipeline is None else pipeline_file.in_place(recipe, pipeline)
    config = override(base, settings, weights=None if weights is None else weights.name)
    if config.model.startswith(source.TIMM) and not (recipe.weights or config.weights or weights):
        ways = f"--weights {source.HUB}, FILE or {source.NONE}"
        raise FerKitError(f"--set model={config.model} would start from random weights; say so by {ways}")
    refuse_unused(base, config, (setting.partition("=")[0].strip() for setting in settings))
    config = reseeded(in_parts(config, args.accumulate), args)
    if args.smoke:
        config = for_trial(config)
    if args.limit_minutes is not None and not args.limit_minutes > 0:
        raise FerKitError(f"--limit-minutes {args.limit_minutes:g}: give a number above 0")
    return config, run


def for_trial(config: TrainConfig) -> TrainConfig:
    """`config` cut down to a trial."""
    return dataclasses.replace(
        config,
        epochs=SMOKE_EPOCHS,
        limit_rows=SMOKE_ROWS,
        batch_size=min(config.batch_size, SMOKE_BATCH),
        warmup_epochs=min(config.warmup_epochs, SMOKE_EPOCHS / 2),
        average_epochs=min(config.average_epochs, SMOKE_EPOCHS),
        freeze_epochs=0,  # else the trial would train the classifier alone
    )


def reseeded(config: TrainConfig, args: argparse.Namespace) -> TrainConfig:
    """`config` with the seed of `--seed`, where it is given.

    Raises:
        FerKitError: `--set seed=…` gives one, too.
    """
    if args.seed is None:
        return config
    if any(setting.partition("=")[0].strip() == "seed" for setting in args.set):
        raise FerKitError(f"--seed {args.seed} and --set seed=… are two seeds; keep one")
    return dataclasses.replace(config, seed=args.seed)


def in_parts(config: TrainConfig, parts: int | None) -> TrainConfig:
    """`config` with as many images a step as before, in `parts` batches; as it is for None.

    Raises:
        FerKitError: the images of a step cannot be cut in so many even parts of two and more.
    """
    if parts is None:
        return config
    images = config.batch_size * config.accumulate
    if not 1 <= parts <= images // 2 or images % parts:
        some = [str(count) for count in range(1, images // 2 + 1) if images % count == 0][:6]
        raise FerKitError(
            f"--accumulate {parts}: the {images} images of a step cannot be cut in {parts} even parts; give one of "
            f"{', '.join(some)}, or --set batch_size=… accumulate=…"
        )
    return dataclasses.replace(config, batch_size=images // parts, accumulate=parts)


def pipeline_of(args: argparse.Namespace) -> pipeline_file.AugmentFile | None:
    """What `--augment` names; None where it is not given."""
    if args.workers is not None and (args.augment is None or not 0 <= args.workers <= MOST_WORKERS):
        why = "only a pipeline of --augment runs in workers" if args.augment is None else f"give 0 to {MOST_WORKERS}"
        raise FerKitError(f"--workers {args.workers}: {why}")
    return None if args.augment is None else pipeline_file.open_file(args.augment)


def weights_of(args: argparse.Namespace, run: str) -> source.Source | None:
    """What `--weights` names; None where it is not given, so that the recipe's own hold."""
    if args.weights is None:
        return None
    if args.resume:
        return source.resumed(args.weights, args.fold, folders.fold_folder(args.runs, run, args.fold))
    return source.find(args.weights, args.fold)


def cost_of(config: TrainConfig) -> Cost:
    """Parameters and FLOPs of the config's network."""
    if known := known_cost(config.model, config.width_mult):
        return known
    from fer_kit.models import cost  # torch: a network of timm, or of a width of one's own, is built to be counted

    return cost.measure(config)


def refuse(config: TrainConfig, pipeline: pipeline_file.AugmentFile | None) -> None:
    """Raise FerKitError where training would refuse what the network, or the pipeline, cannot do."""
    fine_tuned = config.progressive_px or config.freeze_epochs or config.layer_decay != 1 or config.head_lr_mult != 1
    if fine_tuned:
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


def plan(args: argparse.Namespace, config: TrainConfig, run: str) -> None:
    """Print what a run would do, from the files at hand; torch is loaded only where a network has to be built."""
    from fer_kit.data import loading
    from fer_kit.folds import deal, splits

    place = loading.find(args.data)
    table = deal.read(args.runs / "folds.csv")
    parts = splits.split(table, args.fold, config)
    cost = cost_of(config)
    for name, value, before in used(config, recipes.get(args.recipe)):
        print(f"  {name:<24} {value}" + ("" if value == before else f"   (recipe: {before})"))
    print(f"network  {config.model}: {cost}")
    print(f"data     {place}")
    print(f"folds    {args.runs / 'folds.csv'} ({table.count} folds, digest {table.digest[:12]})")
    less = " less those of one grey value" if config.drop_constant else ""
    print(
        f"rows     {len(parts.train):,}{less} to train on, {len(parts.watch):,} watched, {len(parts.out):,} out of fold"
    )
    print(f"config   {config.digest[:12]}")
    print(f"folder   {folders.fold_folder(args.runs, run, args.fold)}")
    print("dry run: nothing was trained or written")


def body(args: argparse.Namespace) -> None:
    """Train, or with --dry-run tell what would be done."""
    config, run = resolve(args)
    pipeline = pipeline_of(args)
    if pipeline is not None:
        print(pipeline_file.told(recipes.get(args.recipe), pipeline))
    if args.dry_run:
        refuse(config, pipeline)
        return plan(args, config, run)
    from fer_kit.train import (
        fold,  # these bring torch
        job,
    )

    weights = weights_of(args, run)
    options = job.Options(
        fold=args.fold,
        run=run,
        runs=args.runs,
        data=args.data,
        device=args.device,
        resume=args.resume,
        restart=args.restart,
        trial=args.smoke,
        limit_minutes=args.limit_minutes,
        targets=next((path for _, path in map(soft_targets.named, args.set) if path is not None), None),
        weights=None if weights is None else weights.path,
        augment=args.augment,
        workers=args.workers,
        deterministic=args.deterministic,
        compile=args.compile,
        wandb=args.wandb,
        command=f"python -m fer_kit.train {shlex.join(args.typed)}",
    )
    return fold.train_fold(config, options)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0, 2 for a user error, 130 when interrupted."""
    typed = list(sys.argv[1:] if argv is None else argv)

    def with_words(args: argparse.Namespace) -> None:
        args.typed = typed
        body(args)

    return cli.run(build_parser, with_words, typed)


if __name__ == "__main__":
    raise SystemExit(main())
