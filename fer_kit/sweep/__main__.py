"""Train many recipes, seeds, settings and folds: on all cores or GPUs here, or together with workers elsewhere.

python -m fer_kit.sweep --recipes vgg_small residual --seeds 0 1 --folds every
python -m fer_kit.sweep status
python -m fer_kit.sweep join runs
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fer_kit import cli
from fer_kit.config import recipes, suggest
from fer_kit.data import loading
from fer_kit.errors import FerKitError
from fer_kit.folds import fold_spec, table
from fer_kit.sweep import options, plan, progress, work
from fer_kit.sweep.live import summary
from fer_kit.sweep.live import table as live_table
from fer_kit.sweep.plan import SweepRequest
from fer_kit.sweep.runner import forget_failures
from fer_kit.sweep.search import definition, halving, results, space, store
from fer_kit.sweep.search.worker import Trials, forget_failed
from fer_kit.sweep.training import Training
from fer_kit.track import follow
from fer_kit.train.request import TrainRequest


class Parser(cli.Parser):
    """The parser of a sweep, which hands `status …` and `join …` to parsers of their own."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's."""
        words = list(sys.argv[1:] if args is None else args)
        others = {"status": status_parser, "join": join_parser}
        if words[:1] and words[0] in others:
            return others[words[0]]().parse_args(words[1:], namespace), []
        return super().parse_known_args(words, namespace)


def build_parser() -> argparse.ArgumentParser:
    """The command line of `python -m fer_kit.sweep`."""
    parser = Parser(
        prog="python -m fer_kit.sweep",
        allow_abbrev=False,
        formatter_class=cli.HelpFormatter,
        description="Train recipes x seeds x settings x folds, several at once. The same command again goes on where "
        "it stopped. Also: `status` shows how far a sweep is, `join FOLDER` helps a sweep that was started elsewhere.",
    )
    parser.hint = suggest.as_settings
    add = parser.add_argument
    add("--plan", type=Path, metavar="FILE", help="a .toml or .yaml file instead of the options up to --smoke")
    add("--recipes", nargs="+", default=[recipes.DEFAULT], metavar="R", help="recipes, or timm/NAME")
    add("--seeds", nargs="+", type=int, default=[], metavar="N", help="a run for each; the recipe's own if not given")
    add("--folds", help="0-4, 0,2, every, full (the fit on all rows), or every,full; every if not given")
    add("--set", action="extend", nargs="+", default=[], metavar="K=V", help="change settings of all; needs --tag")
    add("--tag", help="names the changed runs: <recipe>-<tag>")
    options.add_settings(parser)
    add("--weights", metavar="FROM", help="as train's; needs --tag")
    add("--augment", metavar="FILE", help="as train's; needs --tag")
    add("--accumulate", type=int, metavar="N", help="as train's; needs --tag")
    add("--batch-size", type=int, metavar="N", help="as train's; needs --tag")
    add("--workers", type=int, metavar="N", help="as train's")
    add("--compile", action="store_true", help="as train's")
    add("--deterministic", action="store_true", help="as train's")
    follow.add_option(parser)
    add("--smoke", action="store_true", help="trials: 512 rows, one epoch or two, as runs <recipe>-smoke")
    add("--name", help="names the sweep; from its runs, or from the file of --search, if not given")
    add("--runs", type=Path, default=Path("runs"), help="folder of runs, with folds.csv")
    options.add_worker(parser)
    add("--dry-run", action="store_true", help="show what would be trained and stop")
    options.add_search(parser)
    parser.set_defaults(body=body)
    return parser


def status_parser() -> argparse.ArgumentParser:
    """The command line of `python -m fer_kit.sweep status`."""
    parser = cli.parser("python -m fer_kit.sweep status", "Show how far the sweeps in a folder of runs are.")
    parser.set_defaults(body=cli.data_command(status, pending))
    parser.add_argument("name", nargs="?", help="one sweep; all of them if not given")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs")
    cli.add_output_options(parser, "print nothing; the exit code is 1 while a training is not finished, else 0")
    return parser


