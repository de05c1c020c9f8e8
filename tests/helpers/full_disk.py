"""Disks that are full or refuse to be written, for tests: for one file, or for all beyond a size."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest


@contextlib.contextmanager
def refusing(name: str, error: int = errno.ENOSPC, after: int = 0) -> Iterator[list[str]]:
    """Writing the file called `name` fails with the system's `error`, after it was written `after` times.

    Gives the names of the files that were begun. Only what goes through `fer_kit.files` is looked at.
    """
    whole, begun = tempfile.mkstemp, list[str]()

    def mkstemp(suffix: str, prefix: str, *rest: Any) -> tuple[int, str]:
        if suffix == ".part":
            begun.append(prefix.strip("."))
            if begun.count(name) > after and begun[-1] == name:
                raise OSError(error, os.strerror(error))
        return whole(suffix, prefix, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "mkstemp", mkstemp)
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
