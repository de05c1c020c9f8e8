"""The secrets that this computer is known to hold: one list, to mask them in texts and to keep them out of uploads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

SHORTEST = 8  # characters; anything shorter would be found in innocent text
_SHORTEST_GUESSED = 16  # for variables whose name only suggests a secret
_MOST_BYTES = 1 << 20

_PASSWORD_NAMES = re.compile(r".*(PASSWORD|PASSWD|_PASS)$")  # people choose short ones
_SECRET_NAMES = re.compile(r".*(KEY|TOKEN|SECRET|_PAT)$")
_URL_NAMES = re.compile(r".*_(URL|URI|DSN)$")  # DATABASE_URL=postgres://user:password@host/name

# Files below the home folder (or the folder that a variable names), and the expression whose group is the secret.
_WHOLE = r"\A\s*(\S+)\s*\Z"
_JSON = r'"(?:key|refresh_token|access_token)"\s*:\s*"([^"]+)"'
_FILES = (
    ("KAGGLE_CONFIG_DIR", ".kaggle", "kaggle.json", _JSON),
    ("", ".kaggle", "kaggle.json", _JSON),
    ("XDG_CONFIG_HOME", ".config", "kaggle/kaggle.json", _JSON),
    ("", ".kaggle", "credentials.json", _JSON),  # kaggle auth login
    ("KAGGLE_CONFIG_DIR", ".kaggle", "access_token", _WHOLE),
    ("", ".kaggle", "access_token", _WHOLE),
    ("", ".kaggle", "access_token.txt", _WHOLE),
    ("", "", ".netrc", r"\bpassword\s+(\S+)"),  # wandb login writes its key there
    ("", "", "_netrc", r"\bpassword\s+(\S+)"),
    ("XDG_CONFIG_HOME", ".config", "wandb/settings", r"(?m)^\s*api_key\s*=\s*(\S+)"),
    ("HF_HOME", ".cache/huggingface", "token", _WHOLE),
    ("HF_HOME", ".cache/huggingface", "stored_tokens", r"(?m)^\s*hf_token\s*=\s*(\S+)"),
    ("", ".huggingface", "token", _WHOLE),
    ("", "", ".git-credentials", r"://[^:@/\s]*:([^@\s]+)@"),
    ("XDG_CONFIG_HOME", ".config", "git/credentials", r"://[^:@/\s]*:([^@\s]+)@"),
    ("GH_CONFIG_DIR", ".config/gh", "hosts.yml", r"oauth_token:\s*(\S+)"),
    ("", ".aws", "credentials", r"(?m)^\s*aws_(?:secret_access_key|session_token)\s*=\s*(\S+)"),
    ("", "", ".pypirc", r"(?m)^\s*password\s*[=:]\s*(\S+)"),
)
_FILE_VARIABLES = {"NETRC": r"\bpassword\s+(\S+)", "HF_TOKEN_PATH": _WHOLE, "KAGGLE_API_TOKEN": _WHOLE}


def known(environ: Mapping[str, str], shortest: int = SHORTEST) -> dict[str, str]:
    """Secret values in the environment and in credential files, by the place where each was found.

    environ: the environment; HOME and the variables that move configuration folders are read from it.
    shortest: the fewest characters of a value that counts.
    """
    found: dict[str, str] = {}
    for name, value in environ.items():
        for number, secret in enumerate(_in_variable(name.upper(), value.strip(), shortest)):
            found[f"${name}{_numbered(number)}"] = secret
    for path, pattern in _places(environ):
        secrets = (secret for secret in _in_file(path, pattern) if len(secret) >= shortest)
        for number, secret in enumerate(secrets):
            found[f"{path}{_numbered(number)}"] = secret
    return found


def _in_variable(name: str, value: str, shortest: int) -> list[str]:
    if name.startswith("KAGGLE_") and (_SECRET_NAMES.fullmatch(name) or _PASSWORD_NAMES.fullmatch(name)):
        least = shortest
    elif _PASSWORD_NAMES.fullmatch(name):
        least = SHORTEST
    elif _SECRET_NAMES.fullmatch(name):
        least = _SHORTEST_GUESSED
    elif _URL_NAMES.fullmatch(name):
        try:
            value, least = urlsplit(value).password or "", shortest
        except ValueError:  # not a URL
            return []
    else:
        return []
    return [secret for secret in dict.fromkeys([value, unquote(value)]) if len(secret) >= least]


def _numbered(number: int) -> str:
    return f" ({number + 1})" if number else ""


def _places(environ: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    home = Path(environ["HOME"]) if environ.get("HOME") else Path.home()
    for variable, folder, name, pattern in _FILES:
        yield Path(environ.get(variable) or home / folder) / name, pattern
    for variable, pattern in _FILE_VARIABLES.items():
        if environ.get(variable):
            yield Path(environ[variable]), pattern


def _in_file(path: Path, pattern: str) -> list[str]:
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES).decode("utf-8-sig")
    except (OSError, ValueError):  # not there, or not text
        return []
    found = re.findall(pattern, text)
    return list(dict.fromkeys([*found, *map(unquote, found)]))  # passwords in URLs are quoted
