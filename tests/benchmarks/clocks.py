"""The two clocks: the one on the wall, and the processor's, which says what work costs on a machine that does more."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path

WALL, PROCESSOR = "wall", "processor"
TICKS = os.sysconf("SC_CLK_TCK")


def processor_seconds() -> float:
    """Processor time of this process and of all that it has started, ended ones and running ones (those on Linux)."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime + sum(map(_running_seconds, _children(os.getpid())))


def _children(process: int) -> list[int]:
    try:
        lists = [path.read_text() for path in Path(f"/proc/{process}/task").glob("*/children")]
    except OSError:  # ended since, or no Linux
        return []
    return [int(word) for text in lists for word in text.split()]


def _running_seconds(process: int) -> float:
    """Of a process and of those below it."""
    try:
        values = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, values[11:15])) / TICKS + sum(map(_running_seconds, _children(process)))  # see proc(5)


CLOCKS: dict[str, Callable[[], float]] = {WALL: time.perf_counter, PROCESSOR: processor_seconds}


def interleaved(
    commands: Sequence[Sequence[str]], rounds: int, run: Callable[[Sequence[str]], None], clock: str
) -> list[list[float]]:
    """Seconds of each command in each round, one after the other in turn: a list for each command."""
    now, spent = CLOCKS[clock], [[] for _ in commands]  # type: tuple[Callable[[], float], list[list[float]]]
    for turn in range(rounds + 1):  # the first turn fills caches
        for number, command in enumerate(commands):
            began = now()
            run(command)
            if turn:
                spent[number].append(now() - began)
    return spent
