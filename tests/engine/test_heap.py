"""Freed memory stays with the process: its pages are not faulted in again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from fer_kit.engine import heap

COUNT = """
import resource, sys
from fer_kit.engine import heap
kept = heap.keep_freed_memory() if sys.argv[1] == "kept" else False
def use():
    blocks = [bytearray(20 << 20) for _ in range(8)]  # 160 MB, all pages written
for _ in range(2):
    use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    use()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(arm: str) -> tuple[str, int]:
    """What `keep_freed_memory` said, and the page faults of four rounds, in a new process."""
    done = subprocess.run([sys.executable, "-c", COUNT, arm], capture_output=True, text=True, check=True)
    kept, number = done.stdout.split()
    return kept, int(number)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_kept_memory_is_not_faulted_in_again():
    kept, few = faults("kept")
    _, many = faults("returned")
    assert kept == "True" and few < 100 and many > 10 * (few + 10)


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda name: object())
    assert heap.keep_freed_memory.__wrapped__() is False
