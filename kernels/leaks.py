"""Refuse to upload secrets: values known on this computer, and texts that look like keys."""

from __future__ import annotations

import re
from collections.abc import Mapping

from fer_kit.errors import FerKitError

_LOOKS = {
    "a Kaggle token": re.compile(rb"KGAT_[0-9a-zA-Z]{16,}"),
    "a Hugging Face token": re.compile(rb"\bhf_[0-9a-zA-Z]{30,}"),
    "a GitHub token": re.compile(rb"\b(ghp|gho|ghs|github_pat)_[0-9a-zA-Z_]{30,}"),
    "an AWS key": re.compile(rb"\bAKIA[0-9A-Z]{16}\b"),
    "a private key": re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
}


def refuse(content: bytes, where: str, secrets: Mapping[str, str]) -> None:
    """Raise FerKitError if `content` holds a secret; the message names `where` and the secret's origin, not its value.

    secrets: values by origin, from `secret_values.known`.
    """
    for origin, value in secrets.items():
        if value.encode() in content:
            raise FerKitError(f"{where}: holds the secret value of {origin}; remove it, then push again")
    for look, pattern in _LOOKS.items():
        if pattern.search(content):
            raise FerKitError(f"{where}: holds what looks like {look}; remove it, then push again")
