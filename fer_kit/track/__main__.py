"""Send finished folds and blends to Weights & Biases, for instance those trained where there was no network.

python -m fer_kit.track residual --wandb online
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from fer_kit import cli
from fer_kit.errors import FerKitError, did_you_mean
from fer_kit.runs import folders as runs
from fer_kit.track import follow


def build_parser() -> argparse.ArgumentParser:
    """The command line of `python -m fer_kit.track`."""
    parser = cli.parser("python -m fer_kit.track", "Send finished folds and blends to Weights & Biases.")
    parser.add_argument("name", metavar="NAME", help="a run, all of whose finished folds are sent, or a blend")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs")
    parser.add_argument("--data", help="folder with the competition's files, for pictures of samples")
    modes = (follow.OFFLINE, follow.ONLINE)
    parser.add_argument("--wandb", choices=modes, default=follow.ONLINE, help="offline: for `wandb sync` later")
    return parser


def body(args: argparse.Namespace) -> None:
    """Send one folder after the other."""
    for folder in folders(args.runs, args.name):
        print(f"sending {folder}", flush=True)
        if not follow.send(folder, args.wandb, args.data):
            raise FerKitError(f"{folder} was not sent, the line above says why; mend that and give the command again")


def folders(runs_dir: Path, name: str) -> list[Path]:
    """The finished folds of run `name`, or the one folder of blend `name`; `blends/name` is the blend in any case.

    Raises:
        FerKitError: there is no such run or blend, or nothing of the run is finished.
    """
    known, blends = runs.list_runs(runs_dir), runs.list_blends(runs_dir)
    if name in known:
        found = sorted(path for path in (runs_dir / name).glob("fold*") if runs.is_finished(path))
        if not found:
            raise FerKitError(f"{runs_dir / name}: no fold is finished; train one to its end first")
        return found
    blend = name.removeprefix(f"{runs.BLENDS}/")  # the other commands call it by either name
    if blend in blends:
        return [runs_dir / runs.BLENDS / blend]
    there = ", ".join([*known, *blends]) or "no runs yet"
    raise FerKitError(
        f"{runs_dir}: no run or blend '{name}'{did_you_mean(blend, [*known, *blends])}; there are: {there}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0, 2 for a user error, 130 when interrupted."""
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
