"""The one error class that users see, and the hint that goes with a misspelt name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FerKitError(Exception):
    """A fault that the user can mend.

    The message is one line: the value found, what is allowed, what to do. Command lines print it
    without a traceback and exit with 2 (see `fer_kit.cli.run`).
    """


def did_you_mean(value: str, allowed: Iterable[str]) -> str:
    """`" (did you mean 'attention'?)"`, or `""` where nothing allowed comes close to `value`."""
    close = difflib.get_close_matches(value, list(allowed), n=1, cutoff=0.6)
    return f" (did you mean '{close[0]}'?)" if close else ""
