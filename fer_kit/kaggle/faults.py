"""Classify the failure messages of the client, and say what the user can do."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fer_kit.competition import COMPETITION
from fer_kit.kaggle import errors
from fer_kit.kaggle.credentials import HOW_TO_SET
from fer_kit.kaggle.errors import KaggleError

TRANSIENT = (errors.RateLimited, errors.NotJson, errors.NetworkGone, errors.ServerTrouble)

# The client prints Kaggle's message, else that of the requests library; the status code is often missing. The first
# pattern that matches decides. Connection errors, whose text has addresses, come before words of refusal.
_PATTERNS: list[tuple[type[KaggleError], str]] = [
    (errors.OutputIncomplete, r"^Refusing to download '"),
    (errors.NoCredentials, r"Authentication required to call the Kaggle API|\b401 Client Error|^unauth|invalid cred"),
    (errors.NetworkGone, r"ConnectionPool|Max retries exceeded|Connection (aborted|broken|reset|refused)|timed out"),
    (errors.NetworkGone, r"RemoteDisconnected|ConnectionError|IncompleteRead|ProxyError|SSLError|name resolution"),
    (errors.NotJson, r"Expecting value: line|JSONDecodeError|Extra data: line|<!DOCTYPE|<html"),
    (errors.RateLimited, r"\b429\b|too many requests|rate.?limit"),
    (errors.ServerTrouble, r"\b5\d\d Server Error|bad gateway|service unavailable|gateway time-?out"),
    (errors.ServerTrouble, r"internal (server )?error|temporarily unavailable"),
    (errors.SessionCapReached, r"session count|maximum .{0,40}sessions?\b"),
    (errors.RulesNotAccepted, r"accept .{0,40}rules|rules .{0,40}accept"),
    (errors.DailyLimitReached, r"(daily|today).{0,60}(submission|allowance|limit)|submission (limit|allowance)"),
    (errors.CompetitionClosed, r"(competition|deadline|submission)\S*.{0,60}(ended|closed|over\b|passed|disabled)"),
    (errors.CompetitionClosed, r"no longer accept|not accept(ing)? .{0,30}submission|past (its |the )?deadline"),
    (errors.UnknownSlug, r"\b404\b|\bnot ?found\b|Cannot access kernel|permission '?[\w.]+'? was (denied|not)"),
    (errors.UnknownSlug, r"could not find competition"),
]
# From 2.2.5 on the client adds advice below Kaggle's message; the advice depends on the status code alone.
_ADVICE = re.compile(
    r"\n\s*\n(You don't have access to this resource|The resource was not found|You have been rate limited|"
    r"This is a problem on Kaggle's side|If this is unexpected, you can re-run).*\Z",
    re.DOTALL,
)
_NEVER_SENT = r"NewConnectionError|NameResolutionError|Failed to establish a new connection|Connection refused"
_RETRY_AFTER = r"(?:retry|try again)[- ](?:after|in)\W{0,3}(\d+(?:\.\d+)?) ?(s\b|sec|m\b|min)?"


@dataclass(frozen=True)
class Subject:
    """The object of a command. kind: "competition", "kernel" or "account". name: a slug or "owner/slug"."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} '{self.name}'"


def rules_url(slug: str) -> str:
    """The page on which the user accepts the rules of a competition."""
    return f"https://www.kaggle.com/competitions/{slug}/rules"


def kind_of(text: str, subject: Subject) -> type[KaggleError] | None:
    """Class of the fault in `text`, the whole output of the client; None if no pattern matches."""
    for kind, pattern in _PATTERNS:
        if re.search(pattern, text, re.IGNORECASE | re.MULTILINE):
            return kind
    if re.search(r"\b403\b|forbidden", text, re.IGNORECASE):
        if "for url" in text and "/v1/" not in text:
            return errors.ServerTrouble  # the signed address of a file had expired; the API did not refuse
        return errors.RulesNotAccepted if subject.kind == "competition" else errors.UnknownSlug
    return None


def without_advice(text: str) -> str:
    """Remove the client's advice from its stderr `text`, since its words could match patterns for Kaggle's messages."""
    return _ADVICE.sub("\n", text)


def never_sent(text: str) -> bool:
    """True if the connection failed before the request was sent."""
    return re.search(_NEVER_SENT, text) is not None


def retry_after_seconds(text: str) -> float | None:
    """The pause in seconds that Kaggle's message names, or None."""
    found = re.search(_RETRY_AFTER, text, re.IGNORECASE)
    if found is None:
        return None
    return float(found[1]) * (60 if (found[2] or "").lower().startswith("m") else 1)


def last_line(text: str, longest: int = 160) -> str:
    """The last line of `text` that is not empty; of a long line the cause, else the first sentence."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    line = lines[-1] if lines else "nothing"
    if len(line) > longest:
        line = line.rpartition("(Caused by ")[2].removeprefix("ProxyError('Unable to connect to proxy', ")
        line = re.sub(r"^\w+\(['\"](.*?)['\"]\)+$", r"\1", line)
        line = re.split(r"(?<=\w\)\.) |(?<=\w\.) ", line, maxsplit=1)[0]
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def sentence(kind: type[KaggleError], subject: Subject, said: str, source: str = "", attempts: int = 1) -> KaggleError:
    """Make the error to raise: the fault and what to do, in one line.

    Args:
        kind: result of `kind_of`.
        subject: the object of the command.
        said: the last line of the client, without secrets.
        source: where the credentials come from.
        attempts: number of attempts.
    """
    tried = f" ({attempts} attempts)" if attempts > 1 else ""
    slug = subject.name if subject.kind == "competition" else COMPETITION
    if kind is errors.NoCredentials:
        return kind(f"Kaggle refuses the credentials from {source or 'this environment'}; {HOW_TO_SET}")
    if kind is errors.UnknownSlug and subject.kind == "competition":
        text = f"Kaggle has no {subject}, or you have not joined it; check the name (fer_kit uses {COMPETITION})"
        return kind(f'{text} and accept its rules at {rules_url(slug)} (Kaggle says "{said}")')
    texts: dict[type[KaggleError], str] = {
        errors.RulesNotAccepted: f"the competition's rules are not accepted yet; open {rules_url(slug)} in a browser, "
        "accept them there (a program cannot), then run this command again",
        errors.UnknownSlug: f"Kaggle has no {subject}, or it is private to another account; check owner and slug in "
        "the address kaggle.com/code/OWNER/SLUG",
        errors.OutputIncomplete: f"the output of {subject} has names that lead out of its folder, so no file was kept; "
        "check the code of the kernel",
        errors.CompetitionClosed: "the competition does not accept submissions now; see "
        f"https://www.kaggle.com/competitions/{slug}",
        errors.DailyLimitReached: "no entries are left today; Kaggle counts days in UTC, so try again after 00:00 UTC",
        errors.SessionCapReached: "the account has the maximal number of running sessions, so no session was "
        "started; wait until a session ends (see https://www.kaggle.com/code), then push again",
        errors.RateLimited: f"Kaggle limits the rate of requests{tried}; wait some minutes, then run this command "
        "again",
        errors.NotJson: f"Kaggle sent a web page instead of data about {subject}{tried}; check that kaggle.com works "
        "in a browser (maintenance, a login page of this network), then run this command again",
        errors.NetworkGone: f"Kaggle cannot be reached{tried}; check the network (proxy, name server), then run this "
        "command again",
        errors.ServerTrouble: f"Kaggle reports a server error{tried}; run this command again later",
    }
    text = texts.get(kind, f"the kaggle client failed for {subject} with a message that fer_kit does not know")
    return kind(f'{text} (Kaggle says "{said}")')
