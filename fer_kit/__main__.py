"""`fer-kit <name> …`: every command line behind one word."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from fer_kit import __version__, cli
from fer_kit.cli import EXIT_OK, EXIT_USER_ERROR
from fer_kit.errors import did_you_mean

# name: (module with main(argv), what it does)
COMMANDS = {
    "download": ("fer_kit.download", "fetch the competition's files from Kaggle"),
    "synthetic": ("fer_kit.synthetic.__main__", "draw a competition to try everything on"),
    "explore": ("fer_kit.explore.__main__", "look at the data: classes, copies, twins, faces"),
    "folds": ("fer_kit.folds.__main__", "find twins and deal the train rows into folds"),
    "train": ("fer_kit.train.__main__", "train one fold of a recipe"),
    "pipelines": ("fer_kit.pipelines", "save and see pipelines of albumentations, for train --augment"),
    "predict": ("fer_kit.predict.__main__", "predict finished folds again with other test-time views"),
    "blend": ("ensembles.blend", "blend finished runs"),
    "targets": ("ensembles.targets", "soft targets for the train rows, from networks that did not see them"),
    "twin-gain": ("ensembles.twin_gain", "what labels of train twins are worth to a run, out of fold"),
    "explain": ("fer_kit.explain.__main__", "show where a network looks: class activation and attention maps"),
    "track": ("fer_kit.track.__main__", "send finished runs and blends to Weights & Biases"),
    "evaluate": ("fer_kit.evaluate.__main__", "score runs and blends out of fold, alone or side by side"),
    "report": ("fer_kit.report.__main__", "one page on all runs and blends, to read and to show"),
    "kernels": ("kernels.__main__", "train on Kaggle's GPUs and bring the runs home"),
    "submissions": ("submissions.__main__", "build, check and upload the submission file; the ledger"),
}


def usage() -> str:
    """The list of commands."""
    lines = [f"  {name:<12} {about}" for name, (_, about) in COMMANDS.items()]
    return "\n".join(["usage: fer-kit COMMAND …   (fer-kit COMMAND --help tells more)", "", *lines])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command named first; its exit code, or 2 for an unknown one."""
    return cli.answered(lambda: dispatch(list(sys.argv[1:] if argv is None else argv)))


def dispatch(words: Sequence[str]) -> int:
    """What `main` does with the words behind `fer-kit`."""
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return EXIT_OK if words else EXIT_USER_ERROR
    if words[0] in ("-V", "--version"):
        print(f"fer_kit {__version__}")
        return EXIT_OK
    if words[0] not in COMMANDS:
        hint = did_you_mean(words[0], COMMANDS)
        print(f"error: no command '{words[0]}'{hint}; there are: {', '.join(COMMANDS)}", file=sys.stderr)
        return EXIT_USER_ERROR
    code: int = importlib.import_module(COMMANDS[words[0]][0]).main(words[1:])
    return code


if __name__ == "__main__":
    raise SystemExit(main())
