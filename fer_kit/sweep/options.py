"""Groups of options that commands of a sweep share."""

from __future__ import annotations

import argparse
from pathlib import Path

from fer_kit import cli
from fer_kit.sweep.search import definition


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add `--settings NAME K=V …`, which may be given several times; see `plan.named_settings`."""
    parser.add_argument(
        "--settings",
        action=cli.Append,
        nargs="+",
        default=[],
        metavar="NAME K=V",
        help="a run with these settings, as <recipe>-<NAME>; give the option once for each",
    )


def add_search(parser: argparse.ArgumentParser) -> None:
    """Add the options of a search for settings."""
    group = parser.add_argument_group("search for settings (docs/sweep.md)")
    add = group.add_argument
    add("--search", type=Path, metavar="FILE", help="a .yaml or .toml file of settings with ranges or choices")
    add("--trials", type=int, metavar="N", help="number of trials")
    add(
        "--score",
        choices=definition.SCORES,
        help="the accuracy that trials are compared by: on the rows that the recipe watches, or on one held-out fold "
        "(--folds K, 0 if not given); watched if the recipe watches rows, otherwise held-out",
    )
    add(
        "--rungs",
        metavar="E,E",
        help="epochs after which the best third of the trials goes on, or none; a ninth and a third of all epochs if "
        "not given",
    )


def add_worker(parser: argparse.ArgumentParser) -> None:
    """Add the options of a worker, which `work` takes."""
    add = parser.add_argument
    add("--data", help="folder with the competition's files; found by itself where not given")
    add("--device", default="auto", help="auto (all GPUs, or the CPU), cpu, cuda (all GPUs) or cuda:1")
    add(
        "--at-once",
        type=cli.number_or_auto,
        default="auto",
        metavar="N",
        help="trainings side by side; auto: one a core with one thread each on the CPU, one a GPU otherwise",
    )
    add(
        "--ray",
        metavar="ADDRESS",
        help="train on a Ray cluster, whose machines need no common folder: auto for the cluster of this machine, "
        "or HOST:PORT of its head",
    )
    add("--limit-minutes", type=float, help="end before this time is over; everything can be resumed")
