"""Lines of the kernel's log."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import UTC, datetime

_lock = threading.Lock()


def say(line: str) -> None:
    """Print a line of the kernel's log with the time in UTC."""
    with _lock:
        print(f"{datetime.now(UTC):%H:%M:%S} {line}", flush=True)


def listed(folds: Iterable[int]) -> str:
    """Sorted fold numbers as text, e.g. `0, 2`, or `none`."""
    return ", ".join(map(str, sorted(folds))) or "none"
