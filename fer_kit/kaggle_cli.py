"""The one seam to Kaggle: the `kaggle` program as a subprocess, its answers as types, its failures as errors."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMPETITION = "challenges-in-representation-learning-facial-expression-recognition-challenge"
RULES_URL = f"https://www.kaggle.com/competitions/{COMPETITION}/rules"


@dataclass(frozen=True)
class Pushed:
    """A kernel version that Kaggle took, as its answer names it."""

    owner: str
    slug: str
    version: int
    url: str

    @property
    def ref(self) -> str:
        """What the other commands call it: "owner/slug"."""
        return f"{self.owner}/{self.slug}"


@dataclass(frozen=True)
class KernelState:
    """State of a kernel's latest session, which just after a push can be that of the run before.

    word is "queued", "running", "complete", "error", "cancelled" or "unknown"; raw is Kaggle's word; failure its
    message, "" where there is none.
    """

    word: str
    raw: str
    failure: str


@dataclass(frozen=True)
class Submission:
    """An entry of the competition. status is "pending", "complete", "error" or "unknown";

    Scores are accuracies in 0..1, None while there is none.
    """

    ref: str
    file_name: str
    date: str
    description: str
    status: str
    public: float | None
    private: float | None
    error: str


@dataclass(frozen=True)
class Limits:
    """Entries made today and in all (None: not said), and how many may be made now."""

    today: int | None
    total: int | None
    left_now: int


@dataclass(frozen=True)
class Timeouts:
    """Patience with the client, and the pauses between attempts."""

    call_seconds: float = 180.0
    transfer_seconds: float = 3600.0
    attempts: int = 5
    pause_seconds: float = 2.0
    longest_pause_seconds: float = 120.0


class Client:
    """Runs the kaggle program; every method raises a `fer_kit.kaggle_errors.KaggleError` where it fails."""

    def __init__(
        self,
        *,
        environ: Mapping[str, str] | None = None,
        sleep: Callable[[float], None] = time.sleep,
        random: Callable[[], float] = random.random,
        timeouts: Timeouts | None = None,
    ) -> None:
        self._environ, self._sleep, self._random = environ, sleep, random
        self._timeouts = timeouts or Timeouts()

    def user(self) -> str:
        """The owner's name that belongs to the credentials (NoCredentials without any)."""
        raise NotImplementedError

    def download_competition(self, slug: str, folder: Path, *, timeout_s: float) -> Path:
        """Fetch `<folder>/<slug>.zip` and check that it is a zip."""
        raise NotImplementedError

    def push(self, folder: Path, *, accelerator: str | None = None, session_seconds: int | None = None) -> Pushed:
        """Push the kernel in `folder`, which starts a run."""
        raise NotImplementedError

    def kernel_state(self, ref: str) -> KernelState:
        """State of the latest session of kernel "owner/slug"."""
        raise NotImplementedError

    def kernel_output(self, ref: str, folder: Path) -> list[Path]:
        """Fetch a kernel's output files and log (`<slug>.log`) into `folder`, which is new or empty."""
        raise NotImplementedError

    def submit(self, slug: str, file: Path, message: str) -> None:
        """Upload `file` as an entry. Never tried twice: AnswerLost where the answer got lost on the way."""
        raise NotImplementedError

    def submissions(self, slug: str, *, pages: int = 50) -> list[Submission]:
        """Own entries, newest first, from all pages (at most `pages`)."""
        raise NotImplementedError

    def submission_limits(self, slug: str) -> Limits:
        """How many entries were made and may be made now."""
        raise NotImplementedError

    def quota(self) -> dict[str, Any] | None:
        """Accelerator hours by resource, e.g. {"GPU": {"used": "1.00h", …}}; None where Kaggle says nothing."""
        raise NotImplementedError
