"""What is killed: a scene is a world of files, a command that changes it, and what must hold whenever it was killed."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Tree = dict[str, object]  # what must repeat, by the path below the scene's folder

VARYING = ("second", "images_per_second", "started", "utc", "written")  # in names of values that time decides


@dataclass(frozen=True)
class Scene:
    """build: fills an empty folder. first, again: the command, and the one that goes on after a kill; exit codes.

    products: what the folder holds in the end and must repeat to the bit. look: asserts what must hold after a kill,
    given the folder and the products of a run that nobody interrupted.
    """

    name: str
    build: Callable[[Path], None]
    first: Callable[[], int]
    again: Callable[[], int]
    products: Callable[[Path], Tree]
    look: Callable[[Path, Tree], None]
    timed: bool = False  # long enough to be killed at random times, too


def visible(folder: Path) -> list[Path]:
    """Files below `folder` on whose path nothing begins with a dot: temporary files and locks do."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    return sorted(path for path in found if not hidden(path, folder))


def hidden(path: Path, folder: Path) -> bool:
    """Whether no reader looks at `path`."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def left_over(folder: Path) -> list[str]:
    """Temporary files and folders below `folder`. An empty lock is none: whoever comes next takes it, see `lock`."""
    found = [path for path in folder.rglob(".*") if not path.name.endswith(".lock")]
    return sorted(os.path.relpath(path, folder) for path in found)


def tree(folder: Path, base: Path) -> Tree:
    """Content of the visible files below `folder`, by the path below `base`; JSON without what time decides."""
    return {path.relative_to(base).as_posix(): content(path) for path in visible(folder)}


def clean_tree(root: Path) -> Tree:
    """All files below the folder; nothing temporary may be left."""
    assert not left_over(root), left_over(root)
    return tree(root, root)


def content(path: Path) -> object:
    """Bytes, or what JSON holds that must repeat; half a JSON text is bytes."""
    with contextlib.suppress(ValueError):
        if path.suffix == ".json":
            return steady(json.loads(path.read_text()))
        if path.suffix == ".jsonl":
            return [steady(json.loads(line)) for line in path.read_text().splitlines()]
    return path.read_bytes()


def steady(value: Any) -> Any:
    """A JSON value without what time decides."""
    if isinstance(value, dict):
        return {key: steady(one) for key, one in value.items() if not any(word in key for word in VARYING)}
    return [steady(one) for one in value] if isinstance(value, list) else value


def each_is_whole(found: Tree, *allowed: Tree) -> None:
    """Every file found is one of `allowed`, byte for byte, and no other is there."""
    for name, value in found.items():
        assert any(name in one and one[name] == value for one in allowed), f"{name} is not whole, or of nobody"
