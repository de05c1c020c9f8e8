"""A few kills of every kind (`make faults` makes all of them), and the harness, which has to see what is lost."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def python(*argv: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: where torch has computed something, as in this one by now, no fork is safe."""
    return subprocess.run([sys.executable, *argv], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.slow
def test_a_few_kills_lose_nothing():
    scenes = ("train", "folds --force", "blend --force", "submissions build", "kernels fetch")
    done = python("-m", "tests.faults", "--share", "0.02", "--timed", "1", *scenes)
    assert done.returncode == 0, done.stdout + done.stderr
    *table, last = done.stdout.splitlines()[1:]
    assert len(table) == 8 and "FAULT" not in done.stdout
    assert int(re.fullmatch(r"(\d+) kills, 0 faults", last)[1]) >= 12


TOY = """
import sys
from functools import partial
from pathlib import Path
from fer_kit.files import atomic
from tests.faults.scenes import Scene, each_is_whole, left_over, tree
from tests.faults.trials import Trials

def command(write, sweep, first):
    if sweep: atomic.sweep("x")
    for name in sorted(("a.txt", "mark.json"), reverse=first == "mark.json"):
        write(Path("x", name), '{"some": "text"}')
    return 0

def products(root):
    assert not left_over(root), "left over"
    return tree(root, root)

def look(root, whole):
    there = tree(root, root)
    each_is_whole(there, whole)
    assert "x/mark.json" not in there or there == whole, "a mark on half of it"

def plain(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)

for write, sweep, first in (
    (atomic.write_text, True, "a.txt"), (plain, True, "a.txt"),
    (atomic.write_text, False, "a.txt"), (atomic.write_text, True, "mark.json"),
):
    run = partial(command, write, sweep, first)
    tally = Trials(Scene("toy", lambda root: None, run, run, products, look), Path(sys.argv[1]), 1.0, 0, 0).run()
    faults = {fault.split(": ", 1)[1] for fault in tally.faults}
    print(sum(tally.kills.values()), tally.identical == tally.trials, *faults, sep="|")
"""


@pytest.mark.slow
def test_the_harness_sees_a_write_in_place_what_is_left_over_and_a_mark_that_comes_too_early(tmp_path):
    done = python("-c", TOY, str(tmp_path))
    assert done.returncode == 0, done.stderr
    sound, plain, unswept, early = (line.split("|") for line in done.stdout.splitlines())
    assert int(sound[0]) >= 10 and sound[1:] == ["True"]
    assert plain[1] == "False" and any("a.txt is not whole" in fault for fault in plain[2:])
    assert unswept[1:] == ["False", "left over"]
    assert early[1:] == ["False", "a mark on half of it"]
