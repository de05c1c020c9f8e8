"""`fer-kit runs [PATTERN]`: the runs with what they changed, their folds, accuracy, time and size; delete, rename.

python -m fer_kit.listing.runs 'vgg*'
"""

from __future__ import annotations

import argparse
import datetime
import fnmatch
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fer_kit import cli, output
from fer_kit.config import recipes
from fer_kit.config.train_config import TrainConfig
from fer_kit.errors import FerKitError, did_you_mean
from fer_kit.files import atomic
from fer_kit.listing import removal, renaming
from fer_kit.runs import finished_folder, folders
from fer_kit.runs.training_record import CONFIG, read_config

UTC = "%Y-%m-%d %H:%M"


def build_parser() -> argparse.ArgumentParser:
    """The command line of `python -m fer_kit.listing.runs`."""
    parser = cli.parser(
        "python -m fer_kit.listing.runs",
        "List the runs: settings that differ from the recipe, finished folds, accuracy, time, size and last change.",
    )
    parser.add_argument("pattern", nargs="?", metavar="PATTERN", help="only names like this, with * and ?")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs")
    cli.add_output_options(parser, "print only the names, one a line")
    change = parser.add_mutually_exclusive_group()
    change.add_argument(
        "--delete", metavar="NAME", help="delete a run or a blend (blends/NAME) that no blend is made of; asks first"
    )
    change.add_argument(
        "--rename",
        nargs=2,
        metavar=("OLD", "NEW"),
        help="rename a finished run, in its records too; NEW is <recipe>-<tag>, as training names runs; asks first",
    )
    parser.add_argument("--yes", action="store_true", help="delete or rename without asking")
    return parser


def body(args: argparse.Namespace) -> int:
    """List, delete or rename; the exit code."""
    if (args.delete or args.rename) and (args.pattern or args.json or args.quiet):
        raise FerKitError("--delete and --rename take no PATTERN, --json or --quiet; leave these out")
    if args.yes and not (args.delete or args.rename):
        raise FerKitError("--yes goes with --delete or --rename; leave it out")
    if args.delete:
        return cli.EXIT_OK if removal.delete(args.runs, args.delete, args.yes) else cli.EXIT_INTERRUPTED
    if args.rename:
        old, new = args.rename
        return cli.EXIT_OK if renaming.rename(args.runs, old, new, args.yes) else cli.EXIT_INTERRUPTED
    names = chosen(args.runs, args.pattern)
    if args.quiet:
        print("".join(f"{name}\n" for name in names), end="")
        return cli.EXIT_OK
    if args.json:
        output.print_json([record_of(args.runs, name) for name in names])
        return cli.EXIT_OK
    hidden = [] if args.pattern else [name for name in names if folders.is_trial_of_search(name)]
    shown = [name for name in names if name not in hidden]
    if shown or not hidden:
        print("\n".join(listing([record_of(args.runs, name) for name in shown])))
    if hidden:
        print(f"note: trials of searches are not shown ({len(hidden)}); fer-kit runs '*-trial*' lists them")
    for path in removal.left_over(args.runs):
        print(f"note: {path} was left by a killed --delete or --rename; the next of these removes it")
    return cli.EXIT_OK


def chosen(runs_dir: Path, pattern: str | None) -> list[str]:
    """Names of the runs that fit `pattern`; all for None.

    Raises:
        FerKitError: no such folder, or no run fits.
    """
    if not runs_dir.is_dir():
        raise FerKitError(f"{runs_dir}: no such folder; train a run first, or give the folder of runs with --runs")
    names = sorted([*folders.list_runs(runs_dir), *folders.list_full_fits(runs_dir)])
    found = [name for name in names if pattern is None or fnmatch.fnmatchcase(name, pattern)]
    if pattern is not None and not found:
        there = f"there are: {', '.join(names)}" if names else "there are no runs yet"
        raise FerKitError(f"{runs_dir}: no run is like '{pattern}'{did_you_mean(pattern, names)}; {there}")
    return found


def record_of(runs_dir: Path, name: str) -> dict[str, Any]:
    """What there is to say of one run, from its small files; predictions are not read.

    A damaged file is the `fault` of the run, so that the others are still listed.
    """
    folder = runs_dir / name
    record: dict[str, Any] = {"run": name, **disk(folder)}
    try:
        return record | {"fault": None} | contents(folder)
    except FerKitError as error:
        return record | {"fault": str(error)}


