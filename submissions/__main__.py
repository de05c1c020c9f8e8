"""Submission files on the command line.

python -m submissions build SOURCE
python -m submissions check FILE
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from fer_kit import cli
from submissions import build, check

COMMANDS = {
    "build": (build, "Write the submission file of a run, a blend or a test.npz, and check it."),
    "check": (check, "Check a submission file; exit 2 with the first fault and its line."),
}


def build_parser() -> argparse.ArgumentParser:
    """The options of `python -m submissions`."""
    parser = cli.parser("python -m submissions", "Build and check submission files.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (module, description) in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=description,
            description=description,
            allow_abbrev=False,
            formatter_class=cli.HelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(body=module.body)
    return parser


def body(args: argparse.Namespace) -> None:
    """Run the subcommand."""
    args.body(args)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
