"""Measure the gain of twin lookup for one run, on train rows.

    python -m ensembles.twin_gain attention
    python -m ensembles.twin_gain attention --runs plain --groups runs

The usual folds keep twins together, so no network was trained on twins of the rows it predicts. The networks of a run
on plain folds (`python -m fer_kit.folds --method none --runs plain`) were trained on such twins, as are the networks
that predict the leaderboard's test rows. Plain folds have no twin groups, so --groups names the folder with the folds
that have them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ensembles.rows import FOLDS
from ensembles.twins import lookup
from ensembles.twins.pairs import EXACT, NEAR, Pairs, TwinTable, cache_of, read_table
from fer_kit import cli, metrics
from fer_kit.errors import FerKitError
from fer_kit.runs import folders
from fer_kit.runs.folders import Run


def build_parser() -> argparse.ArgumentParser:
    """The options of `python -m ensembles.twin_gain`."""
    parser = cli.parser(
        "python -m ensembles.twin_gain",
        "Measure on train rows how much a run's accuracy gains if predictions are updated by the labels of twins.",
    )
    parser.add_argument("run", metavar="RUN", help="a run by name; its unfinished folds are left out")
    parser.add_argument("--runs", metavar="DIR", default="runs", help="folder of runs")
    parser.add_argument(
        "--groups", metavar="DIR", help="folder with a folds.csv that has the twin groups; by default that of --runs"
    )
    parser.add_argument(
        "--data", metavar="DIR", help="folder with the competition's files, to compare twins; searched for if not given"
    )
    return parser


def body(args: argparse.Namespace) -> None:
    """Load the run, look up twins and print the gain."""
    runs_dir = Path(args.runs)
    run = folders.load(runs_dir, args.run, allow_partial=True)
    digest = run.oof.meta["data_digest"]
    groups_csv = Path(args.groups or args.runs) / FOLDS
    table = read_table(groups_csv, args.data, cache_of(runs_dir), digest)
    if len(run.folds) < run.count:
        print(f"folds {', '.join(map(str, run.folds))} of {run.count} are finished: measured only on their rows")
    pairs = on_rows(table.train, run.oof.ids)
    fold_of = np.full(len(table.labels), -1)  # of each train row; twins in unfinished folds were in the train set
    fold_of[run.oof.ids] = run.fold_of_row
    seen = run.fold_of_row[pairs.rows] != fold_of[pairs.twins]
    print(f"{run.folder}: {len(run.oof):,} rows, {int(pairs.have.sum()):,} have twins among the train rows")
    if not len(pairs.rows):
        raise FerKitError(
            f"{groups_csv}: has no twins among these rows; name a folder whose folds.csv has twins with --groups"
        )
    kinds = (
        (pairs.only(~seen), "networks not trained on the twins"),
        (pairs.only(seen), "networks trained on the twins"),
    )
    for chosen, whose in kinds:
        for mode in (EXACT, NEAR):
            if len(chosen.of_mode(mode).rows):
                print(f"{mode}, {whose}: {measure(run, chosen.of_mode(mode), table)}")
    if not seen.any():
        print(
            "these folds keep twins together; to measure networks trained on the twins, deal folds with python -m "
            "fer_kit.folds --method none --runs plain, train a run on them, and name this folder with --groups"
        )


def measure(run: Run, pairs: Pairs, table: TwinTable) -> str:
    """The cross-fitted gain on the rows of `run` in one line, or the reason why it cannot be measured."""
    assert run.oof.labels is not None  # `folders.load` refuses files without labels
    groups = table.groups[run.oof.ids]
    before = metrics.log_softmax(run.oof.logits)
    try:
        after, strength = lookup.held_out(before, run.oof.labels, pairs, groups)
    except FerKitError as error:
        return f"not measured ({error})"
    gain = lookup.gain(before, after, strength, run.oof.labels, pairs, groups)
    return f"{lookup.gain_line(gain)}; strength {strength:.2f}"


def on_rows(pairs: Pairs, ids: NDArray[np.int64]) -> Pairs:
    """The pairs whose row is in `ids`, ascending, with the row as a position in `ids`; twins are any train rows."""
    kept = pairs.only(np.isin(pairs.rows, ids))
    return Pairs(np.searchsorted(ids, kept.rows), kept.twins, kept.labels, kept.exact, len(ids))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
