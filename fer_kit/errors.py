"""The error class for faults that users can mend, and helpers for messages."""

from __future__ import annotations

import difflib
import functools
import inspect
import re
from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

MOST_CHARACTERS = 4_000

P = ParamSpec("P")
T = TypeVar("T")


class FerKitError(Exception):
    """A fault that the user can mend.

    The message is one line: the value found, what is allowed, what to do. Commands print it without a traceback and
    exit with 2 (see `fer_kit.cli.run`). The content of a faulty file cannot break the line: line ends become spaces,
    control characters are escaped, and the middle of a very long message is left out.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def one_line(message: str) -> str:
    """`message` on one line: line ends become spaces, other control characters are spelt out, the middle is cut out."""
    message = _cut(message)
    if not message.isprintable():
        words = re.sub("[\t\n\v\f\r]+", " ", message)
        message = _cut("".join(one if one.isprintable() else _spelt(one) for one in words))
    return message


def _cut(message: str) -> str:
    if len(message) <= MOST_CHARACTERS:
        return message
    half = (MOST_CHARACTERS - 3) // 2
    return f"{message[:half]} … {message[-half:]}"


def _spelt(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def first_line(error: BaseException, most: int = 200) -> str:
    """What `error` says, on one line of at most `most` characters; its class where it says nothing."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= most else f"{text[: most - 1]}…"


def did_you_mean(value: str, allowed: Iterable[str]) -> str:
    """`" (did you mean 'attention'?)"`, or `""` if nothing allowed is similar to `value`."""
    close = difflib.get_close_matches(value, list(allowed), n=1, cutoff=0.6)
    return f" (did you mean '{close[0]}'?)" if close else ""


def naming_keywords(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function of the Python API: its errors also name the keywords of the command-line options in them.

    `--limit-minutes -1: give a number above 0` ends with `(in Python: limit_minutes=)`.
    """
    keywords = {f"--{name.replace('_', '-')}": name for name in inspect.signature(function).parameters}
    keywords["--set"] = "settings"

    @functools.wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> T:
        try:
            return function(*args, **options)
        except FerKitError as error:
            named = dict.fromkeys(
                keywords[option] for option in re.findall("--[a-z-]+", str(error)) if option in keywords
            )
            if named:
                error.args = (f"{error} (in Python: {', '.join(f'{name}=' for name in named)})",)
            raise

    return call
