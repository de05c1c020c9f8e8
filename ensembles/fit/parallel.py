"""Threads for loops over members and bags: numpy lets go of the interpreter while it computes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def over(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """`function` of each item, in order, on as many threads as OMP_NUM_THREADS allows (else one a core)."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(limit) if limit.isdigit() and int(limit) > 0 else os.cpu_count() or 1
    if threads == 1:
        return [function(item) for item in items]
    from concurrent.futures import ThreadPoolExecutor  # late: it brings logging along, which --help need not pay

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))
