"""Send finished folds and blends to Weights & Biases, for example those trained on a machine without network.

python -m fer_kit.track residual --wandb online
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from fer_kit import cli
from fer_kit.errors import FerKitError
from fer_kit.runs import lookup
from fer_kit.runs.lookup import BlendFolder, RunFolder
from fer_kit.track import follow


def build_parser() -> argparse.ArgumentParser:
    """The command line of `python -m fer_kit.track`."""
    parser = cli.parser("python -m fer_kit.track", "Send finished folds and blends to Weights & Biases (W&B).")
    parser.add_argument(
        "name", metavar="NAME", help="a run (all of its finished folds), one fold as RUN/fold0, or a blend"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs")
    parser.add_argument("--data", help="folder with the competition's files, for sample pictures")
    modes = (follow.OFFLINE, follow.ONLINE)
    parser.add_argument(
        "--wandb", choices=modes, default=follow.ONLINE, help="offline: only write files, for `wandb sync` later"
    )
    return parser


def body(args: argparse.Namespace) -> None:
    """Send the folders, one after the other."""
    for folder in finished_folders(args.runs, args.name):
        print(f"sending {folder}", flush=True)
        if not follow.send(folder, args.wandb, args.data):
            raise FerKitError(f"{folder} was not sent; fix the cause in the line above, then run the command again")


def finished_folders(runs_dir: Path, name: str) -> list[Path]:
    """The folder of a blend or fold, or the folders of the finished folds of a run.

    Raises:
        FerKitError: `name` is unknown, or no fold is finished.
    """
    found = lookup.find(runs_dir, name)
    if isinstance(found, BlendFolder):
        return [found.folder]
    folds = found.folds() if isinstance(found, RunFolder) else [found]
    finished = [fold.folder for fold in folds if fold.finished]
    if not finished:
        raise FerKitError(f"{found.folder}: no finished fold; finish the training of a fold first")
    return finished


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0, 2 for a user error, 130 when interrupted."""
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
