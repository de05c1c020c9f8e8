"""Nothing secret may travel: the values known here, and texts that look like keys, are looked for in all that does."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from fer_kit.errors import FerKitError

SHORTEST = 8  # characters; anything shorter would be found in innocent text
_NAMES = re.compile(r".*(KEY|TOKEN|SECRET|PASSWORD|PASSWD)$")
_SHORTEST_GUESSED = 16  # for variables that are only guessed to be secret by their names
_LOOKS = {
    "a Kaggle token": re.compile(rb"KGAT_[0-9a-zA-Z]{16,}"),
    "a Hugging Face token": re.compile(rb"\bhf_[0-9a-zA-Z]{30,}"),
    "a GitHub token": re.compile(rb"\b(ghp|gho|ghs|github_pat)_[0-9a-zA-Z_]{30,}"),
    "an AWS key": re.compile(rb"\bAKIA[0-9A-Z]{16}\b"),
    "a private key": re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
}


def known(environ: Mapping[str, str]) -> dict[str, str]:
    """Secret values found in the environment and in Kaggle's credential files, by where each was found."""
    home = Path(environ.get("HOME") or "~").expanduser()
    folder = Path(environ.get("KAGGLE_CONFIG_DIR") or home / ".kaggle").expanduser()
    found = {}
    for name, value in environ.items():
        shortest = SHORTEST if name.startswith("KAGGLE_") else _SHORTEST_GUESSED
        if _NAMES.fullmatch(name.upper()) and len(value) >= shortest:
            found[f"${name}"] = value
    for path in {folder / "kaggle.json", home / ".kaggle" / "kaggle.json", home / ".config/kaggle/kaggle.json"}:
        try:
            key = json.loads(path.read_text(encoding="utf-8"))["key"]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # no credentials there: nothing to keep
        if isinstance(key, str) and len(key) >= SHORTEST:
            found[str(path)] = key
    token = Path(environ.get("KAGGLE_API_TOKEN") or home / ".kaggle" / "access_token")
    for path in (token, home / ".kaggle" / "access_token", folder / "access_token"):
        try:
            value = path.read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            continue
        if len(value) >= SHORTEST:
            found[str(path)] = value
    return found


def refuse(content: bytes, where: str, secrets: Mapping[str, str]) -> None:
    """Let `content` pass unless it holds a secret.

    Raises:
        FerKitError: it does; the message names the place and whose value it is, never the value.
    """
    for origin, value in secrets.items():
        if value.encode() in content:
            raise FerKitError(f"{where}: holds the secret value of {origin}; take it out before anything is pushed")
    for look, pattern in _LOOKS.items():
        if pattern.search(content):
            raise FerKitError(f"{where}: holds what looks like {look}; take it out before anything is pushed")
