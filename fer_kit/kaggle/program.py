"""Run the kaggle program with a cleaned environment, a time limit, and repeated attempts with growing pauses."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fer_kit.kaggle import faults
from fer_kit.kaggle.credentials import Mask, client_environ, find
from fer_kit.kaggle.errors import (
    KaggleError,
    NoCredentials,
    RateLimited,
    Stalled,
    TimedOut,
    UnknownAnswer,
    UnknownSlug,
)
from fer_kit.kaggle.faults import TRANSIENT, Subject

# -P: Python must not import a kaggle.py or six.py from the current folder.
_COMMAND = (sys.executable, "-P", "-W", "ignore", "-m", "kaggle", "-W")
_TICK_SECONDS = 0.5


@dataclass(frozen=True)
class Timeouts:
    """Time limits of the client, number of attempts, and pauses between attempts."""

    call_seconds: float = 180.0
    transfer_seconds: float = 86_400.0  # a download, as long as bytes arrive: each attempt may begin anew
    upload_seconds: float = 600.0  # a script or a submission, less than 1 MB
    stalled_seconds: float = 300.0  # a download of which not a byte arrives
    attempts: int = 5
    pause_seconds: float = 2.0
    longest_pause_seconds: float = 120.0


@dataclass(frozen=True)
class Answer:
    """Output of the client without secrets, and its exit code. An exit code of 0 does not mean success."""

    out: str
    err: str
    code: int

    @property
    def text(self) -> str:
        """stdout and stderr; the most important lines come last."""
        return f"{self.out}\n{self.err}"

    @property
    def said(self) -> str:
        """The last line of stderr, else of stdout, which usually has the cause."""
        return faults.last_line(self.err if self.err.strip() else self.out)


class Program:
    """The kaggle program in one environment."""

    def __init__(
        self,
        environ: Mapping[str, str],
        sleep: Callable[[float], None],
        random: Callable[[], float],
        timeouts: Timeouts,
    ) -> None:
        self.environ, self.timeouts = client_environ(environ), timeouts
        self._sleep, self._random = sleep, random

    def run(
        self,
        subject: Subject,
        *words: str,
        timeout_s: float | None = None,
        again: Callable[[KaggleError], bool] | None = None,
        accept: Callable[[Answer], bool] | None = None,
        tick: Callable[[], None] | None = None,
        arrived: Callable[[], int] | None = None,
    ) -> Answer:
        """Run `kaggle <words>`, with more attempts after transient failures.

        Args:
            subject: the object of the command, for messages.
            words: the command.
            timeout_s: time limit of one attempt, in seconds.
            again: decides whether a transient failure is followed by another attempt; default: always.
            accept: decides whether an answer is accepted although the exit code is not 0; default: never.
            tick: called about twice a second while the client runs.
            arrived: counts the bytes that a download has saved; without a change of this number for
                `timeouts.stalled_seconds` the attempt has failed.

        Raises:
            Stalled: the last attempt received no byte for too long.
            KaggleError: the client exited with a code other than 0.
        """
        source = find(self.environ).source
        pause = self.timeouts.pause_seconds
        for attempt in range(1, self.timeouts.attempts + 1):
            try:
                answer = self.once(subject, *words, timeout_s=timeout_s, tick=_watched(tick, arrived, self.timeouts))
            except Stalled:
                if attempt == self.timeouts.attempts:
                    raise
                continue
            if answer.code == 0 or (accept is not None and accept(answer)):
                return answer
            error = self.fault(subject, answer, source, attempt)
            if isinstance(error, UnknownSlug) and subject.kind == "kernel" and self._refuses_credentials():
                raise faults.sentence(NoCredentials, subject, answer.said, source)
            if not isinstance(error, TRANSIENT) or attempt == self.timeouts.attempts:
                raise error
            if again is not None and not again(error):
                raise error
            requested = faults.retry_after_seconds(answer.text) if isinstance(error, RateLimited) else None
            if requested is not None and requested > self.timeouts.longest_pause_seconds:
                raise error
            self._sleep(requested if requested is not None else pause * (0.5 + self._random()))
            pause = min(2 * pause, self.timeouts.longest_pause_seconds)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def once(
        self, subject: Subject, *words: str, timeout_s: float | None = None, tick: Callable[[], None] | None = None
    ) -> Answer:
        """Run `kaggle <words>` once; the exit code is not checked.

        Raises:
            TimedOut: the client took longer than `timeout_s` and was killed.
        """
        limit = timeout_s or self.timeouts.call_seconds
        pipe = subprocess.PIPE
        started = (*_COMMAND, *words)
        with subprocess.Popen(
            started,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            encoding="utf-8",
            errors="replace",
        ) as process:
            try:
                out, err = _communicate(process, limit, tick)
            except _NoByteError:
                raise Stalled(
                    f"Kaggle sent no byte of {subject} for {self.timeouts.stalled_seconds:g} s; check the network, "
                    "then run this command again"
                ) from None
            except subprocess.TimeoutExpired:
                raise TimedOut(
                    f"no answer from Kaggle about {subject} within {limit:g} s; check the network, then run this "
                    "command again"
                ) from None
            finally:
                process.kill()  # no effect if the process has ended; after Ctrl-C the process must not keep running
        mask = Mask(self.environ)
        return Answer(mask(out), mask(faults.without_advice(err)), process.returncode)

    def _refuses_credentials(self) -> bool:
        """Whether Kaggle refuses the credentials: about kernels the client says the same as of an unknown kernel."""
        account = Subject("account", "quota")
        try:
            answer = self.once(account, "quota", "--format", "json")
        except TimedOut:
            return False
        return answer.code != 0 and faults.kind_of(answer.text, account) is NoCredentials

    def fault(self, subject: Subject, answer: Answer, source: str = "", attempts: int = 1) -> KaggleError:
        """Convert a failed answer to an error."""
        missing = re.search(r"No module named '?(\w+)", answer.err)
        if missing:
            return UnknownAnswer(
                f"the kaggle program cannot start ({missing[1]} is not installed); pip install 'kaggle>=2.2.4,<3' six"
            )
        kind = faults.kind_of(answer.text, subject) or UnknownAnswer
        if kind is NoCredentials and not source:
            source = find(self.environ).source
        error = faults.sentence(kind, subject, answer.said, source, attempts)
        unclear = issubclass(kind, (*TRANSIENT, UnknownAnswer)) and kind is not RateLimited
        error.may_have_arrived = unclear and not faults.never_sent(answer.text)
        return error


class _NoByteError(Exception):
    """A download received nothing for too long."""


def _watched(
    tick: Callable[[], None] | None, arrived: Callable[[], int] | None, timeouts: Timeouts
) -> Callable[[], None] | None:
    """A `tick` that also raises `_NoByteError` once `arrived` has not changed for `timeouts.stalled_seconds`."""
    if arrived is None:
        return tick
    size, since = arrived(), time.monotonic()

    def watch() -> None:
        nonlocal size, since
        if tick is not None:
            tick()
        now = arrived()
        if now != size:
            size, since = now, time.monotonic()
        elif time.monotonic() - since > timeouts.stalled_seconds:
            raise _NoByteError

    return watch


def _communicate(process: subprocess.Popen[str], limit_s: float, tick: Callable[[], None] | None) -> tuple[str, str]:
    """Wait for `process` and return its stdout and stderr; raises TimeoutExpired after `limit_s` seconds."""
    deadline = time.monotonic() + limit_s
    while True:
        left = max(0.0, deadline - time.monotonic())
        try:
            return process.communicate(timeout=min(left, _TICK_SECONDS) if tick else left)
        except subprocess.TimeoutExpired:
            if tick is None or left <= _TICK_SECONDS:
                raise
            tick()
