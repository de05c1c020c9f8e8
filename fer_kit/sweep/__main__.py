"""Train many recipes, seeds, settings and folds: on all cores or GPUs here, or together with workers elsewhere.

python -m fer_kit.sweep --recipes vgg_small residual --seeds 0 1 --folds every
python -m fer_kit.sweep status
python -m fer_kit.sweep join runs
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fer_kit import cli
from fer_kit.config import recipes, suggest
from fer_kit.data import loading
from fer_kit.errors import FerKitError
from fer_kit.folds import fold_spec
from fer_kit.sweep import plan, progress, slots
from fer_kit.sweep.live import Live, duration, summary, table
from fer_kit.sweep.plan import SweepRequest
from fer_kit.sweep.runner import Limits, Outcome, Reporter, Runner, forget_failures
from fer_kit.sweep.training import Training
from fer_kit.track import follow
from fer_kit.train.request import TrainRequest

RESERVE_SHARE, MOST_RESERVE_SECONDS = 0.1, 300.0  # of --limit-minutes, for predictions after the last epoch


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
    add("--folds", default=fold_spec.EVERY, help="0-4, 0,2, every, full (the fit on all rows), or every,full")
    add("--set", action="extend", nargs="+", default=[], metavar="K=V", help="change settings of all; needs --tag")
    add("--tag", help="names the changed runs: <recipe>-<tag>")
    parser.add_argument(
        "--settings",
        action=_Append,
        nargs="+",
        default=[],
        metavar="NAME K=V",
        help="a run with these settings, as <recipe>-<NAME>; give the option once for each",
    )
    add("--weights", metavar="FROM", help="as train's; needs --tag")
    add("--augment", metavar="FILE", help="as train's; needs --tag")
    add("--accumulate", type=int, metavar="N", help="as train's; needs --tag")
    add("--batch-size", type=int, metavar="N", help="as train's; needs --tag")
    add("--workers", type=int, metavar="N", help="as train's")
    add("--compile", action="store_true", help="as train's")
    add("--deterministic", action="store_true", help="as train's")
    follow.add_option(parser)
    add("--smoke", action="store_true", help="trials: one epoch on 512 rows each, as runs <recipe>-smoke")
    add("--name", help="names the sweep; from its runs if not given")
    add("--runs", type=Path, default=Path("runs"), help="folder of runs, with folds.csv")
    _add_worker(parser)
    add("--dry-run", action="store_true", help="show what would be trained and stop")
    parser.set_defaults(body=body)
    return parser


class _Append(argparse.Action):
    """`append` for options that take a list: cli.Store refuses a list that is given twice."""

    def __call__(self, parser: object, namespace: object, values: object, option_string: str | None = None) -> None:
        setattr(namespace, self.dest, [*getattr(namespace, self.dest), values])


def _add_worker(parser: argparse.ArgumentParser) -> None:
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
    add("--limit-minutes", type=float, help="end before this time is over; everything can be resumed")


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
    _add_worker(parser)
    return parser


def request_of(args: argparse.Namespace) -> SweepRequest:
    """What the options or the file of --plan ask for."""
    if args.plan is not None:
        defaults = build_parser().parse_args([])
        for name in plan.KEYS:
            if getattr(args, name) != getattr(defaults, name):
                raise FerKitError(f"--plan {args.plan} with --{name}: write {name} into the file, or leave one out")
        return plan.read_file(args.plan)
    settings: dict[str, tuple[str, ...]] = {}
    for name, *words in args.settings:
        if "=" in name or not words or name in settings:
            raise FerKitError(
                f"--settings {' '.join([name, *words])}: give a new name and settings, e.g. wide width_mult=2"
            )
        settings[name] = tuple(words)
    return SweepRequest(
        recipes=tuple(args.recipes),
        seeds=tuple(args.seeds),
        folds=args.folds,
        set=tuple(args.set),
        tag=args.tag,
        settings=settings,
        weights=args.weights,
        augment=args.augment,
        accumulate=args.accumulate,
        batch_size=args.batch_size,
        workers=args.workers,
        compile=args.compile,
        deterministic=args.deterministic,
        wandb=args.wandb,
        smoke=args.smoke,
    )


def body(args: argparse.Namespace) -> int:
    """Train, or with --dry-run show what would be trained."""
    return sweep(plan.trainings_of(request_of(args), args.runs), args, args.name, args.plan)


def train_folds(request: TrainRequest, args: argparse.Namespace) -> int:
    """`fer-kit train --folds`: the sweep of one run."""
    return sweep(plan.of_one_run(request, args.folds), args, None, None)


def sweep(trainings: Sequence[Training], args: argparse.Namespace, name: str | None, source: Path | None) -> int:
    """Keep the plan and work it off; `args` has the options of a worker."""
    check_worker(args)
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
    return work(trainings, args, data)


def check_worker(args: argparse.Namespace) -> None:
    """Refuse options of a worker that are out of range."""
    slots.check(args.at_once)
    slots.check_device(args.device)
    if args.limit_minutes is not None and not args.limit_minutes > 0:
        raise FerKitError(f"--limit-minutes {args.limit_minutes:g}: give a number above 0")


def work(trainings: Sequence[Training], args: argparse.Namespace, data: Path) -> int:
    """Be a worker for `trainings`; the exit code."""
    limits = Limits()
    if args.limit_minutes is not None:
        seconds = 60 * args.limit_minutes
        limits = Limits(time.monotonic() + seconds, min(RESERVE_SHARE * seconds, MOST_RESERVE_SECONDS))
    chosen = slots.choose(args.device, args.at_once, len(trainings))
    options = ["--data", str(data), "--runs", str(args.runs)]
    reporter = Reporter()
    runner = Runner(trainings, args.runs, chosen, options=options, limits=limits, reporter=reporter)
    live = Live(runner, trainings)
    reporter.say = live.say
    began = time.monotonic()
    try:
        outcome = runner.run(live)
    except KeyboardInterrupt:
        print(f"{summary(live.look(), len(chosen))}\nall of it can be resumed: give the same command again", flush=True)
        raise
    return tell(outcome, live, time.monotonic() - began)


def tell(outcome: Outcome, live: Live, seconds: float) -> int:
    """Print how the trainings ended; the exit code: 0, or 2 where a training failed."""
    live.say("\n".join(table(live.look())))
    if outcome.stopped:
        print(f"{len(outcome.stopped)} stopped at the time limit; the same command again goes on with them")
    for training, line in outcome.failed.items():
        print(f"error: {training} failed: {line}", file=sys.stderr)
    print(f"{len(outcome.finished)} finished, {len(outcome.failed)} failed, after {duration(seconds)}")
    return cli.EXIT_USER_ERROR if outcome.failed else cli.EXIT_OK


def pending(found: Sequence[dict[str, Any]]) -> bool:
    """True while a training of these sweeps is not finished."""
    return any(one["state"] != progress.FINISHED for sweep in found for one in sweep["trainings"])


def status(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Print how far the sweeps are; the value for --json."""
    names = plan.names(args.runs) if args.name is None else [args.name]
    if not names:
        raise FerKitError(f"{args.runs}: no sweep was started here; start one with python -m fer_kit.sweep")
    sweeps: list[dict[str, Any]] = []
    for number, name in enumerate(names):
        found = [progress.look(args.runs, training) for training in plan.read(args.runs, name)]
        at_once = sum(one.state == progress.RUNNING for one in found) or 1
        print("\n" * bool(number) + f"sweep {name}: {summary(found, at_once)}")
        print("\n".join(table(found)))
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
    check_worker(args)
    args.runs = args.folder
    names = plan.names(args.runs) if args.name is None else [args.name]
    trainings = list(dict.fromkeys(training for name in names for training in plan.read(args.runs, name)))
    if not trainings:
        raise FerKitError(f"{args.folder}: no sweep was started here; start one with python -m fer_kit.sweep")
    return work(trainings, args, loading.find(args.data))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0, 2 for a user error or a failed training, 130 when interrupted."""
    return cli.run(build_parser, lambda args: args.body(args), argv)


if __name__ == "__main__":
    raise SystemExit(main())