def contents(folder: Path) -> dict[str, Any]:
    """Recipe, changed settings, folds, accuracy over all finished rows, and time.

    Raises:
        FerKitError: a file is damaged.
    """
    folds = sorted(path for path in folder.glob("fold*") if path.is_dir())
    begun = next((path for path in folds if (path / CONFIG).is_file()), None)
    results = {path.name: result_of(path) for path in folds if (path / finished_folder.RESULT).is_file()}
    scored = [  # nested teachers (fold1+3) predict the same rows again and are trained on fewer
        result for name, result in results.items() if name.removeprefix("fold").isdigit() and "oof_accuracy" in result
    ]
    rows = sum(result["oof_rows"] for result in scored)
    settings = None if begun is None else read_config(begun)
    return {
        "recipe": None if settings is None else settings.recipe,
        "changed": {} if settings is None else changed(settings),
        "folds_done": [path.name.removeprefix("fold") for path in folds if path.name in results],
        "folds_begun": [path.name.removeprefix("fold") for path in folds if path.name not in results],
        "folds": next((result["folds"] for result in results.values()), None),
        "oof_accuracy": sum(result["oof_accuracy"] * result["oof_rows"] for result in scored) / rows if rows else None,
        "train_seconds": sum(result["train_seconds"] for result in results.values()) if results else None,
    }


def result_of(fold: Path) -> dict[str, Any]:
    """result.json of a fold, with the values that are shown checked."""
    path = fold / finished_folder.RESULT
    record = atomic.read_json(path)
    if not isinstance(record, dict):
        raise FerKitError(f"{path}: not a JSON object; train this fold again")
    record = {name: value for name, value in record.items() if value is not None}
    finished_folder.field(path, record, "folds", int)
    seconds = record.get("train_seconds")
    if type(seconds) not in (int, float):
        raise FerKitError(f"{path}: 'train_seconds' is {seconds!r}, allowed is a number; train this fold again")
    if "oof_accuracy" in record:
        finished_folder.field(path, record, "oof_accuracy", float)
        finished_folder.field(path, record, "oof_rows", int)
    return record


def changed(config: TrainConfig) -> dict[str, Any]:
    """The settings in which `config` differs from its recipe; empty if the recipe is no longer there."""
    try:
        return {name: value for name, value, _ in recipes.changed(config)}
    except FerKitError:
        return {}


def disk(folder: Path) -> dict[str, Any]:
    """Bytes of all files and the last change of any, in UTC."""
    size, last = 0, folder.stat().st_mtime
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                found = os.lstat(os.path.join(place, name))
            except FileNotFoundError:  # a training goes on
                continue
            size, last = size + found.st_size, max(last, found.st_mtime)
    return {"bytes": size, "last_change": datetime.datetime.fromtimestamp(last, datetime.UTC).strftime(UTC)}


def listing(rows: list[dict[str, Any]]) -> list[str]:
    """The records as a table, with the changed settings below each run."""
    if not rows:
        return ["no runs yet; fer-kit train --recipe NAME --fold 0 begins one"]
    table = [["run", "folds", "out of fold", "minutes", "MB", "last change (UTC)"]]
    notes: list[list[str]] = []
    for row in rows:
        table.append([row["run"], *cells(row), f"{row['bytes'] / 1e6:.1f}", row["last_change"]])
        notes.append(notes_on(row))
    head, rule, *lines = cli.aligned(table)
    return [head, rule, *(line for pair in zip(lines, notes, strict=True) for line in (pair[0], *pair[1]))]


def cells(row: dict[str, Any]) -> list[str]:
    """Folds, accuracy and minutes."""
    if row["fault"]:
        return ["?", "?", "?"]
    done = [name for name in row["folds_done"] if name.isdigit()]
    others = ["full fit" if name == "all" else name for name in row["folds_done"] if not name.isdigit()]
    folds = [f"{len(done)} of {row['folds']}"] if done or row["folds_begun"] or not others else []
    accuracy, seconds = row["oof_accuracy"], row["train_seconds"]
    return [
        " + ".join([*folds, *others]) if row["folds"] else "0",
        "-" if accuracy is None else f"{accuracy:.2%}",
        "-" if seconds is None else f"{seconds / 60:.0f}",
    ]


def notes_on(row: dict[str, Any]) -> list[str]:
    """Lines below a run: its fault, changed settings, unfinished folds."""
    if row["fault"]:
        return [f"    damaged: {row['fault']}"]
    notes = []
    if row["changed"]:
        settings = " ".join(f"{name}={value}" for name, value in row["changed"].items())
        notes.append(f"    {row['recipe']} with {settings}")
    if row["folds_begun"] and not folders.is_trial(row["run"]):
        notes.append(f"    not finished: fold {', '.join(row['folds_begun'])}")
    return notes


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0, 2 for a user error, 130 when interrupted."""
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
