"""What each training technique is worth: one change at a time against the same base, same folds, same seeds.

    python -m tests.benchmarks.ablation --rows 6000 --epochs 8 --seeds 3 --at-once 2 --out ablation.json

Rounds go seed by seed through the whole table, so that a run cut off anywhere has whole rounds; started again with the
same --out it goes on where it was. The scored rows are those of a fold that no network saw.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import dataclasses
import multiprocessing
import os
import shutil
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fer_kit import cli, revision
from fer_kit.config import recipes
from fer_kit.config.train_config import TrainConfig, override
from fer_kit.engine.environment import device_name
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from tests.benchmarks import bench_record
from tests.benchmarks.ablation_table import BASE, chosen, table_of

MEASURED = ("fer_kit", "tests/benchmarks/ablation*.py")
PACKAGES = ("torch", "torchvision", "timm", "numpy")


def plan(
    base: TrainConfig, table: Mapping[str, tuple[str, ...]], seeds: int, done: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, TrainConfig]]:
    """Rows and configs that are still to be trained, round by round."""
    there = {run["config_digest"] for run in done}
    for seed in range(seeds):
        for name, settings in table.items():
            config = dataclasses.replace(override(base, settings), seed=seed)
            if config.digest not in there:
                yield name, config


def train(config: TrainConfig, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train in `folder`, going on where it was cut off, and score the rows out of fold."""
    import numpy as np
    import torch

    from fer_kit import metrics
    from fer_kit.engine import loop
    from fer_kit.files import lock
    from fer_kit.train import fold
    from fer_kit.train.job import prepare
    from fer_kit.train.request import ResolvedRequest, TrainRequest

    command = f"python -m tests.benchmarks.ablation --recipe {args.recipe}"
    request = TrainRequest(args.fold, args.recipe, data=args.data, runs=args.runs, device=args.device, command=command)
    resolved = ResolvedRequest(request, recipes.get(args.recipe), config, folder.name, folder)
    folder.mkdir(parents=True, exist_ok=True)
    with lock.held(folder, "another process trains this row") as held:
        job = prepare(resolved, held)
        state = fold.begin_or_resume(job)
        fold.train_epochs(job, state, time.monotonic())
        fold.refresh_bn_statistics(job, state)
    out = job.split.out
    labels = np.array(job.competition.train.labels[out])
    logits = loop.predict(state.averaged_net, job.images[torch.from_numpy(out)], config.views, job.precision)
    return {
        "accuracy": metrics.accuracy(logits, labels),
        "log_loss": metrics.log_loss(logits, labels),
        "scored_rows": len(out),
        "train_seconds": round(state.seconds, 1),
        "device": device_name(job.precision.device),
        "precision": job.precision.name,
        **job.identity,
    }


