"""Fetching a kernel's output through a client that checks neither names nor contents."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.kaggle.errors import OutputIncomplete

# The client joins each name to its folder and writes there, so "../x" lands outside. It fetches only names that this
# pattern finds: relative ones, with at most three steps upward. Those then land in the folders around the one it was
# given, which are private and temporary, and are found there.
NAME_PATTERN = r"^(?!/)(?!(?:.*(?:^|/)\.\.(?=/|$)){4})[^\\\x00-\x1f]+$"
_DEPTH = ("1", "2", "3", "4", "output")

_PAGES = (b"<!doctype html", b"<html", b"<?xml", b"<error>")
_HEAD_BYTES = 512
_PAGE_SUFFIXES = {".html", ".htm", ".xml", ".svg"}


def fetch_into(folder: Path, ref: str, fetch: Callable[[Path], None]) -> list[Path]:
    """Let `fetch` fill a temporary folder, check it, and only then make it `folder`.

    Args:
        folder: new or empty.
        ref: the kernel, for the words of errors.
        fetch: writes the files below the folder that it is given.

    Returns:
        The files, sorted.

    Raises:
        FerKitError: `folder` is not empty or cannot be written.
        OutputIncomplete: a name leads out of the folder, or a file is an error page.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FerKitError(f"{folder}: is not an empty folder; the output of a kernel goes into a new one")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            suffix=atomic.TEMPORARY_SUFFIX, prefix=f".{folder.name}.", dir=folder.parent
        ) as outer:
            target = Path(outer).joinpath(*_DEPTH)
            target.mkdir(parents=True)
            fetch(target)
            _refuse_strays(Path(outer), target, ref)
            names = sorted(path.relative_to(target) for path in target.rglob("*") if path.is_file())
            _refuse_pages(target, names, ref)
            atomic.move_folder(target, folder)
    except OSError as error:
        raise atomic.unwritable(folder, error) from None
    return [folder / name for name in names]


def error_page(path: Path) -> str:
    """ "an error page (…)" if `path` begins like an error page, else ""."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head.lstrip().lower().startswith(_PAGES) or head.startswith((b'{"code":', b'{"error":')):
        return f'an error page ("{" ".join(head.decode("utf-8", "replace").split())[:80]}")'
    return ""


def _refuse_strays(outer: Path, target: Path, ref: str) -> None:
    strays = [path for path in outer.rglob("*") if path.is_file() and not path.is_relative_to(target)]
    if strays:
        names = ", ".join(sorted(os.path.relpath(path, target) for path in strays))
        raise OutputIncomplete(
            f"the output of kernel '{ref}' has names that lead out of its folder ({names}), so no file was kept; "
            "check the code of the kernel"
        )


def _refuse_pages(target: Path, names: list[Path], ref: str) -> None:
    for name in names:
        page = "" if name.suffix.lower() in _PAGE_SUFFIXES else error_page(target / name)
        if page:
            raise OutputIncomplete(f"the file '{name}' of kernel '{ref}' is {page}, so no file was kept; fetch again")
