"""What twin lookup gains for one run, on train rows with known labels.

    python -m ensembles.twin_gain attention
    python -m ensembles.twin_gain attention --runs plain --groups runs

On the usual folds, which keep twins together, a row's networks saw none of its twins: that is one end. The other end
is a run on plain folds (`python -m fer_kit.folds --method none --runs plain`), whose networks trained on twins of the
rows they predict, as those of the leaderboard do; --groups then says where the folds lie that know the twins.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ensembles.rows import FOLDS
from ensembles.twins import lookup
from ensembles.twins import pairs as twin_pairs
from ensembles.twins.pairs import EXACT, NEAR, Pairs, TwinTable
from fer_kit import cli, metrics
from fer_kit.errors import FerKitError
from fer_kit.runs import folders
from fer_kit.runs.folders import Run


def build_parser() -> argparse.ArgumentParser:
    """The options of `python -m ensembles.twin_gain`."""
    parser = cli.parser(
        "python -m ensembles.twin_gain", "Measure on train rows what looking up the labels of twins gains for a run."
    )
    parser.add_argument("run", metavar="RUN", help="a run; unfinished folds are left out")
    parser.add_argument("--runs", metavar="DIR", default="runs", help="folder of runs")
    parser.add_argument("--groups", metavar="DIR", help="folder with the folds that know the twins; default: --runs")
    parser.add_argument("--data", metavar="DIR", help="folder with the competition's files, for the kinds of twins")
    return parser


def body(args: argparse.Namespace) -> None:
    """Load, look up, report."""
    runs_dir = Path(args.runs)
    run = folders.load(runs_dir, args.run, allow_partial=True)
    digest = run.oof.meta["data_digest"]
    groups_csv = Path(args.groups or args.runs) / FOLDS
    table = twin_pairs.read(groups_csv, args.data, twin_pairs.cache_of(runs_dir), digest)
    if len(run.folds) < run.count:
        print(f"folds {', '.join(map(str, run.folds))} of {run.count} are finished: measured on their rows alone")
    pairs = on_rows(table.train, run.oof.ids)
    fold_of = np.full(len(table.labels), -1)  # of train rows; a twin in an unfinished fold was trained on
    fold_of[run.oof.ids] = run.fold_of_row
    seen = run.fold_of_row[pairs.rows] != fold_of[pairs.twins]
    print(f"{run.folder}: {len(run.oof):,} rows, {int(pairs.have.sum()):,} have twins among the train rows")
    if not len(pairs.rows):
        raise FerKitError(
            f"{groups_csv}: knows no twins among these rows; give the folder of the folds that do with --groups"
        )
    for chosen, whose in ((pairs.only(~seen), "networks that did not see the twins"), (pairs.only(seen), "that did")):
        for mode in (EXACT, NEAR):
            if len(chosen.of_mode(mode).rows):
                print(f"{mode}, {whose}: {measure(run, chosen.of_mode(mode), table)}")
    if not seen.any():
        print("these folds keep twins together; for networks that saw them, train a run on plain folds: see --help")


def measure(run: Run, pairs: Pairs, table: TwinTable) -> str:
    """The gain on the rows of `run`, cross-fitted, in one line; or why it cannot be measured."""
    assert run.oof.labels is not None  # runs.load refuses such files
    groups = table.groups[run.oof.ids]
    before = metrics.log_softmax(run.oof.logits)
    try:
        after, strength = lookup.held_out(before, run.oof.labels, pairs, groups)
    except FerKitError as error:
        return f"not measured ({error})"
    gain = lookup.gain(before, after, strength, run.oof.labels, pairs, groups)
    return f"{lookup.gain_line(gain)}; strength {strength:.2f}"


def on_rows(pairs: Pairs, ids: NDArray[np.int64]) -> Pairs:
    """The pairs of the train rows `ids`, ascending: their rows by the position in it, their twins any train rows."""
    kept = pairs.only(np.isin(pairs.rows, ids))
    return Pairs(np.searchsorted(ids, kept.rows), kept.twins, kept.labels, kept.exact, len(ids))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
