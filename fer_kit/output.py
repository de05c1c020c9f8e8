"""The standard streams of a command: what happens to them never ends the work, and printed commands can be typed.

A reader that closes the pipe (`… | head`), a terminal that is gone, a closed or full stdout: the text is dropped, the
command goes on, and `Streams.fault` tells the caller. A character that the encoding of the terminal does not have is
replaced. Commands in the text take the form that the user typed: `fer-kit train` or `python -m fer_kit.train`.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TextIO

from fer_kit.commands import COMMANDS

_GONE = (errno.EPIPE, errno.EBADF, errno.EIO, errno.ENXIO, errno.ESHUTDOWN, errno.ECONNRESET)  # nobody reads
_PLAIN = {"…": "...", "–": "-", "—": "-", "±": "+-", "→": ">", "×": "x", "≤": "<=", "≥": ">=", "⁻": "-", "√": "sqrt"}
_MODULES = {module.removesuffix(".__main__"): name for name, (module, _) in COMMANDS.items()}
_AS_MODULE = re.compile(rf"python -m ({'|'.join(map(re.escape, _MODULES))})(?!\.?\w)")
_AS_WORD = re.compile(rf"(?<![\w.-])fer-kit ({'|'.join(COMMANDS)})(?![\w-])")


# Control characters other than tab and line feed, and a carriage return inside a line; marks of text direction and
# invisible characters.
_CONTROL = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]|(?<!^)\r(?!\n)"
)
_OF_PROGRESS_BARS = re.compile(r"(\x1b\[(?:A|[0-9;]*m))")


def _spelt(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def _replace(error: UnicodeError) -> tuple[str, int]:
    """The error handler "fer_kit" of codecs: similar ASCII characters, else a question mark."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_PLAIN.get(one, "?") for one in error.object[error.start : error.end]), error.end


codecs.register_error("fer_kit", _replace)


@dataclass
class Streams:
    """What became of the streams of a command.

    prefix: how the user started the command: "fer-kit" or "python -m fer_kit", and "" for a module of its own.
    fault: the first error of stdout other than that nobody reads, such as a full disk.
    """

    prefix: str = ""
    fault: OSError | None = None

    def commands_as_typed(self, text: str) -> str:
        """`text` with the commands in it as the user would type them."""
        if "python -m " in text:
            text = _AS_MODULE.sub(lambda found: self._typed(_MODULES[found[1]]), text)
        if "fer-kit " in text and self.prefix != "fer-kit":
            text = _AS_WORD.sub(lambda found: self._typed(found[1]), text)
        return text

    def _typed(self, name: str) -> str:
        return f"{self.prefix} {name}" if self.prefix else f"python -m {COMMANDS[name][0].removesuffix('.__main__')}"


class Stream:
    """A text stream that drops text instead of raising OSError; everything else is that of the stream inside."""

    def __init__(self, inside: TextIO, streams: Streams, keep_fault: bool) -> None:
        self.inside, self.streams, self.keep_fault = inside, streams, keep_fault
        if hasattr(inside, "reconfigure") and inside.errors != "fer_kit":
            inside.reconfigure(errors="fer_kit")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inside, name)

    def write(self, text: str) -> int:
        """Write `text`, with commands as the user types them and without control of the terminal."""
        return self.verbatim(self.streams.commands_as_typed(self._harmless(text)))

    def verbatim(self, text: str) -> int:
        """Write `text` as it is: data for a program."""
        self._try(lambda: self.inside.write(text))
        return len(text)

    def _harmless(self, text: str) -> str:
        """`text` with control characters spelt out; stderr keeps the cursor movements and colours of progress bars.

        Names and messages of other people (run folders, records, Kaggle's answers) could otherwise move the cursor,
        erase lines, set the title of the window or reverse the direction of the text.
        """
        if text.isprintable():
            return text
        if self.keep_fault:  # stdout
            return _CONTROL.sub(_spelt, text)
        parts = _OF_PROGRESS_BARS.split(text)
        return "".join(part if number % 2 else _CONTROL.sub(_spelt, part) for number, part in enumerate(parts))

    def flush(self) -> None:
        """Flush the stream inside."""
        self._try(self.inside.flush)

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:
            if self.keep_fault and error.errno not in _GONE:
                self.streams.fault = self.streams.fault or error
            self._discard_the_rest()
        except ValueError:  # closed by the caller of main()
            self.inside = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (as long as the process)

    def _discard_the_rest(self) -> None:
        """Connect the file descriptor to /dev/null: for the text in the buffer, for libraries and for children."""
        with contextlib.suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.inside.fileno())
            os.close(null)


@contextlib.contextmanager
def protected(prefix: str = "") -> Iterator[Streams]:
    """Protect stdout and stderr as long as the context lasts; an inner context shares the streams of the outer one."""
    if isinstance(sys.stdout, Stream):
        yield sys.stdout.streams
        return
    before, streams = (sys.stdout, sys.stderr), Streams(prefix)
    _open_closed_descriptors()
    sys.stdout = Stream(before[0] or _null(), streams, keep_fault=True)
    sys.stderr = Stream(before[1] or _null(), streams, keep_fault=False)
    try:
        yield streams
    finally:
        with contextlib.suppress(AttributeError):  # replaced meanwhile
            sys.stdout.flush()
            sys.stderr.flush()
        sys.stdout, sys.stderr = before


def control(sequence: str) -> None:
    """Write a control sequence of our own to stdout, such as a cursor movement."""
    out = sys.stdout
    if isinstance(out, Stream):
        out.verbatim(sequence)
    else:
        print(sequence, end="")


def print_json(value: Any) -> None:
    """Print `value` as JSON for a program: commands in the text stay as they are, in ASCII."""
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    if isinstance(sys.stdout, Stream):
        sys.stdout.verbatim(text)
    else:
        print(text, end="")


def _null() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")


def _open_closed_descriptors() -> None:
    """Open /dev/null in place of a closed descriptor 0, 1 or 2 (`>&-`), else the next file opened would take it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one


def line(text: str) -> None:
    """Print a line, around progress bars; a stdout that cannot be written is no error."""
    from tqdm import tqdm

    if sys.stdout is not None:
        with contextlib.suppress(OSError, ValueError):
            tqdm.write(text, file=sys.stdout)
            sys.stdout.flush()