def join_parser() -> argparse.ArgumentParser:
    """The command line of `python -m fer_kit.sweep join`."""
    parser = cli.parser(
        "python -m fer_kit.sweep join",
        "Help with the sweeps in a folder of runs that was started elsewhere, on this host or on another that shares "
        "the folder: take the next fold that is neither finished nor in work, until none is left.",
    )
    parser.set_defaults(body=join)
    parser.add_argument("folder", type=Path, help="the folder of runs")
    parser.add_argument("--name", help="help with this sweep alone")
    options.add_worker(parser)
    return parser


def request_of(args: argparse.Namespace) -> SweepRequest:
    """What the options or the file of --plan ask for."""
    if args.plan is None:
        return plan.request_of({**vars(args), "folds": args.folds or fold_spec.EVERY})
    plan.refuse_beside_file(args.plan, vars(args), vars(build_parser().parse_args([])))
    return plan.read_file(args.plan)


def body(args: argparse.Namespace) -> int:
    """Train, or with --dry-run show what would be trained."""
    if args.search is not None:
        return search(args)
    for option in ("trials", "score", "rungs"):
        if (value := getattr(args, option)) is not None:
            raise FerKitError(f"--{option} {value} needs a space to search; give --search FILE")
    return sweep(plan.trainings_of(request_of(args), args.runs), args, args.name, args.plan)


def train_folds(request: TrainRequest, args: argparse.Namespace) -> int:
    """`fer-kit train --folds`: the sweep of one run."""
    return sweep(plan.of_one_run(request, args.folds), args, None, None)


def sweep(trainings: Sequence[Training], args: argparse.Namespace, name: str | None, source: Path | None) -> int:
    """Keep the plan and work it off; `args` has the options of a worker."""
    work.check(args)
    name = name or plan.default_name(trainings)
    if args.dry_run:
        places = [] if args.data is None else ["--data", args.data]
        places += [] if args.runs == Path("runs") else ["--runs", str(args.runs)]
        for training in sorted(trainings, key=lambda training: -training.work):
            state = progress.look(args.runs, training).state
            print(f"{training}: {state}; python -m fer_kit.train {shlex.join([*training.words(), *places])}")
        print(f"dry run: {len(trainings)} trainings, sweep {name}; nothing was trained or written")
        return cli.EXIT_OK
    data = loading.find(args.data)  # refused here and once, not by each child
    if not trainings[0].trial:
        plan.keep(args.runs, name, trainings, source)
    forget_failures(args.runs, trainings)
    print(f"sweep {name}: {len(trainings)} trainings; data {data}", flush=True)
    return work.train(trainings, args, data)


def pending(found: Sequence[dict[str, Any]]) -> bool:
    """True while a training of these sweeps is not finished, or a trial of these searches waits or trains."""
    ended = (progress.FINISHED, results.STOPPED)
    return any(one["state"] not in ended for sweep in found for one in sweep["trainings"])


def search(args: argparse.Namespace) -> int:
    """Search for settings, or with --dry-run show what would be searched."""
    work.check(args)
    store.need_optuna()
    for option in ("plan", "settings", "tag", "smoke"):
        if value := getattr(args, option):
            raise FerKitError(f"--{option} {value} with --search: leave out --{option}; --name names a search")
    if len(args.recipes) > 1 or len(args.seeds) > 1:
        many = ("recipes", args.recipes) if len(args.recipes) > 1 else ("seeds", args.seeds)
        raise FerKitError(f"--{many[0]} {' '.join(map(str, many[1]))} with --search: give one")
    if args.trials is None:
        raise FerKitError("--search needs --trials N")
    found = definition.define(
        args.name or args.search.stem,
        _trial_request(args),
        space.read(args.search),
        f"--search {args.search}",
        trials=args.trials,
        score=args.score,
        rungs=args.rungs,
    )
    epochs = halving.epochs_in_all(found.trials, found.rungs)
    print(
        f"search {found.name}: {found.trials} trials of {args.recipes[0]}, compared after epochs "
        f"{', '.join(map(str, found.rungs))} by the accuracy on {found.scored_on}; {epochs} epochs in all "
        f"({found.trials * found.rungs[-1]} without halving)",
        flush=True,
    )
    if args.dry_run:
        for one in found.space.values():
            print(f"  {one.name:<24} {one.in_words()}")
        print("dry run: nothing was trained or written")
        return cli.EXIT_OK
    data = loading.find(args.data)
    definition.keep(found, args.search)
    trials = Trials(found)
    forget_failed(trials)
    return work.search(trials, args, data)


