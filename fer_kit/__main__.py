"""`fer-kit COMMAND …`: runs a command of the table in `fer_kit.commands`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from fer_kit import __version__, cli, programs
from fer_kit.cli import EXIT_OK, EXIT_USER_ERROR
from fer_kit.commands import COMMANDS
from fer_kit.errors import did_you_mean


def usage() -> str:
    """The list of commands."""
    lines = [f"  {name:<12} {about}" for name, (_, about) in COMMANDS.items()]
    return "\n".join(["usage: fer-kit COMMAND …   (fer-kit COMMAND --help lists its options)", "", *lines])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command named first; its exit code, or 2 for an unknown command."""
    if not programs.SUPPORTED:
        print(f"error: {programs.UNSUPPORTED}", file=sys.stderr)
        return EXIT_USER_ERROR
    typed = Path(sys.argv[0]).name == "fer-kit"
    words = list(sys.argv[1:] if argv is None else argv)
    return cli.exit_code_of(lambda: dispatch(words), "fer-kit" if typed else "python -m fer_kit")


def dispatch(words: Sequence[str]) -> int:
    """Run the command that the words after `fer-kit` name."""
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
    programs.find_kernels()
    code: int = importlib.import_module(COMMANDS[words[0]][0]).main(words[1:])
    return code


if __name__ == "__main__":
    raise SystemExit(main())
