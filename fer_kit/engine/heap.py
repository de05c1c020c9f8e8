"""Freed memory stays with the process.

A training step allocates and frees the same blocks again and again. Where the C library returns them to the system, the
system has to clear their pages for the next step (tests/benchmarks/records/bench_freed_memory.json).
"""

from __future__ import annotations

import ctypes
from functools import cache

# Parameters of mallopt, from malloc.h of glibc.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_KEPT_BYTES = 32 << 20  # larger blocks still go back to the system; the most that mallopt takes
KEPT_BYTES = 2**31 - 1  # free memory at the end of the heap that is not given back; the most that mallopt takes


@cache
def keep_freed_memory() -> bool:
    """Make glibc keep freed memory, for the rest of the process; whether it does. Results do not change.

    Up to 2 GiB of freed blocks, of at most 32 MiB each, stay with the process, which uses them again. Nothing happens
    with other C libraries (macOS, musl). Source: mallopt(3), M_MMAP_THRESHOLD and M_TRIM_THRESHOLD.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT_BYTES)) and bool(mallopt(M_TRIM_THRESHOLD, KEPT_BYTES))
