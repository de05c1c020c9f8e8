"""Send a model card and files to Hugging Face's hub, through huggingface_hub."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from fer_kit.errors import FerKitError, first_line

INSTALL = "pip install huggingface_hub"
REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_ENDPOINT = "HF_ENDPOINT"  # huggingface_hub's variable for another hub


def check_repo(repo: str) -> None:
    """Raise FerKitError unless `repo` is OWNER/NAME."""
    if not REPO.fullmatch(repo):
        raise FerKitError(f"--push {repo}: give OWNER/NAME, letters, digits, '.', '_' and '-'")


def push(repo: str, card: str, files: Sequence[Path], public: bool) -> str:
    """Make the repository if it is not there, upload the card as README.md and the files; gives its address.

    A new repository is private unless `public`; an old one stays as it is.

    Raises:
        FerKitError: huggingface_hub is not installed, nobody is logged in, or the hub refuses.
    """
    check_repo(repo)
    try:
        import huggingface_hub
    except ImportError:
        raise FerKitError(f"--push needs huggingface_hub; {INSTALL}") from None
    api = huggingface_hub.HfApi(endpoint=os.environ.get(_ENDPOINT))
    try:
        made = api.create_repo(repo, private=not public, exist_ok=True)
        operations = [huggingface_hub.CommitOperationAdd("README.md", card.encode())]
        operations += [huggingface_hub.CommitOperationAdd(file.name, file.read_bytes()) for file in files]
        api.create_commit(repo, operations, commit_message=f"Upload {repo} from fer_kit")
    except Exception as error:  # the hub's errors, those of HTTP, and those of a missing token
        raise FerKitError(
            f"--push {repo}: {first_line(error)}; log in with: hf auth login, or set HF_TOKEN to a token that can write"
        ) from error
    return str(made)