def train_quietly(config: TrainConfig, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """`train` in a process of its own, beside others whose epochs would mix with its own."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        return train(config, args, folder)


def results(
    waiting: Iterator[tuple[str, TrainConfig]], args: argparse.Namespace, work: Path
) -> Iterator[tuple[str, TrainConfig, dict[str, Any]]]:
    """Train what is waiting, `args.at_once` at a time, and tell of each as it ends; all of them in order where 1."""
    if args.at_once == 1:
        for name, config in waiting:
            yield name, config, train(config, args, folder_of(work, name, config))
        return
    os.environ["OMP_NUM_THREADS"] = bench_record.threads_each(args.at_once)
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(args.at_once, mp_context=spawn) as pool:
        running: dict[concurrent.futures.Future[dict[str, Any]], tuple[str, TrainConfig]] = {}
        while True:
            for name, config in waiting:
                running[pool.submit(train_quietly, config, args, folder_of(work, name, config))] = (name, config)
                if len(running) == args.at_once:
                    break
            if not running:
                return
            ended, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
            for one in ended:
                yield *running.pop(one), one.result()


def folder_of(work: Path, name: str, config: TrainConfig) -> Path:
    """Where a training lies until it is in the record."""
    return work / f"{name}-seed{config.seed}"


def in_time(waiting: Iterator[tuple[str, TrainConfig]], minutes: float | None) -> Iterator[tuple[str, TrainConfig]]:
    """`waiting`, but nothing more once `minutes` are over."""
    began = time.monotonic()
    for one in waiting:
        if minutes is not None and time.monotonic() - began > 60 * minutes:
            print(f"{minutes:g} minutes are over; the same command goes on")
            return
        yield one


def summary(runs: Sequence[Mapping[str, Any]], table: Mapping[str, tuple[str, ...]]) -> list[dict[str, Any]]:
    """A record for each row: mean accuracy, mean difference to the base over the seeds that both have, and its noise.

    standard_error: of the mean difference, from the spread of the row's own differences; None for one seed.
    pooled_error: the same from the mean variance of all rows' differences, which few seeds estimate better.
    """
    found = {(run["row"], run["seed"]): run for run in runs}
    rows: list[dict[str, Any]] = []
    for name, settings in table.items():
        seeds = sorted(seed for row, seed in found if row == name and (BASE, seed) in found)
        if not seeds:
            continue
        mine, base = ([found[row, seed] for seed in seeds] for row in (name, BASE))
        gains = [a["accuracy"] - b["accuracy"] for a, b in zip(mine, base, strict=True)]
        spread = statistics.stdev(gains) if name != BASE and len(seeds) > 1 else None
        rows.append(
            {
                "row": name,
                "settings": list(settings),
                "seeds": seeds,
                "accuracy": statistics.mean(run["accuracy"] for run in mine),
                "difference": statistics.mean(gains),
                "standard_error": None if spread is None else spread / len(seeds) ** 0.5,
                "pooled_error": None,
                "seconds_over_base": sum(r["train_seconds"] for r in mine) / sum(r["train_seconds"] for r in base),
            }
        )
    variances = [row["standard_error"] ** 2 * len(row["seeds"]) for row in rows if row["standard_error"] is not None]
    for row in rows:
        if variances and row["row"] != BASE:
            row["pooled_error"] = (statistics.mean(variances) / len(row["seeds"])) ** 0.5
    return rows


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The summary as a table; differences in points."""
    lines = [
        "| change | settings | accuracy | difference | ± its own | ± pooled | seeds | time |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]

    def error(value: float | None) -> str:
        return "–" if value is None else f"{100 * value:.2f}"

    for row in rows:
        difference = "–" if row["row"] == BASE else f"{100 * row['difference']:+.2f}"
        lines.append(
            f"| {row['row']} | {' '.join(row['settings']) or '–'} | {row['accuracy']:.2%} | {difference} | "
            f"{error(row['standard_error'])} | {error(row['pooled_error'])} | {len(row['seeds'])} | "
            f"{row['seconds_over_base']:.2f} |"
        )
    return "\n".join(lines)


def opened(path: Path, base: TrainConfig) -> list[dict[str, Any]]:
    """The runs that a record at `path` holds already.

    Raises:
        FerKitError: they have another base.
    """
    if not path.exists():
        return []
    record = atomic.read_json(path)
    if record.get("base") != base.to_json():
        raise FerKitError(
            f"{path}: holds runs of another base (recipe, settings, rows or epochs); give another file as --out"
        )
    return list(record["runs"])


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = cli.parser(
        "python -m tests.benchmarks.ablation", "Train a base and, one change at a time, what differs from it; compare."
    )
    parser.add_argument("--recipe", default="residual", help="the base")
    parser.add_argument(
        "--set", action="extend", nargs="+", default=[], metavar="K=V", help="change the base; e.g. a cheaper model"
    )
    parser.add_argument("--data", help="folder with the competition's files; found by itself where not given")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder with folds.csv")
    parser.add_argument("--fold", type=int, default=0, help="whose rows are scored")
    parser.add_argument("--rows", type=int, default=6000, help="to train on; 0 = all")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3, help="0 to N-1; every row with each")
    parser.add_argument("--only", nargs="+", metavar="ROW", help="these rows of the table, and the base")
    parser.add_argument("--at-once", type=int, default=1, metavar="N", help="trainings side by side")
    parser.add_argument("--minutes", type=float, help="start no training after this time; the next call goes on")
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--out", type=Path, required=True, help="the record, a JSON file; half-done work lies beside it"
    )
    return parser


def body(args: argparse.Namespace) -> None:
    """Train what is missing, write the record after each training, print the table."""
    bench_record.check_at_once(args.at_once)
    # one view: half the time of the scoring, and no change to which row of the table is better
    settings = [f"epochs={args.epochs}", f"limit_rows={args.rows}", "views=none", *args.set]
    base = override(recipes.get(args.recipe), settings)
    table = table_of(base)
    asked, told = chosen(table, args.only), chosen(table, None)
    done = opened(args.out, base)
    work = args.out.with_suffix(".work")
    waiting = in_time(plan(base, asked, args.seeds, done), args.minutes)
    for name, config, result in results(waiting, args, work):
        for key, what in (("folds_digest", "folds"), ("data_digest", "data"), ("device", "device")):
            if done and done[0][key] != result[key]:
                raise FerKitError(
                    f"{args.out}: begun with {what} {done[0][key]}, now it is {result[key]}; use that again"
                )
        done.append({"row": name, "seed": config.seed, "commit": revision.commit(MEASURED), **result})
        keep(args.out, base, done, told)
        shutil.rmtree(folder_of(work, name, config))
        print(
            f"{name}, seed {config.seed}: {result['accuracy']:.2%} on {result['scored_rows']:,} rows out of fold",
            flush=True,
        )
    shutil.rmtree(work, ignore_errors=True)
    print(markdown(summary(done, told)))
    print("differences in points, paired by seed; ± standard errors; time as a multiple of the base's")


def keep(path: Path, base: TrainConfig, runs: list[dict[str, Any]], table: Mapping[str, tuple[str, ...]]) -> None:
    """Write the record."""
    head = bench_record.head("ablation", bench_record.machine(), MEASURED, PACKAGES)
    record = head | {"device": runs[-1]["device"], "base": base.to_json(), "runs": runs, "table": summary(runs, table)}
    atomic.write_json(path, record)


if __name__ == "__main__":
    raise SystemExit(cli.run(build_parser, body))
