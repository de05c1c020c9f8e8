"""Kaggle credentials: where the client finds them, and how they are kept out of messages."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_kit.kaggle import secret_values
from fer_kit.kaggle.errors import NoCredentials, UnknownAnswer

SETTINGS_URL = "https://www.kaggle.com/settings/api"
HOW_TO_SET = (
    f"make a token at {SETTINGS_URL} and set KAGGLE_API_TOKEN to it (or set KAGGLE_USERNAME and KAGGLE_KEY, or put "
    "kaggle.json into ~/.kaggle)"
)

# Other KAGGLE_* variables become settings of the client too (a default competition, a download folder).
_PASSED_ON = {"USERNAME", "KEY", "API_TOKEN", "CONFIG_DIR", "API_ENVIRONMENT", "PROXY", "SSL_CA_CERT"}
_DROPPED = {"VERBOSE", "VERBOSE_OUTPUT"}  # they make the client print the Authorization header
_SHORTEST_SECRET = 4
_QUERY = re.compile(r"(https?://[^\s?'\"]+|/[\w./%-]+)\?[^\s'\")]+")
_TOKEN = re.compile(r"\bKGAT_[\w-]+|(?<=Bearer )\S+|(?<=Basic )\S+")


@dataclass(frozen=True)
class Credentials:
    """What the client will use. `username` is "" if only Kaggle knows it; `source` names the place for messages."""

    username: str
    source: str


def client_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` for the client's process, without variables that change its behaviour or make it print secrets.

    White space and byte order marks around the values of KAGGLE_* are removed: .env files with Windows line ends
    leave them there.

    Raises:
        UnknownAnswer: KAGGLE_API_ENVIRONMENT has a value that the client would silently take for Kaggle itself.
        NoCredentials: the user name, key or token has a character that none can have.
    """
    environ = {name: _stripped(value) if name.startswith("KAGGLE_") else value for name, value in environ.items()}
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN"):
        if not re.fullmatch(r"[!-~]*", environ.get(name, "")) and not (
            name == "KAGGLE_API_TOKEN" and Path(environ[name]).exists()
        ):
            raise NoCredentials(f"{name} holds white space or a character outside ASCII; set it again, {HOW_TO_SET}")
    target = environ.get("KAGGLE_API_ENVIRONMENT", "PROD")
    if target not in ("PROD", "LOCALHOST"):
        raise UnknownAnswer(
            f"KAGGLE_API_ENVIRONMENT is '{target}': the client knows PROD and LOCALHOST and takes any other value for "
            "PROD; unset it"
        )
    kept = {
        name: value
        for name, value in environ.items()
        if name not in _DROPPED
        and not name.startswith("PYTHON")
        and (not name.startswith("KAGGLE_") or name.removeprefix("KAGGLE_") in _PASSED_ON)
    }
    return kept | {"PYTHONUTF8": "1"}


def find(environ: Mapping[str, str]) -> Credentials:
    """The credentials that the client will use, looked for in its order.

    Raises:
        NoCredentials: there are none.
    """
    home = _home(environ)
    if environ.get("KAGGLE_API_TOKEN"):
        return Credentials("", "KAGGLE_API_TOKEN")
    for name in ("access_token", "access_token.txt"):
        if text := _text(home / ".kaggle" / name):
            if text.startswith("\ufeff"):
                raise NoCredentials(
                    f"{home / '.kaggle' / name} begins with a byte order mark, which the client sends to Kaggle with "
                    "the token; save the file as UTF-8 without BOM"
                )
            return Credentials("", str(home / ".kaggle" / name))
    file = _config_dir(environ) / "kaggle.json"
    stored = _json(file)
    username = environ.get("KAGGLE_USERNAME") or stored.get("username")
    if username and (environ.get("KAGGLE_KEY") or stored.get("key")):
        return Credentials(str(username), "KAGGLE_KEY" if environ.get("KAGGLE_KEY") else str(file))
    login = home / ".kaggle" / "credentials.json"
    if _json(login).get("refresh_token"):
        return Credentials(str(_json(login).get("username") or ""), str(login))
    half = "KAGGLE_USERNAME" if environ.get("KAGGLE_USERNAME") else "KAGGLE_KEY" if environ.get("KAGGLE_KEY") else ""
    raise NoCredentials(f"no Kaggle credentials found{f' ({half} alone is not enough)' if half else ''}; {HOW_TO_SET}")


class Mask:
    """Replaces secrets in texts: the values of `secret_values.known`, tokens, and the queries of signed URLs."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        secrets = set(secret_values.known(environ, _SHORTEST_SECRET).values())
        names = {
            environ.get("KAGGLE_USERNAME", ""),
            str(_json(_config_dir(environ) / "kaggle.json").get("username", "")),
        }
        secrets |= {base64.b64encode(f"{name}:{secret}".encode()).decode() for name in names for secret in secrets}
        self._secrets = sorted(secrets, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """`text` with "***" for every secret."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return _TOKEN.sub("***", _QUERY.sub(r"\1?***", text))


def _stripped(value: str) -> str:
    return value.strip().strip("\ufeff").strip()


def _home(environ: Mapping[str, str]) -> Path:
    return Path(environ["HOME"]) if environ.get("HOME") else Path.home()


def _config_dir(environ: Mapping[str, str]) -> Path:
    if environ.get("KAGGLE_CONFIG_DIR"):
        return Path(environ["KAGGLE_CONFIG_DIR"])
    old = _home(environ) / ".kaggle"
    return old if old.exists() else Path(environ.get("XDG_CONFIG_HOME") or _home(environ) / ".config") / "kaggle"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):  # missing or not text: the client ignores it too
        return ""


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(_text(path) or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
