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

from fer_kit import cli, fold_names, model_cost, recipes, runs, soft_targets, wandb_log
from fer_kit.config import TrainConfig, override
from fer_kit.errors import FerKitError

SMOKE_EPOCHS, SMOKE_ROWS, SMOKE_BATCH = 1, 512, 64


def build_parser() -> argparse.ArgumentParser:
    """The command line of `python -m fer_kit.train`."""
    parser = cli.parser(
        "python -m fer_kit.train",
        "Train one fold of a recipe; predict the fold's own rows and the test rows; keep everything in a run folder.",
    )
    parser.add_argument(
        "--fold",
        type=fold_names.parse,
        required=True,
        metavar="K",
        help="the fold to leave out and predict, from 0; all: train on every row and predict the test rows alone; "
        "1+3: leave out two, for a teacher (see ensembles.targets)",
    )
    parser.add_argument("--recipe", default=recipes.DEFAULT, help=f"one of {', '.join(recipes.RECIPES)}")
    parser.add_argument("--data", help="folder with the competition's files; found by itself where not given")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs, with folds.csv")
    parser.add_argument(
        "--set", action="extend", nargs="+", default=[], metavar="K=V", help="change settings; needs --tag"
    )
    parser.add_argument("--tag", help="names the changed run: <recipe>-<tag>")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:1")
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on after the last finished epoch")
    again.add_argument("--restart", action="store_true", help="throw an unfinished run away and begin anew")
    parser.add_argument(
        "--limit-minutes", type=float, help="stop at an epoch's end before this time is over, resumable"
    )
    parser.add_argument("--deterministic", action="store_true", help="on a GPU: the same bits every time, more slowly")
    wandb_log.add_option(parser)
    parser.add_argument("--dry-run", action="store_true", help="show what would be done and stop")
    parser.add_argument("--smoke", action="store_true", help="a trial: one epoch on 512 rows, as run <recipe>-smoke")
    return parser


def resolve(args: argparse.Namespace) -> tuple[TrainConfig, str]:
    """The config and the run's name that the arguments ask for.

    Raises:
        FerKitError: unknown recipe or setting, a changed config without a name of its own, a bad limit.
    """
    settings = [soft_targets.named(setting)[0] for setting in args.set]
    config = override(recipes.get(args.recipe), settings)
    tag = args.tag
    if args.smoke:
        batch = min(config.batch_size, SMOKE_BATCH)
        config = dataclasses.replace(config, epochs=SMOKE_EPOCHS, limit_rows=SMOKE_ROWS, batch_size=batch)
        tag = "smoke" if tag is None else f"{tag}-smoke"
    elif args.set and tag is None:
        raise FerKitError(f"--set {' '.join(args.set)} changes the recipe; name the changed run with --tag NAME")
    if args.limit_minutes is not None and not args.limit_minutes > 0:
        raise FerKitError(f"--limit-minutes {args.limit_minutes:g}: give a number above 0")
    return config, runs.run_name(args.recipe, tag)


def cost_of(config: TrainConfig) -> model_cost.Cost:
    """Parameters and FLOPs of the config's network."""
    if config.model in model_cost.COSTS:
        return model_cost.COSTS[config.model]
    from fer_kit.models import cost  # torch: a network of timm is built to be counted

    return cost.measure(config)


def plan(args: argparse.Namespace, config: TrainConfig, run: str) -> None:
    """Print what a run would do, from the files at hand; torch stays unloaded but for networks of timm."""
    from fer_kit import data, folds, splits

    place = data.find(args.data)
    table = folds.read(args.runs / "folds.csv")
    parts = splits.split(table, args.fold, config)
    changed = dataclasses.asdict(recipes.get(args.recipe))
    for name, value in config.to_json().items():
        print(f"  {name:<24} {value}" + ("" if value == changed[name] else f"   (recipe: {changed[name]})"))
    print(f"network  {config.model}: {cost_of(config)}")
    print(f"data     {place}")
    print(f"folds    {args.runs / 'folds.csv'} ({table.count} folds, digest {table.digest[:12]})")
    print(f"rows     {len(parts.train):,} to train on, {len(parts.watch):,} watched, {len(parts.out):,} out of fold")
    print(f"config   {config.digest[:12]}")
    print(f"folder   {runs.fold_folder(args.runs, run, args.fold)}")
    print("dry run: nothing was trained or written")


def body(args: argparse.Namespace) -> None:
    """Train, or with --dry-run tell what would be done."""
    config, run = resolve(args)
    if args.dry_run:
        return plan(args, config, run)
    from fer_kit import fold_job, fold_run  # these bring torch

    options = fold_job.Options(
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
        deterministic=args.deterministic,
        wandb=args.wandb,
        command=f"python -m fer_kit.train {shlex.join(args.typed)}",
    )
    return fold_run.train_fold(config, options)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0, 2 for a user error, 130 when interrupted."""
    typed = list(sys.argv[1:] if argv is None else argv)

    def with_words(args: argparse.Namespace) -> None:
        args.typed = typed
        body(args)

    return cli.run(build_parser, with_words, typed)


if __name__ == "__main__":
    raise SystemExit(main())
