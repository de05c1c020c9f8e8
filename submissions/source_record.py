"""Submission files that were built: where they are, and the record of their source, `<file>.source.json`."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fer_kit.errors import FerKitError, one_line
from fer_kit.files import atomic
from fer_kit.runs import folders
from fer_kit.runs.blend_record import ForecastRecord
from fer_kit.runs.finished_folder import BLEND, RESULT
from submissions.sources import BLENDED, FOLD, RUN, TestSource

FOLDER = "submissions"
HELP = "the submission file, as written by 'build', or the name of its run or blend; of several the newest"
SCHEMA = 1
SUFFIX = ".source.json"
ANYWAY = "--any-source"


@dataclass(frozen=True)
class SourceRecord:
    """A record; fields as in `TestSource`.

    source: for example "blend best", with the source's note in brackets. text: the accuracy in words.
    forecast_record: the forecast with its parts and errors; None in records of older versions.
    """

    source: str
    kind: str
    folder: Path
    accuracy: float | None
    forecast: float | None
    text: str
    members: dict[str, float | None]
    sha256: dict[str, str]
    forecast_record: ForecastRecord | None = None


def path_of(file: Path) -> Path:
    """The path of the record of submission `file`."""
    return file.with_name(file.name + SUFFIX)


def write(file: Path, sha256: str, source: TestSource) -> None:
    """Write the record of submission `file`, whose digest is `sha256`."""
    atomic.write_json(
        path_of(file),
        {
            "schema": SCHEMA,
            "sha256": sha256,
            "source": f"{source.kind} {source.name}" + (f" ({source.note})" if source.note else ""),
            "kind": source.kind,
            # relative to the record, so that the two can be moved and published together
            "folder": os.path.relpath(source.folder, file.parent),
            "accuracy": source.accuracy,
            "forecast": source.forecast,
            **({} if source.forecast_record is None else {"forecast_parts": asdict(source.forecast_record)}),
            "accuracy_text": source.accuracy_text,
            "members": dict(source.members),
            "predictions": dict(source.sha256),
        },
    )


def read(file: Path, sha256: str) -> SourceRecord:
    """The record of submission `file`, whose digest is `sha256`.

    Raises:
        FerKitError: there is none, it was written for another content, or it is damaged.
    """
    path = path_of(file)
    if not path.exists():
        raise FerKitError(
            f"{file}: its source is unknown, because {path.name} is missing; build the file with 'python -m "
            f"submissions build SOURCE --out {file}', or upload it nevertheless with {ANYWAY}"
        )
    value = atomic.read_json(path)
    try:
        if value["schema"] != SCHEMA:
            raise FerKitError(f"{path}: schema {value['schema']!r}, allowed is {SCHEMA}; build the file again")
        record = SourceRecord(
            source=one_line(_typed(value["source"], str)),
            kind=_typed(value["kind"], str),
            folder=Path(os.path.relpath((file.parent / _typed(value["folder"], str)).resolve())),
            accuracy=_share(value["accuracy"]),
            forecast=_share(value.get("forecast")),  # missing in records of older versions
            text=one_line(_typed(value["accuracy_text"], str)),
            members={one_line(name): _number(weight) for name, weight in value["members"].items()},
            sha256={name: _typed(digest, str) for name, digest in value["predictions"].items()},
            forecast_record=_forecast(value.get("forecast_parts")),
        )
        written_for = _typed(value["sha256"], str)
    except (KeyError, TypeError, AttributeError, ValueError, OSError) as error:  # the last two: invalid paths
        raise FerKitError(f"{path}: damaged ({error!r}); build the file again") from None
    if written_for != sha256:
        raise FerKitError(
            f"{file}: changed since it was built with {path.name}; build the file again with --force, or upload it "
            f"nevertheless with {ANYWAY}"
        )
    return record


def refuse_unfinished(file: Path, record: SourceRecord) -> None:
    """Raise FerKitError if the source is not finished, or has changed since `file` was built.

    A missing source (built on another machine, moved away) is accepted: it was finished when the file was built.
    """
    nevertheless = f"or upload it nevertheless with {ANYWAY}"
    if record.kind not in (RUN, BLENDED, FOLD):
        raise FerKitError(
            f"{file}: built from {record.source}, which no {RESULT} or {BLEND} marks as finished; build it from a "
            f"finished run or blend, {nevertheless}"
        )
    if not record.folder.is_dir():
        return
    if record.kind == RUN:
        state = folders.status(record.folder.parent, record.folder.name)
        if not state.complete:
            raise FerKitError(
                f"{file}: its source is not finished: {folders.unfinished_message(record.folder.parent, state)}; "
                f"{nevertheless}"
            )
    elif not (record.folder / (BLEND if record.kind == BLENDED else RESULT)).is_file():
        raise FerKitError(
            f"{file}: its source {record.folder} is not finished; finish it and build the file again, {nevertheless}"
        )
    for name, digest in record.sha256.items():
        path = record.folder / name
        if not path.is_file() or atomic.sha256_of(path) != digest:
            raise FerKitError(
                f"{file}: {path} has changed since the file was built; build it again with --force, {nevertheless}"
            )


def _forecast(value: Any) -> ForecastRecord | None:
    if value is None:
        return None
    found: dict[str, Any] = {
        name: tuple(_typed(end, float) for end in one) if isinstance(one, list) else _number(one)
        for name, one in value.items()
    }
    return ForecastRecord(**found)


def _share(value: Any) -> float | None:
    found = _number(value)
    if found is not None and not 0 <= found <= 1:
        raise ValueError(f"{found} is not from 0 to 1")
    return found


def _number(value: Any) -> float | None:
    return None if value is None else _typed(value, float)


def _typed(value: Any, kind: type[Any]) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value


def find_written(given: Sequence[str]) -> Path:
    """The file that is meant: the one given, or the newest of several, as of a pattern that the shell has expanded.

    A name without a file of that name stands for the files that `build` has written for this run or blend.

    Raises:
        FerKitError: there is neither.
    """
    files: list[Path] = []
    for name in given:
        named = [Path(name)] if Path(name).exists() or Path(name).name != name else []
        files += named or sorted(Path(FOLDER).glob(f"????-??-??-{glob.escape(name)}.csv"))
        if not files:
            if Path(name).name != name or name.endswith(".csv"):
                raise FerKitError(f"{name}: no such file; write one with python -m submissions build SOURCE")
            raise FerKitError(
                f"{name}: no such file, and no {FOLDER}/DATE-{name}.csv; write one with "
                f"python -m submissions build {name}"
            )
    chosen = max(files, key=lambda file: (file.stat().st_mtime, file.name) if file.is_file() else (0.0, file.name))
    if len(files) > 1:
        print(f"newest    {chosen}, of {len(files)} files")
    return chosen
