"""A command run in a forked process that is killed at a chosen moment, or at a random one.

A moment is a number: of the things that the process does to the files below a folder, and of the steps of its
optimizers. Python's audit events tell of the former before they happen, torch's hooks of the latter, so that no code
under test is replaced by a test's own. A kill is SIGKILL: no clause of Python runs after it.

Forking spares the seconds that torch takes to be imported. It is safe as long as the parent has not computed anything
(threads do not survive a fork): the parent imports, and leaves all else to its children.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
# the events, and which of their arguments are a path and the folder that it is relative to
EVENTS = {"open": (0, None), "os.rename": (1, 3), "os.remove": (0, 1), "os.mkdir": (0, 2), "os.rmdir": (0, 1)}
SAVED = ".part"  # what `fer_kit.files` writes before it is moved into its place
STEP = "step"


@dataclass(frozen=True)
class Moment:
    """Before thing number `number`, from 1; `half`: in the middle of the write that it ends or, a plain one, begins."""

    number: int
    half: bool = False


@dataclass(frozen=True)
class Did:
    """One thing that a process did: "os.rename last.pt".

    write: it ends the write of a file aside, by putting it into its place, or begins one in place (`open(path, "w")`).
    """

    what: str
    write: bool


@dataclass
class Attempt:
    """How a process ended. did: all that it did, where it ended by itself. seconds: until its end."""

    killed: bool
    code: int
    told: str
    seconds: float
    did: list[Did] = field(default_factory=list)


class Watch:
    """Counts what this process does below `root`, and kills it when `moment` has come."""

    def __init__(self, root: Path, moment: Moment | None) -> None:
        self.root, self.moment, self.did = os.path.realpath(root), moment, list[Did]()
        self.ending = False
        sys.addaudithook(self.on_event)
        if "torch" in sys.modules:
            from torch.optim import optimizer

            optimizer.register_optimizer_step_pre_hook(lambda *_: self.before(f"{STEP} is to come"))
            optimizer.register_optimizer_step_post_hook(lambda *_: self.before(f"{STEP} was made"))

    def on_event(self, event: str, args: tuple[Any, ...]) -> None:
        """What `sys.addaudithook` calls."""
        if self.ending or event not in EVENTS or (event == "open" and not (args[2] or 0) & WRITES):
            return
        where, folder = EVENTS[event]
        path = absolute(args[where], args[folder] if folder else -1)
        if path is not None and path.startswith(self.root + os.sep):
            source = absolute(args[0], args[2]) if event == "os.rename" else path
            aside = event == "os.rename" and source is not None and source.endswith(SAVED) and os.path.isfile(source)
            in_place = event == "open" and bool(args[2] & os.O_TRUNC)
            self.before(f"{event} {label(path, self.root)}", source if aside or in_place else None)

    def before(self, what: str, written: str | None = None) -> None:
        """Count one more thing, and end here if it is the one; `written`: the file that is half there then."""
        self.did.append(Did(what, written is not None))
        if self.moment is not None and self.moment.number == len(self.did):
            self.ending = True
            if self.moment.half and written is not None:
                with open(written, "ab") as file:  # there already where it was written aside
                    file.truncate(os.path.getsize(written) // 2 if written.endswith(SAVED) else 0)
            os.kill(os.getpid(), signal.SIGKILL)


def absolute(path: Any, folder: int) -> str | None:
    """The path of an audit event; None for an open file."""
    if isinstance(path, int):
        return None
    here = os.getcwd() if folder in (-1, None) else os.readlink(f"/proc/self/fd/{folder}")
    return os.path.normpath(os.path.join(here, os.fsdecode(path)))


def label(path: str, root: str) -> str:
    """The path below `root`, with random letters of temporary names left out."""
    parts = os.path.relpath(path, root).split(os.sep)
    return "/".join(part if not part.startswith(".") else f".{part.strip('.').partition('.')[0]}…" for part in parts)


def attempt(
    command: Callable[[], int], root: Path, moment: Moment | None = None, after_seconds: float | None = None
) -> Attempt:
    """Run `command` in a forked process with `root` as its current folder; its return value is the exit code.

    moment: kill it there. after_seconds: kill it then, if it still runs.
    """
    side = root.with_name(f"{root.name}-side")
    side.mkdir(exist_ok=True)
    (side / "did.json").unlink(missing_ok=True)
    sys.stdout.flush()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _child(command, root, moment, side)
    if after_seconds is not None:
        time.sleep(after_seconds)
        os.kill(child, signal.SIGKILL)  # it is our child until it is waited for, so the number is still its own
    status = os.waitpid(child, 0)[1]
    killed = os.WIFSIGNALED(status)
    told = (side / "told.txt").read_text(errors="replace")
    done = Attempt(killed, -1 if killed else os.WEXITSTATUS(status), told, time.monotonic() - began)
    if not killed:
        done.did = [Did(*one) for one in json.loads((side / "did.json").read_text())]
    return done


def _child(command: Callable[[], int], root: Path, moment: Moment | None, side: Path) -> None:
    code = 70
    try:
        output = os.open(side / "told.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(root)
        watch = Watch(root, moment)
        code = command()
        (side / "did.json").write_text(json.dumps([(one.what, one.write) for one in watch.did]))
    except BaseException:  # nothing of the parent's may run in the child
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def moments(did: list[Did]) -> list[Moment]:
    """Every moment of a run: before each thing that it did, and within each write."""
    before = [Moment(number) for number in range(1, len(did) + 1)]
    return before + [Moment(number, True) for number, one in enumerate(did, 1) if one.write]