def _trial_request(args: argparse.Namespace) -> TrainRequest:
    """The training of a trial, without the settings that are searched."""
    count = table.read(args.runs / "folds.csv").count
    chosen = fold_spec.parse_list(args.folds or "0", count)
    if len(chosen) != 1:
        raise FerKitError(f"--folds {args.folds} with --search: a trial trains one fold; give its number")
    (request,) = plan.requests_of(request_of(args), args.runs)
    return dataclasses.replace(plan.portable(request), fold=chosen[0])


def status(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Print how far the sweeps and searches are; the value for --json."""
    names = plan.names(args.runs) if args.name is None else [args.name]
    searches = definition.names(args.runs)
    if args.name is not None:
        searches = [name for name in searches if name == args.name]
        names = [] if searches and not plan.path_of(args.runs, args.name).exists() else names
    if not names and not searches:
        raise FerKitError(f"{args.runs}: no sweep was started here; start one with python -m fer_kit.sweep")
    return [*_searches_status(args, searches), *_sweeps_status(args, names)]


def _searches_status(args: argparse.Namespace, names: Sequence[str]) -> list[dict[str, Any]]:
    searches: list[dict[str, Any]] = []
    for name in names:
        store.need_optuna()
        found = definition.read(args.runs, name)
        rows = results.rows_of(Trials(found))
        results.write_table(found, rows)  # for the report
        at_once = sum(row.state == results.RUNNING for row in rows) or 1
        print(f"search {name}: {results.summary(found, rows, at_once)}")
        print("\n".join([*results.table(found, rows), *results.worth(found, rows), ""]))
        searches.append({"search": name, "trainings": [results.record_of(row) for row in rows]})
    return searches


def _sweeps_status(args: argparse.Namespace, names: Sequence[str]) -> list[dict[str, Any]]:
    sweeps: list[dict[str, Any]] = []
    for number, name in enumerate(names):
        found = [progress.look(args.runs, training) for training in plan.read(args.runs, name)]
        at_once = sum(one.state == progress.RUNNING for one in found) or 1
        print("\n" * bool(number) + f"sweep {name}: {summary(found, at_once)}")
        print("\n".join(live_table(found)))
        sweeps.append({"sweep": name, "trainings": [record_of(one) for one in found]})
    return sweeps


def record_of(one: progress.Progress) -> dict[str, Any]:
    """How far a training is, as JSON."""
    names = ("state", "epoch", "epochs", "accuracy", "message")
    return {"run": one.training.run, "fold": fold_spec.typed(one.training.fold)} | {
        name: getattr(one, name) for name in names
    }


def join(args: argparse.Namespace) -> int:
    """Help with the sweeps in a folder."""
    work.check(args)
    args.runs = args.folder
    searches = [name for name in definition.names(args.runs) if args.name in (None, name)]
    names = plan.names(args.runs) if args.name is None else [args.name] * (not searches)
    trainings = list(dict.fromkeys(training for name in names for training in plan.read(args.runs, name)))
    if not trainings and not searches:
        raise FerKitError(f"{args.folder}: no sweep was started here; start one with python -m fer_kit.sweep")
    data = loading.find(args.data)
    codes = [work.train(trainings, args, data)] if trainings else []
    for name in searches:
        store.need_optuna()
        codes.append(work.search(Trials(definition.read(args.runs, name)), args, data))
    return max(codes)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0, 2 for a user error or a failed training, 130 when interrupted."""
    return cli.run(build_parser, lambda args: args.body(args), argv)


if __name__ == "__main__":
    raise SystemExit(main())
