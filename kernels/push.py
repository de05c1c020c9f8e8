"""Push a built kernel, and wait for its end: state, progress line, deadline."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from fer_kit.cli import confirmed
from fer_kit.errors import FerKitError
from fer_kit.kaggle.client import Client, KernelState
from fer_kit.kaggle.errors import KernelFailed, TimedOut, UnknownAnswer, UnknownSlug
from fer_kit.kaggle.faults import TRANSIENT
from kernels import push_log
from kernels.build import Built
from kernels.push_log import Push

POLL_SECONDS = 60.0  # Kaggle asks for at most one request in 30 s
SESSION_SLACK_MINUTES = 30.0  # the kernel stops by itself before Kaggle stops it
ENDED = ("complete", "error", "cancelled")
FETCH_ATTEMPTS = 10
PASSING = (*TRANSIENT, TimedOut, UnknownAnswer)  # faults of Kaggle or of the network that may pass

_sleep, _clock = time.sleep, time.monotonic  # tests replace them


def entry(built: Built, state: str) -> Push:
    """The entry of a built kernel in the log of pushes."""
    plan = built.plan
    return Push(
        run_id=plan.run_id,
        ref=plan.ref,
        version=0,
        url="",
        utc=push_log.utc_now(),
        accelerator=plan.accelerator,
        run=", ".join(run for run, _ in plan.runs),
        folds=tuple(sorted({fold for _, folds in plan.runs for fold in folds})),
        limit_minutes=plan.limit_minutes,
        bundle_sha256=built.bundle_sha256,
        commit=plan.commit,
        state=state,
    )


def push(client: Client, built: Built, folder: Path, runs_dir: Path) -> Push:
    """Push the kernel in `folder`, and log it before and after, so that a lost answer does not lose the run id.

    Raises:
        KaggleError: Kaggle did not accept the kernel, or its answer was lost.
    """
    plan = built.plan
    wanted = entry(built, push_log.BUILT)
    push_log.put(runs_dir, wanted)
    seconds = int(60 * (plan.limit_minutes + SESSION_SLACK_MINUTES))
    accelerator = str(built.metadata.get("machine_shape", "")) or None
    taken = client.push(folder, accelerator=accelerator, session_seconds=seconds)
    pushed = dataclasses.replace(
        wanted, ref=taken.ref, version=taken.version, url=taken.url, utc=push_log.utc_now(), state=push_log.PUSHED
    )
    push_log.put(runs_dir, pushed)
    return pushed


def look(client: Client, push: Push, runs_dir: Path) -> tuple[KernelState, bool]:
    """The kernel's state, and whether it certainly belongs to this push.

    Kaggle reports the state of the kernel: just after a push, that can be the state of the previous version. An end
    belongs to this push if Kaggle was asked for its version; or else, if no later version was pushed from here, if it
    was seen waiting or running, or is the first one and the client cannot ask for versions.
    """
    state, sure = _state(client, push)
    first = push.version == 1 and not client.knows_versions
    if not push.seen and (sure or first or state.word in ("queued", "running")):
        push = dataclasses.replace(push, seen=True)
        push_log.put(runs_dir, push)
    later = [one for one in push_log.read(runs_dir) if one.ref == push.ref and one.version > push.version]
    return state, sure or (push.seen and not later)


def _state(client: Client, push: Push) -> tuple[KernelState, bool]:
    """The state, and whether it is that of the version."""
    if push.version and client.knows_versions:
        with contextlib.suppress(UnknownSlug, UnknownAnswer):  # then ask for the kernel alone
            return client.kernel_state(push.versioned), True
    return client.kernel_state(push.ref), False


def tell(push: Push, state: KernelState, sure: bool) -> str:
    """The state in one line."""
    line = f"{push.name}: {state.word}"
    if state.word == "unknown":
        line += f" (Kaggle says {state.raw!r})"
    line += f", pushed {push_log.minutes_since(push.utc):.0f} minutes ago"
    if not sure and state.word in ENDED:
        line += "; this may be the end of another version"
    return line + (f"; {state.failure}" if state.failure else "")


def wait(
    client: Client,
    push: Push,
    runs_dir: Path,
    deadline_minutes: float,
    ours: Callable[[], bool],
) -> KernelState:
    """Poll until the kernel has ended; `ours` is called if an end may be that of an older version.

    Raises:
        TimedOut: the kernel had not ended by the deadline. It continues on Kaggle; fetch it later.
    """
    end = _clock() + 60 * deadline_minutes
    line = Line()
    trouble = ""
    try:
        while True:
            try:
                state, sure = look(client, push_log.choose(runs_dir, push.run_id), runs_dir)
                line(tell(push, state, sure))
                trouble = ""
                if state.word in ENDED and (sure or ours()):
                    return state
            except UnknownSlug:  # a kernel just made is not known everywhere at once
                line(f"{push.name}: not listed yet")
            except PASSING as error:  # hours lie before the deadline; the kernel runs on without us
                trouble = f" (at last Kaggle could not be asked: {_cause(error)})"
                line(f"{push.name}: no answer, asking again ({_cause(error)})")
            if _clock() + POLL_SECONDS > end:
                raise TimedOut(
                    f"{push.ref} had not ended after {deadline_minutes:g} minutes and continues on Kaggle{trouble}; "
                    f"see its state with {_command('status', push, runs_dir)}, download the results with "
                    f"{_command('fetch', push, runs_dir)}"
                )
            _sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        line.close()
        print(
            f"{push.name} continues on Kaggle; download the results with {_command('fetch', push, runs_dir)}",
            flush=True,
        )
        raise
    finally:
        line.close()


def patiently(fetch: Callable[[], None], push: Push, runs_dir: Path, attempts: int = FETCH_ATTEMPTS) -> None:
    """Fetch the output of a kernel that `wait` saw end, with more attempts while Kaggle cannot be asked.

    Raises:
        TimedOut: no attempt succeeded; the message names the command that fetches later, since to run the same command
            again would push a second version.
    """
    for attempt in range(1, attempts + 1):
        try:
            return fetch()
        except PASSING as error:
            if attempt == attempts:
                raise TimedOut(
                    f"{push.name} has ended, but its output could not be downloaded ({_cause(error)}); download it "
                    f"later with {_command('fetch', push, runs_dir)}"
                ) from None
            print(f"{push.name}: no answer, asking again ({_cause(error)})", flush=True)
            _sleep(POLL_SECONDS)
    return None


def refuse_open(pushes: Sequence[Push], ref: str, yes: bool) -> None:
    """Ask before a push over a version of the same kernel that is not fetched; `yes`: the option --yes was given.

    Raises:
        FerKitError: the user does not agree, or there is no terminal to ask.
    """
    opened = [push for push in pushes if push.ref == ref and push.state == push_log.PUSHED]
    if not opened:
        return
    last = opened[-1]
    print(
        f"{last.name} was pushed {push_log.minutes_since(last.utc):.0f} minutes ago and is not fetched; both versions "
        "would run, and a client before kaggle 2.2.5 can only fetch the newer one"
    )
    if not confirmed("Push another version?", yes):
        raise FerKitError(
            f"{ref}: not pushed; fetch the open version with python -m kernels fetch {last.run_id}, or choose another "
            "--title"
        )


def _cause(error: Exception) -> str:
    return str(error).split(";")[0]


def _command(name: str, push: Push, runs_dir: Path) -> str:
    runs = "" if runs_dir == Path("runs") else f" --runs {shlex.quote(str(runs_dir))}"
    return f"python -m kernels {name} {push.run_id}{runs}"


class Line:
    """One progress line: rewritten in place on a terminal, else printed when its first words change."""

    def __init__(self) -> None:
        self.shown = ""
        self.live = sys.stdout.isatty()

    def __call__(self, text: str) -> None:
        """Show `text`."""
        if self.live:
            print("\r" + text.ljust(len(self.shown)), end="", flush=True)
        elif text.split(",")[0] != self.shown.split(",")[0]:
            print(text, flush=True)
        self.shown = text

    def close(self) -> None:
        """End the line."""
        if self.live and self.shown:
            print()
        self.shown = ""


def failed(push: Push, state: KernelState, log: list[str]) -> KernelFailed:
    """The error for a kernel that failed or was cancelled, with the end of its log."""
    word = {"error": "failed", "cancelled": "was cancelled"}.get(state.word, state.word)
    failure = f" ({state.failure})" if state.failure else ""
    shown = " | ".join(log[-3:]) or f"Kaggle sent none; see {push.page}"
    return KernelFailed(f"{push.name} {word}{failure}; end of its log: {shown}")
