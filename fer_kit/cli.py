"""Shared by all commands: a strict argument parser, exit codes for errors and signals, data as JSON, text tables."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import os
import signal
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from fer_kit import output
from fer_kit.errors import FerKitError
from fer_kit.files import atomic

if TYPE_CHECKING:
    from _typeshed import SupportsWrite


DEVICES = {"gpu": "cuda", "cuda": "cuda", "cpu": "cpu"}  # what people type as options
EXIT_OK, EXIT_PENDING, EXIT_USER_ERROR, EXIT_INTERRUPTED = 0, 1, 2, 130
ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


class Terminated(KeyboardInterrupt):
    """A signal that ends the process arrived: SIGTERM (kill, SLURM, a host that goes down) or SIGHUP (no terminal)."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults other than None, False and empty lists."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return super()._get_help_string(action) if action.default else action.help


class Store(argparse.Action):
    """Stores a value as argparse does, but refuses a list option given twice, whose first list would be lost.

    A single value may be given again, so that --runs of a shell alias can be overridden: the last value counts.
    """

    list_of: argparse.Namespace | None = None

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Store `values`."""
        if option_string is not None and isinstance(values, list):
            if self.list_of is namespace:
                raise argparse.ArgumentError(self, "given twice; give all values after a single option")
            self.list_of = namespace
        setattr(namespace, self.dest, values)


class Append(argparse.Action):
    """`append` for options that take a list: Store refuses a list that is given twice."""

    def __call__(self, parser: object, namespace: object, values: object, option_string: str | None = None) -> None:
        """Append `values`."""
        setattr(namespace, self.dest, [*getattr(namespace, self.dest), values])


def word(text: str) -> str:
    """`text`, refused if it is empty, as when a shell variable is not set. A type for argparse."""
    if not text:
        raise argparse.ArgumentTypeError("'' is empty (a variable that is not set?); give a value")
    return text


def path(text: str) -> Path:
    """As `word`, for paths: Path('') would be the current folder."""
    return Path(word(text))


def number_or_auto(text: str) -> int | None:
    """The number in `text`; None for "auto". For argparse."""
    if text == "auto":
        return None
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number; give 1 or more, or auto") from None


class Parser(argparse.ArgumentParser):
    """argparse's parser, stricter: errors are one line, no value is empty, no list is given twice.

    argparse ignores an error while the help is printed (a full disk); here the error reaches `exit_code_of`.

    hint: gives the end of the error message for unknown arguments, from these and the known options, or "" to suggest
    the most similar option.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.color = False  # Python 3.14 colours the help; `output.Stream` would spell the codes out
        self.hint: Callable[[Sequence[str], Iterable[str]], str] = lambda unknown, known: ""
        self.register("action", None, Store)
        self.register("action", "store", Store)
        self.register("type", None, word)
        self.register("type", Path, path)

    def error(self, message: str) -> NoReturn:
        """Raise `message` as a FerKitError."""
        raise FerKitError(f"{message}; see {self.prog} --help")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's method, but refuses unknown arguments, with a suggestion."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            options = self._option_string_actions
            hint = self.hint(unknown, options) or did_you_mean_option(unknown[0].partition("=")[0], options)
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return found, unknown

    def print_help(self, file: SupportsWrite[str] | None = None) -> None:
        """Print the help."""
        print(self.format_help(), end="", file=file)


def did_you_mean_option(word: str, options: Collection[str]) -> str:
    """`" (did you mean '--limit-minutes'?)"`, or "" if no option is similar. Leading dashes are no similarity."""
    if (plain := word.lstrip("-")) in DEVICES and "--device" in options:
        return f" (did you mean '--device {DEVICES[plain]}'?)"
    bare = {option.lstrip("-"): option for option in options if option.startswith("--")}
    close = difflib.get_close_matches(plain, bare, n=1)
    return f" (did you mean '{bare[close[0]]}'?)" if close else ""


def parser(prog: str, description: str, epilog: str = "") -> Parser:
    """An argument parser that shows defaults and takes no abbreviated options."""
    return Parser(
        prog=prog,
        description=description,
        epilog=epilog,
        allow_abbrev=False,
        formatter_class=HelpFormatter,
    )


