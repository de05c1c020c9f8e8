"""Which commit of this code is running; the only place that runs git.

A repository may come from somebody else. git is therefore run without the programs that a repository can name (hooks,
core.fsmonitor), without GIT_* variables, which hooks and editors set and which lead to another repository, and it is
looked for in absolute folders of PATH alone, so that no program `git` of the current folder is started.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

UNKNOWN = "unknown"
BAKED = "commit.txt"  # beside this file in a wheel, written by setup.py
_ROOT = Path(__file__).resolve().parents[1]  # of this project's repository, or a site-packages folder
_TIMEOUT_SECONDS = 20
_SAFE = ("--no-optional-locks", "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")


def commit(of: Sequence[str] = ()) -> str:
    """The commit of this code, with `+changes` if files differ from it; "unknown (reason)" if it cannot be told.

    Only this project's own repository counts, not one that happens to lie around an installed package; a wheel brings
    the commit that it was built from. The environment variable FER_KIT_COMMIT takes precedence: it is set for code that
    travels without its repository.

    of: git patterns, from the repository's root, of the files whose changes count; all files if empty.
    """
    if given := os.environ.get("FER_KIT_COMMIT"):
        return given
    baked = Path(__file__).with_name(BAKED)
    if baked.is_file():
        return baked.read_text(encoding="ascii", errors="replace").strip()[:100]
    try:
        top = _git("rev-parse", "--show-toplevel", "HEAD")
        if top.returncode:
            return _unknown(_why(top.stderr))
        folder, head = top.stdout.splitlines()
        if Path(folder).resolve() != _ROOT or _git("ls-files", "--error-unmatch", "--", __file__).returncode:
            return _unknown("the code lies in no repository of its own")
        changes = _git(
            "status", "--porcelain", "-uno", "--ignore-submodules=all", "--", *(f":/{pattern}" for pattern in of)
        )
    except FileNotFoundError:
        return _unknown("git is not installed")
    except (OSError, subprocess.TimeoutExpired) as error:
        return _unknown(f"git failed: {type(error).__name__}")
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


def _unknown(reason: str) -> str:
    return f"{UNKNOWN} ({reason})"


def _why(error: str) -> str:
    if "dubious ownership" in error:
        return "git refuses a repository of another user; see safe.directory in git config"
    if "not a git repository" in error:
        return "the code lies in no repository"
    return "git tells no commit"


def _git(*words: str, folder: Path = _ROOT) -> subprocess.CompletedProcess[str]:
    """Run git in `folder`.

    Raises:
        FileNotFoundError: no absolute folder of PATH has git.
    """
    places = [place for place in os.environ.get("PATH", os.defpath).split(os.pathsep) if os.path.isabs(place)]
    program = shutil.which("git", path=os.pathsep.join(places))
    if program is None:
        raise FileNotFoundError("git")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environ |= {"LC_ALL": "C", "PATH": os.pathsep.join(places)}
    command = [program, *_SAFE, "-C", str(folder), *words]
    return subprocess.run(
        command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS
    )
