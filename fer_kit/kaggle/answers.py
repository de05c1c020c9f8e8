"""Parse the output of the kaggle client into types."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fer_kit.errors import one_line
from fer_kit.kaggle.errors import UnknownAnswer
from fer_kit.kaggle.faults import last_line

_PUSHED = re.compile(r"Kernel version ?(\d*) successfully pushed\.\s+Please check progress at ([!-~]+)")
_STATUS = re.compile(r'has status "(?:\w+\.)?(\w+)"')
_FAILURE = re.compile(r'Failure message: "(.*)"', re.DOTALL)
# The last line of a traceback up to kaggle 2.2.4, the only line from 2.2.5 on.
_UNREADABLE_WORD = re.compile(r"(?:kagglesdk.*|\A\s*)^KeyError: '(\w+)'\s*\Z", re.DOTALL | re.MULTILINE)
_SOURCES = re.compile(r"not valid (\w+ sources?) and could not be added to the kernel: (\[.*\])")

_KERNEL_WORDS = {
    "QUEUED": "queued",
    "NEW_SCRIPT": "queued",
    "RUNNING": "running",
    "COMPLETE": "complete",
    "ERROR": "error",
    "CANCEL_REQUESTED": "cancelled",
    "CANCEL_ACKNOWLEDGED": "cancelled",
}
_SUBMISSION_WORDS = {"PENDING": "pending", "COMPLETE": "complete", "ERROR": "error"}


@dataclass(frozen=True)
class Pushed:
    """A kernel version that Kaggle accepted; version is 0 if the answer does not contain the number."""

    owner: str
    slug: str
    version: int
    url: str

    @property
    def ref(self) -> str:
        """The kernel as "owner/slug", for other commands."""
        return f"{self.owner}/{self.slug}"


@dataclass(frozen=True)
class KernelState:
    """State of the latest session of a kernel; shortly after a push this can be the session before.

    word: "queued", "running", "complete", "error", "cancelled" or "unknown" (query again, within a deadline). raw:
    Kaggle's word. failure: Kaggle's failure message, or "".
    """

    word: str
    raw: str
    failure: str


@dataclass(frozen=True)
class Submission:
    """An entry of the competition.

    date: ISO 8601 in UTC. status: "pending", "complete", "error" or "unknown". public, private: accuracies from 0 to 1,
    None before the entry is scored. error: the page that shows the reason if the entry could not be scored, since the
    client does not print the reason; else "".
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
    """Number of entries made today and in total (None if unknown), and number of entries that are allowed now.

    All are 0 if the account has not joined the competition.
    """

    today: int | None
    total: int | None
    left_now: int


def pushed(text: str) -> Pushed | None:
    """Parse the output of a push; None if `text` does not report a successful push."""
    found = _PUSHED.search(text)
    if found is None:
        return None
    path = found[2].split("?")[0].rstrip("/").split("/")
    if len(path) < 2 or not re.fullmatch(r"[\w-]+", path[-1]) or not re.fullmatch(r"[\w-]+", path[-2]):
        return None
    return Pushed(path[-2], path[-1], int(found[1] or 0), found[2])


def dropped_sources(text: str) -> str:
    """Inputs of a pushed kernel that Kaggle did not accept, or ""."""
    return ", ".join(f"{kind} {names}" for kind, names in _SOURCES.findall(text))


def kernel_state(text: str) -> KernelState:
    """Parse the output of `kernels status`.

    Raises:
        UnknownAnswer: the output has no state.
    """
    found = _STATUS.search(text) or _UNREADABLE_WORD.search(text)
    if found is None:
        raise UnknownAnswer(f'kaggle kernels status printed no status; it printed "{last_line(text)}"')
    failure = _FAILURE.search(text)
    return KernelState(
        _KERNEL_WORDS.get(found[1].upper(), "unknown"), found[1], one_line(failure[1]) if failure else ""
    )


def unreadable_word(text: str) -> str:
    """A status word that the client does not know (the client stops with a KeyError), else ""."""
    found = _UNREADABLE_WORD.search(text)
    return found[1] if found else ""


def submissions(text: str, slug: str) -> list[Submission]:
    """Parse the output of `competitions submissions --format json`; newest entries first.

    Raises:
        UnknownAnswer: the output is neither JSON nor the message for an empty list.
    """
    if "No submissions found" in text:
        return []
    rows = _json(text, list, "competitions submissions")
    found = [_submission(row, slug) for row in rows if isinstance(row, dict)]
    return sorted(found, key=lambda entry: entry.date, reverse=True)


def limits(text: str) -> Limits:
    """Parse the output of `competitions submission-limits --json`; the client omits zeros, so missing values are 0.

    Raises:
        UnknownAnswer: the output is not a JSON object.
    """
    value = _json(text, dict, "competitions submission-limits")
    names = ("numToday", "numTotal", "numAllowedNow")
    for name in names:
        if type(value.get(name, 0)) is not int or value.get(name, 0) < 0:
            raise UnknownAnswer(f"kaggle competitions submission-limits: {name} is {value[name]!r}, not a number")
    return Limits(*(value.get(name, 0) for name in names))


def _submission(row: dict[str, Any], slug: str) -> Submission:
    word = str(row.get("status") or "").rpartition(".")[2].upper()
    status = _SUBMISSION_WORDS.get(word, "unknown")
    page = f"https://www.kaggle.com/competitions/{slug}/submissions"
    return Submission(
        ref=_text(row.get("ref")),
        file_name=_text(row.get("fileName")),
        date=_date(row.get("date")),
        description=_text(row.get("description")),
        status=status,
        public=_score(row.get("publicScore")),
        private=_score(row.get("privateScore")),
        error=f"Kaggle could not score it; the reason is shown on {page}" if status == "error" else "",
    )


def _text(value: Any) -> str:
    return one_line(str(value or ""))


def _score(value: Any) -> float | None:
    """A finite number; None, "" and "None" mean that there is no score."""
    try:
        score = float(value)
    except (TypeError, ValueError):
        return None
    return score if math.isfinite(score) else None


def _date(value: Any) -> str:
    """Time in UTC without an offset; the client prints offsets for some times, and only from 2.2.5 on."""
    text = _text(value)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return text
    return (time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time).isoformat(timespec="seconds")


def _json(text: str, kind: type, command: str) -> Any:
    """Parse the JSON value in `text`; warnings of the client may come before it."""
    start = re.search(r"^[\[{]", text, re.MULTILINE)
    try:
        value = json.loads(text[start.start() :]) if start else None
    except ValueError:
        value = None
    if not isinstance(value, kind):
        raise UnknownAnswer(f'kaggle {command} printed no JSON {kind.__name__}; it printed "{last_line(text)}"')
    return value
