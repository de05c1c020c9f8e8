"""Which revision of this code is running."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path


def commit(of: Sequence[str] = ()) -> str:
    """The commit of this code, with `+changes` where files differ from it; "unknown" without git.

    of: patterns of the files that count, as git takes them, from the repository's root; all of them where empty.
    FER_KIT_COMMIT, where it is set, says it instead: for code that travels without its repository.
    """
    if told := os.environ.get("FER_KIT_COMMIT"):
        return told
    git = ["git", "-C", str(Path(__file__).resolve().parent)]
    status = ["status", "--porcelain", "-uno", "--", *(f":/{pattern}" for pattern in of)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=20)
        dirty = subprocess.run([*git, *status], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    if head.returncode:
        return "unknown"
    return head.stdout.strip() + ("+changes" if dirty.stdout.strip() else "")