def run(
    build: Callable[[], argparse.ArgumentParser],
    body: Callable[[argparse.Namespace], int | None],
    argv: Sequence[str] | None = None,
) -> int:
    """Parse `argv`, run `body` and return the exit code.

    0 if `body` returns None; 2 and one line on stderr for a FerKitError, a usage error or an error of the operating
    system (full disk, missing rights, a folder that vanished); 130 when interrupted, 143 when terminated (SIGTERM).
    Any other exception is a bug and keeps its traceback. A stdout that nobody reads any more does not end the work.
    """

    def command() -> int | None:
        try:
            args = build().parse_args(argv)
        except SystemExit as stop:  # argparse after --help
            return int(stop.code or 0)
        return body(args)

    return exit_code_of(command)


def add_output_options(parser: argparse.ArgumentParser, quiet: str) -> None:
    """Add --json and --quiet, for `data_command`. quiet: the help text of --quiet."""
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="print the result as JSON and nothing else")
    forms.add_argument("--quiet", action="store_true", help=quiet)


def data_command(
    body: Callable[[argparse.Namespace], Any], pending: Callable[[Any], bool] = lambda value: False
) -> Callable[[argparse.Namespace], int]:
    """A command whose result is data: `body` prints the text for people and returns the JSON value for --json.

    The text is dropped with --json and --quiet; warnings and errors on stderr stay. With --quiet the exit code is 1
    while the result is `pending`.
    """

    def answer(args: argparse.Namespace) -> int:
        if not (args.json or args.quiet):
            body(args)
            return EXIT_OK
        with contextlib.redirect_stdout(io.StringIO()):
            value = body(args)
        if args.json:
            output.print_json(value)
        return EXIT_PENDING if args.quiet and pending(value) else EXIT_OK

    return answer


def confirmed(question: str, yes: bool) -> bool:
    """Whether the user agrees; `yes`: the option --yes was given.

    Raises:
        FerKitError: the standard input is not a terminal, so that nobody can answer.
    """
    if yes:
        return True
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        print()
        raise FerKitError("nobody can answer without a terminal; give --yes") from None


def exit_code_of(command: Callable[[], int | None], prefix: str = "") -> int:
    """Call `command` and return the exit code, see `run`. prefix: see `output.Streams`."""
    with output.protected(prefix) as streams, _signals_as_exceptions():
        try:
            code = command()
            sys.stdout.flush()
        except FerKitError as error:
            return _failed(f"{error}")
        except Terminated as end:
            print(f"ended by {signal.Signals(end.number).name}", file=sys.stderr)
            return 128 + end.number
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return EXIT_INTERRUPTED
        except OSError as error:
            told = _in_words(error)
            if told is None:
                raise
            return _failed(told)
        if streams.fault is not None and not code:
            fault, streams.fault = streams.fault, None
            why = f"{atomic.reason_of(fault)}; {atomic.way_out(fault)}"
            return _failed(f"the output: {why}. Only the printed text is lost")
    return EXIT_OK if code is None else code


def _failed(message: str) -> int:
    try:
        os.getcwd()
    except OSError:
        message += ". The current folder was removed; change to another one (cd)"
    sys.stdout.flush()
    print(f"error: {message}", file=sys.stderr)
    return EXIT_USER_ERROR


def _in_words(error: OSError) -> str | None:
    """One line for an error of the operating system; None for another. `atomic` raises FerKitError by itself."""
    if "temporary directory" in str(error):  # of tempfile, and of matplotlib, which says so without an errno
        return (
            f"no folder for temporary files can be written ({' '.join(str(error).split())[:120]}); "
            "set the variable TMPDIR to a folder with free space, e.g. TMPDIR=$PWD/tmp"
        )
    if error.errno is None:
        return None
    what = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else "a file"
    return f"{what}: {atomic.reason_of(error)}; {atomic.way_out(error)}"


@contextlib.contextmanager
def _signals_as_exceptions() -> Iterator[None]:
    """Raise `Terminated` for SIGTERM and SIGHUP, so that locks and temporary files are released.

    A signal that is ignored (nohup) or handled already stays so. A forked child dies of the signal as it usually does.
    """
    owner = os.getpid()

    def end(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        raise Terminated(number)

    set_here = []
    with contextlib.suppress(ValueError):  # not the main thread, which alone may set handlers
        for number in ENDING:
            if signal.getsignal(number) == signal.SIG_DFL:
                signal.signal(number, end)
                set_here.append(number)
    try:
        yield
    finally:
        for number in set_here:
            signal.signal(number, signal.SIG_DFL)


def aligned(table: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> list[str]:
    """Lines of a table with a rule below its head; columns in `left` are aligned left, the others right."""
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if number in left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]
    return [lines[0], "-" * max(map(len, lines)), *lines[1:]]
