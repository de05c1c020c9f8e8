"""Marks by which a cache is known as written by this user from these source files.

A folder of runs can be copied from somebody else, with a cache whose rows are not those of the source files although
its digests are consistent. A mark is an HMAC with a secret that stays in the user's own cache folder, so a cache
without this user's mark is read from the source files once.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import sys
from pathlib import Path

SECRET = "fer_kit/cache.key"  # below $XDG_CACHE_HOME or ~/.cache
SECRET_BYTES = 32


def mark_of(key: str, digest: str) -> tuple[str, str] | None:
    """The name and the value of this user's mark for rows with `digest` of the source files with `key`.

    None if the user's cache folder cannot be written; stderr then has a line.
    """
    secret = _secret()
    if secret is None:
        return None
    name = hashlib.sha256(secret).hexdigest()[:8]
    return name, hmac.new(secret, f"{key} {digest}".encode(), "sha256").hexdigest()


def _secret() -> bytes | None:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    path = Path(home) / SECRET
    try:
        with contextlib.suppress(FileNotFoundError):
            if len(known := path.read_bytes()) == SECRET_BYTES:
                return known
            path.unlink()  # cut short, as by a full disk
        path.parent.mkdir(parents=True, exist_ok=True)
        made, aside = secrets.token_bytes(SECRET_BYTES), path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(made)
        try:
            os.link(aside, path)  # fails if another process was first
        except FileExistsError:
            made = path.read_bytes()
        finally:
            aside.unlink()
        return made if len(made) == SECRET_BYTES else None
    except OSError as error:
        print(f"warning: {path} cannot be written ({error.strerror}), so the data are read again", file=sys.stderr)
        return None
