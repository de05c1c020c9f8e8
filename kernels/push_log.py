"""The log of pushes, runs/kernels.json: which kernels were built and pushed, so that fetch needs no arguments."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fer_kit.errors import FerKitError, did_you_mean
from fer_kit.files import atomic, lock

FILE = "kernels.json"
SCHEMA = 1
_LOCK_PATIENCE_SECONDS = 20.0
BUILT, PUSHED, FETCHED = "built", "pushed", "fetched"


@dataclass(frozen=True)
class Push:
    """One version of a kernel; a version that was only built may have been pushed by hand.

    version: 0 if Kaggle's answer was not received. seen: a state was seen that certainly belongs to this version.
    """

    run_id: str
    ref: str
    version: int
    url: str
    utc: str
    accelerator: str
    run: str
    folds: tuple[int, ...]
    limit_minutes: float
    bundle_sha256: str
    commit: str
    state: str
    seen: bool = False

    @property
    def name(self) -> str:
        """The name in messages."""
        return f"{self.ref} version {self.version}" if self.version else self.ref

    @property
    def page(self) -> str:
        """The address of the kernel's page."""
        return self.url or f"https://www.kaggle.com/code/{self.ref}"

    @property
    def versioned(self) -> str:
        """The version as "owner/slug/3"."""
        return f"{self.ref}/{self.version}"


def read(runs_dir: Path) -> list[Push]:
    """All entries, oldest first; none if nothing was pushed.

    Raises:
        FerKitError: the file is damaged.
    """
    path = runs_dir / FILE
    if not path.exists():
        return []
    record = atomic.read_json(path)
    try:
        if record["schema"] != SCHEMA:
            raise ValueError(record["schema"])
        return [_push(entry) for entry in record["pushes"]]
    except (KeyError, TypeError, ValueError):
        raise FerKitError(
            f"{path}: not a log of pushes of this version of fer_kit; move it away, then name the kernel"
        ) from None


def _push(entry: dict[str, Any]) -> Push:
    """The entry of kernels.json as a record; KeyError, TypeError or ValueError for anything else."""
    push = Push(**{**entry, "folds": tuple(entry["folds"])})
    for field in dataclasses.fields(Push):
        value = getattr(push, field.name)
        kinds = {"str": (str,), "int": (int,), "float": (int, float), "bool": (bool,)}.get(str(field.type), (tuple,))
        if type(value) not in kinds or (isinstance(value, str) and not value.isprintable()):
            raise TypeError(field.name)
    if any(type(fold) is not int for fold in push.folds):
        raise TypeError("folds")
    minutes_since(push.utc)
    return push


def put(runs_dir: Path, push: Push) -> None:
    """Add `push`, or replace the entry with its run id; entries of other processes stay."""
    with lock.held(runs_dir / FILE, "another process writes to this file", _LOCK_PATIENCE_SECONDS):
        atomic.sweep(runs_dir, FILE)
        pushes = read(runs_dir)
        places = [index for index, entry in enumerate(pushes) if entry.run_id == push.run_id]
        if places:
            pushes[places[0]] = push
        else:
            pushes.append(push)
        content = {"schema": SCHEMA, "pushes": [dataclasses.asdict(entry) for entry in pushes]}
        atomic.write_json(runs_dir / FILE, content)


def choose(runs_dir: Path, name: str | None) -> Push:
    """The newest entry called `name` (slug, owner/slug or run id); without a name the newest push not fetched yet.

    Raises:
        FerKitError: there is no such entry; the message lists the entries.
    """
    pushes = read(runs_dir)
    if name is not None:
        found = [push for push in pushes if name in (push.ref, push.ref.partition("/")[2], push.run_id)]
        if not found:
            known = sorted({push.ref.partition("/")[2] for push in pushes})
            raise FerKitError(
                f"{runs_dir / FILE}: no kernel '{name}'{did_you_mean(name, known)}; "
                + (f"there are: {', '.join(known)}" if known else "nothing was pushed from here yet")
            )
        return ([push for push in found if push.state != BUILT] or found)[-1]
    opened = [push for push in pushes if push.state == PUSHED]
    if opened:
        return opened[-1]
    if not pushes:
        raise FerKitError(f"{runs_dir / FILE}: nothing was pushed from here yet; push with python -m kernels push")
    last = pushes[-1]
    hint = " If you pushed it by hand, name it." if last.state == BUILT else " Name it to look at it again."
    raise FerKitError(f"every push was fetched; the last entry is {last.name}, {last.state} {last.utc}.{hint}")


def utc_now() -> str:
    """The time as 2026-01-31T12:00:00Z."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def minutes_since(utc: str) -> float:
    """Minutes from a time of `utc_now` until now."""
    return (datetime.now(UTC) - datetime.fromisoformat(utc)).total_seconds() / 60
