"""Trials of one scene: a kill at each moment in turn, and at random times; go on; compare."""

from __future__ import annotations

import random
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults import kills
from tests.faults.kills import Attempt, Moment
from tests.faults.scenes import Scene, Tree

WRITE, BETWEEN, IN_STEP, TIMED = "in a write", "between", "in a step", "timed"
KINDS = (WRITE, BETWEEN, IN_STEP, TIMED)
AGAIN = 0.4  # of the trials are killed a second time, while they go on


@dataclass
class Tally:
    """What became of the trials of one scene.

    moments: how many a run has. kills: by where they struck. resumes: starts after a kill. identical: trials that
    ended with the same bits as the run that nobody interrupted, of `trials`.
    """

    moments: int = 0
    trials: int = 0
    kills: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    resumes: int = 0
    identical: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)


class Trials:
    """Runs them. share: of all moments; timed: kills at random times, where the scene is long enough."""

    def __init__(self, scene: Scene, place: Path, share: float, timed: int, seed: int) -> None:
        self.scene, self.share, self.timed = scene, share, timed if scene.timed else 0
        self.root = place / "scene"
        self.rng = random.Random(f"{scene.name} {seed}")
        self.tally = Tally()

    def run(self) -> Tally:
        """All trials; a fault in one is kept for the table, and the others go on."""
        began = time.monotonic()
        self.begin()
        plain = kills.attempt(self.scene.first, self.root)
        assert plain.code == 0, plain.told
        whole = self.scene.products(self.root)
        self.scene.look(self.root, whole)
        every = kills.moments(plain.did)
        self.tally.moments = len(every)
        first = self.rng.sample(every, max(1, round(self.share * len(every))))
        waits = [self.rng.uniform(0, plain.seconds) for _ in range(self.timed)]
        planned: list[Moment | float] = [*sorted(first, key=lambda one: (one.number, one.half)), *waits]
        for moment in planned:
            self.tally.trials += 1
            try:
                self.trial(moment, plain, whole)
                self.tally.identical += 1
            except AssertionError as error:
                where = told(moment, plain) if isinstance(moment, Moment) else f"after {moment:.1f} s"
                self.tally.faults.append(f"{where}: {' '.join(str(error).split())[:600]}")
        self.tally.seconds = round(time.monotonic() - began, 1)
        return self.tally

    def begin(self) -> None:
        """A fresh world."""
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir(parents=True)
        self.scene.build(self.root)

    def trial(self, first: Moment | float, plain: Attempt, whole: Tree) -> None:
        """Kill at `first`, maybe once more at a random moment, go on to the end, compare.

        Raises:
            AssertionError: something does not hold.
        """
        self.begin()
        command, then = self.scene.first, [first]
        if self.rng.random() < AGAIN:
            then.append(self.rng.choice(kills.moments(plain.did)))
        for moment in then:
            if isinstance(moment, Moment):
                done = kills.attempt(command, self.root, moment)
            else:
                done = kills.attempt(command, self.root, after_seconds=moment)
            if not done.killed:  # over before its moment came; once more must change nothing
                assert done.code == 0, done.told
                command = self.scene.again
                break
            self.tally.kills[kind(moment, plain) if command is self.scene.first else BETWEEN] += 1
            self.tally.resumes += 1
            command = self.scene.again
            self.scene.look(self.root, whole)
        done = kills.attempt(command, self.root)
        assert done.code == 0, done.told
        found = self.scene.products(self.root)
        assert found.keys() == whole.keys(), f"files {sorted(found.keys() ^ whole.keys())}"
        for name in whole:
            assert found[name] == whole[name], f"{name} came out otherwise"


def kind(moment: Moment | float, plain: Attempt) -> str:
    """Where a kill struck."""
    if not isinstance(moment, Moment):
        return TIMED
    if plain.did[moment.number - 1].what.startswith(kills.STEP):
        return IN_STEP
    return WRITE if moment.half else BETWEEN


def told(moment: Moment, plain: Attempt) -> str:
    """The moment in words."""
    what = plain.did[moment.number - 1].what
    return f"{'half way through' if moment.half else 'before'} {what} (thing {moment.number})"
