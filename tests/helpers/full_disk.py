"""Disks that are full or refuse to be written, for tests: for one file, or for all beyond a size."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import resource
from collections.abc import Iterator
from typing import Any

import pytest


@contextlib.contextmanager
def refusing(name: str, error: int = errno.ENOSPC, after: int = 0) -> Iterator[list[str]]:
    """Writing the file called `name` fails with the system's `error`, after it was written `after` times.

    Gives the names of the files that were begun. Only what goes through `fer_kit.files` is looked at.
    """
    whole, begun = os.open, list[str]()

    def opened(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if temporary := re.fullmatch(r"\.(.+)\.\w+\.part", os.path.basename(path)) if flags & os.O_CREAT else None:
            begun.append(temporary[1])
            if begun.count(name) > after and begun[-1] == name:
                raise OSError(error, os.strerror(error))
        return whole(path, flags, *rest, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", opened)
        yield begun


@contextlib.contextmanager
def no_file_beyond(most_bytes: int) -> Iterator[None]:
    """This process can write no file larger than `most_bytes`: the system itself cuts it off there."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What the command said on stderr: one line without a traceback."""
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and told.startswith("error: "), told
    return told
