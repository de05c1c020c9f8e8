"""The client's printed answers as types."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fer_kit.kaggle.errors import UnknownAnswer
from fer_kit.kaggle.faults import last_line

_PUSHED = re.compile(r"Kernel version ?(\d*) successfully pushed\.\s+Please check progress at (\S+)")
_STATUS = re.compile(r'has status "(?:\w+\.)?(\w+)"')
_FAILURE = re.compile(r'Failure message: "(.*)"', re.DOTALL)
# up to kaggle 2.2.4 the last line of a traceback, from 2.2.5 on the only one
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
    """A kernel version that Kaggle took, as its answer names it; version is 0 where the answer does not say."""

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

    word is "queued", "running", "complete", "error", "cancelled" or "unknown" (go on asking, within a deadline); raw is
    Kaggle's word; failure its message, "" where there is none.
    """

    word: str
    raw: str
    failure: str


@dataclass(frozen=True)
class Submission:
    """An entry of the competition. status is "pending", "complete", "error" or "unknown".

    Scores are accuracies in 0..1, None while there is none; date is ISO 8601 in UTC; error, where the entry could not
    be scored, says where the reason can be read, since the client does not print it.
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
    """Entries made today and in all (None: not said), and how many may be made now.

    All are zero for somebody who has not joined the competition yet.
    """

    today: int | None
    total: int | None
    left_now: int


def pushed(text: str) -> Pushed | None:
    """What was pushed, None where `text` does not say that anything was."""
    found = _PUSHED.search(text)
    if found is None:
        return None
    path = found[2].split("?")[0].rstrip("/").split("/")
    if len(path) < 2 or not re.fullmatch(r"[\w-]+", path[-1]) or not re.fullmatch(r"[\w-]+", path[-2]):
        return None
    return Pushed(path[-2], path[-1], int(found[1] or 0), found[2])


def dropped_sources(text: str) -> str:
    """The inputs that a push left out because Kaggle did not take them, "" where there are none."""
    return ", ".join(f"{kind} {names}" for kind, names in _SOURCES.findall(text))


def kernel_state(text: str) -> KernelState:
    """The state that `kernels status` printed.

    Raises:
        UnknownAnswer: no state in it.
    """
    found = _STATUS.search(text) or _UNREADABLE_WORD.search(text)
    if found is None:
        raise UnknownAnswer(f'kaggle kernels status printed no status; it printed "{last_line(text)}"')
    failure = _FAILURE.search(text)
    return KernelState(_KERNEL_WORDS.get(found[1].upper(), "unknown"), found[1], failure[1] if failure else "")


def unreadable_word(text: str) -> str:
    """A status word that the client itself does not know (it then stops with a KeyError), else ""."""
    found = _UNREADABLE_WORD.search(text)
    return found[1] if found else ""


def submissions(text: str, slug: str) -> list[Submission]:
    """The entries that `competitions submissions --format json` printed, newest first.

    Raises:
        UnknownAnswer: neither JSON nor the words for an empty list.
    """
    if "No submissions found" in text:
        return []
    rows = _json(text, list, "competitions submissions")
    found = [_submission(row, slug) for row in rows if isinstance(row, dict)]
    return sorted(found, key=lambda entry: entry.date, reverse=True)


def limits(text: str) -> Limits:
    """What `competitions submission-limits --json` printed. The client leaves zeros out, so what is missing is 0.

    Raises:
        UnknownAnswer: not a JSON object.
    """
    value = _json(text, dict, "competitions submission-limits")
    today, total, left = (int(value.get(name) or 0) for name in ("numToday", "numTotal", "numAllowedNow"))
    return Limits(today, total, left)


def _submission(row: dict[str, Any], slug: str) -> Submission:
    word = str(row.get("status") or "").rpartition(".")[2].upper()
    status = _SUBMISSION_WORDS.get(word, "unknown")
    page = f"https://www.kaggle.com/competitions/{slug}/submissions"
    return Submission(
        ref=str(row.get("ref") or ""),
        file_name=str(row.get("fileName") or ""),
        date=_date(row.get("date")),
        description=str(row.get("description") or ""),
        status=status,
        public=_score(row.get("publicScore")),
        private=_score(row.get("privateScore")),
        error=f"Kaggle could not score it; the reason is shown on {page}" if status == "error" else "",
    )


def _score(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):  # None, "" and "None" all mean: no score
        return None


def _date(value: Any) -> str:
    """Time in UTC without an offset, which the client prints for some times, and only from 2.2.5 on."""
    text = str(value or "")
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return text
    return (time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time).isoformat(timespec="seconds")


def _json(text: str, kind: type, command: str) -> Any:
    """The JSON value in `text`; warnings of the client may stand before it."""
    start = re.search(r"^[\[{]", text, re.MULTILINE)
    try:
        value = json.loads(text[start.start() :]) if start else None
    except ValueError:
        value = None
    if not isinstance(value, kind):
        raise UnknownAnswer(f'kaggle {command} printed no JSON {kind.__name__}; it printed "{last_line(text)}"')
    return value
