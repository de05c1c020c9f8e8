"""Records of sweeps and searches, which are kept by name beside the runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fer_kit.errors import FerKitError, did_you_mean
from fer_kit.files import atomic


def oldest_first(paths: Iterable[Path]) -> list[Path]:
    """`paths` by the time of their last change, then by name."""
    return sorted(paths, key=lambda path: (path.stat().st_mtime, path))


def read(path: Path, missing: str, name: str, names: Callable[[], Sequence[str]], what: str) -> Any:
    """The JSON record at `path`.

    Args:
        missing: beginning of the error if there is no such file: what is missing, and where.
        name: what was asked for. names: gives the names that exist. what: their kind, in the plural.

    Raises:
        FerKitError: no such record, or the file cannot be read.
    """
    if not path.exists():
        known = names()
        there = f"there are: {', '.join(known)}" if known else f"there are no {what} yet"
        raise FerKitError(f"{missing}{did_you_mean(name, known)}; {there}")
    return atomic.read_json(path)


def check_schema(record: Mapping[str, Any], schema: int, path: Path) -> None:
    """Raise FerKitError for a record of another version of fer_kit, and KeyError for one without a schema."""
    if record["schema"] != schema:
        raise FerKitError(f"{path}: schema {record['schema']}, this version reads {schema}; update fer_kit")
