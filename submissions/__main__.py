"""Submission files on the command line.

python -m submissions build SOURCE
python -m submissions check FILE
python -m submissions upload FILE -m TEXT
python -m submissions status
python -m submissions plan
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from fer_kit import cli
from submissions import build, check, plan, status, upload

COMMANDS = {
    "build": (build, "Write the submission file of a run, a blend or a test.npz, and check it."),
    "check": (check, "Check a submission file; print the first fault with its line number and exit with code 2."),
    "upload": (upload, "Upload a submission file to Kaggle, at most once, and record the entry in the ledger."),
    "status": (status, "Fetch new scores from Kaggle; print all entries, their gap to cross-validation and residuals."),
    "plan": (plan, "Choose the blends to send next and the final picks, by forecast and by what differs."),
}


def build_parser() -> argparse.ArgumentParser:
    """The options of `python -m submissions`."""
    parser = cli.parser("python -m submissions", "Build, check and upload submission files, and record their scores.")
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
    commands.choices["check"].set_defaults(body=cli.data_command(check.body))
    commands.choices["plan"].set_defaults(body=cli.data_command(plan.body))
    commands.choices["status"].set_defaults(body=cli.data_command(status.body, status.pending))
    return parser


def body(args: argparse.Namespace) -> int | None:
    """Run the subcommand; returns its exit code, None for 0."""
    code: int | None = args.body(args)
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
