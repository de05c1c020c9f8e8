"""Runs the fuzz targets: each broken file ends in a FerKitError of one line or in an answer that holds, soon and small.

python -m tests.fuzz 10000            # that many files for each reader, other ones each time
python -m tests.fuzz 10000 ledger_file --seed 7
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fer_kit.errors import MOST_CHARACTERS, FerKitError
from tests.fuzz import records  # noqa: F401 (puts its readers into TARGETS)
from tests.fuzz.inputs import havoc
from tests.fuzz.targets import TARGETS, Target

A_DRAW, AT_ONCE = 5, 1000  # files for each drawn one; files for each run of hypothesis, which remembers all of them
MOST_BYTES = 100 << 20  # a reader may need at once; the files have some kilobytes
MOST_SECONDS = 20.0  # of the processor, so that a busy machine changes nothing


@dataclass
class Tally:
    """What became of the files of one reader."""

    files: int = 0
    refused: int = 0
    peak_bytes: int = 0

    def __add__(self, more: Tally) -> Tally:
        peak = max(self.peak_bytes, more.peak_bytes)
        return Tally(self.files + more.files, self.refused + more.refused, peak)


@contextmanager
def bounded() -> Iterator[None]:
    """Raise AssertionError after `MOST_SECONDS` of the processor's time."""

    def stop(*_: object) -> None:
        raise AssertionError(f"more than {MOST_SECONDS:g} s of processor time: a hang")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def read_one(target: Target, folder: Path, content: bytes, tally: Tally) -> None:
    """Let the reader have one file."""
    tally.files += 1
    tracemalloc.start()  # here and not before, since it makes the drawing of files four times slower
    try:
        with bounded():
            target.read(folder, content)
    except FerKitError as error:
        tally.refused += 1
        message = str(error)
        assert message.isprintable() and 0 < len(message) <= MOST_CHARACTERS, repr(message)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    tally.peak_bytes = max(tally.peak_bytes, peak)
    assert peak < MOST_BYTES, f"{peak:,} bytes of memory"


def fuzz(target: Target, count: int, derandomize: bool, folder: Path) -> Tally:
    """Give the reader about `count` broken files: those that hypothesis draws, and each with its bytes broken further.

    Raises:
        Exception: the first fault, with the file as a note.
    """
    tally = Tally()
    target.once(folder)

    @settings(
        max_examples=count // A_DRAW,
        derandomize=derandomize,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate,),
    )
    @given(target.make(), st.integers(0, 2**48))
    def reads(content: bytes, seed: int) -> None:
        for further in [content, *(havoc(content, seed + step, [content]) for step in range(1, A_DRAW))]:
            try:
                read_one(target, folder, further, tally)
            except BaseException as error:
                error.add_note(f"the file: {further!r}")
                raise

    reads()
    return tally


def main() -> int:
    """Fuzz the readers named, or all; prints a table, goes on after a fault, and exits with 1 if there was any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("examples", type=int)
    parser.add_argument("readers", nargs="*", choices=[[], *TARGETS], help=", ".join(TARGETS))
    parser.add_argument("--seed", type=int, help="to see the same files again")
    args = parser.parse_args()
    seed = time.time_ns() % 10**6 if args.seed is None else args.seed
    print(
        f"seed {seed}, hypothesis {hypothesis.__version__}\n"
        f"{'reader':<28}{'files':>8}{'refused':>9}{'peak MB':>9}{'s':>7}"
    )
    faults = 0
    for name in args.readers or TARGETS:
        folder, began = Path(tempfile.mkdtemp(prefix="fuzz-")), time.monotonic()
        try:
            tally = Tally()
            while tally.files < args.examples:
                hypothesis.core.global_force_seed = seed + tally.files  # what --hypothesis-seed of pytest sets
                tally += fuzz(TARGETS[name], min(AT_ONCE, args.examples), False, folder)
            numbers = (
                f"{tally.files:>8,}{tally.refused:>9,}{tally.peak_bytes / 1e6:>9.1f}{time.monotonic() - began:>7.0f}"
            )
            print(f"{name:<28}{numbers}", flush=True)
        except Exception as error:
            faults += 1
            notes = " ".join(getattr(error, "__notes__", []))
            print(f"{name:<28}FAULT {type(error).__name__}: {str(error)[:500]} {notes[:1500]}", flush=True)
        shutil.rmtree(folder)
    return min(faults, 1)


if __name__ == "__main__":
    sys.exit(main())
