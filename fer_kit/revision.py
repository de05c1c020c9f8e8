"""Which commit of this code is running."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

UNKNOWN = "unknown"
OTHER_OWNER = "unknown (git refuses a repository of another user; see safe.directory in git config)"
_ROOT = Path(__file__).resolve().parents[1]  # of this project's repository, or a site-packages folder
_TIMEOUT_SECONDS = 20


def commit(of: Sequence[str] = ()) -> str:
    """The commit of this code, with `+changes` if files differ from it; "unknown…" where git does not track this code.

    Only this project's own repository counts, not one that happens to lie around an installed package. The environment
    variable FER_KIT_COMMIT takes precedence: it is set for code that travels without its repository.

    of: git patterns, from the repository's root, of the files whose changes count; all files if empty.
    """
    if given := os.environ.get("FER_KIT_COMMIT"):
        return given
    try:
        top = _git("rev-parse", "--show-toplevel", "HEAD")
        if top.returncode:
            return OTHER_OWNER if "dubious ownership" in top.stderr else UNKNOWN
        folder, head = top.stdout.splitlines()
        if Path(folder).resolve() != _ROOT or _git("ls-files", "--error-unmatch", "--", __file__).returncode:
            return UNKNOWN
        changes = _git("status", "--porcelain", "-uno", "--", *(f":/{pattern}" for pattern in of))
    except (OSError, subprocess.TimeoutExpired):
        return UNKNOWN
    return head + ("+changes" if changes.stdout.strip() else "")


def untracked(folder: Path, pattern: str) -> list[str]:
    """Files below `folder` that match `pattern` and that git neither tracks nor ignores, relative to `folder`; sorted.

    An empty list where `folder` is in no repository, or git is missing.
    """
    try:
        found = _git("ls-files", "--others", "--exclude-standard", "-z", "--", pattern, folder=folder)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return sorted(filter(None, found.stdout.split("\0")))


def _git(*words: str, folder: Path = _ROOT) -> subprocess.CompletedProcess[str]:
    """Run git in `folder`.

    GIT_* variables, which hooks and editors set, would lead git to another repository; core.fsmonitor would run a
    program that a stranger's repository names.
    """
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(folder), *words]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | {"LC_ALL": "C"}
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS)
