"""Reads back what an offline run of Weights & Biases wrote: run-<id>.wandb, records in blocks of 32 KiB.

The container is LevelDB's log format behind seven bytes of their own: each piece has a checksum (4 bytes), a length
(2) and a kind (1): whole, first, middle or last piece of a record. The records are protocol buffers that wandb ships.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BLOCK, HEADER = 32_768, 7
WHOLE, FIRST, LAST = 1, 2, 4


@dataclass
class OfflineRun:
    """What a run told W&B."""

    folder: Path
    id: str = ""
    project: str = ""
    name: str = ""
    group: str = ""
    job_type: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, Any] = field(default_factory=dict)  # by name; the record itself
    exit_code: int | None = None

    @property
    def files(self) -> Path:
        """Where media lie."""
        return self.folder / "files"


def records(path: Path) -> list[Any]:
    """Every record of the file."""
    from wandb.proto import wandb_internal_pb2

    content = path.read_bytes()
    assert content[:4] == b":W&B"
    found, at, pieces = [], HEADER, b""
    while at + HEADER <= len(content):
        if BLOCK - at % BLOCK < HEADER:  # the rest of a block that no header fits into
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + HEADER])
        piece = content[at + HEADER : at + HEADER + length]
        at += HEADER + length
        pieces = piece if kind in (WHOLE, FIRST) else pieces + piece
        if kind in (WHOLE, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(pieces)
            found.append(record)
    return found


def put(target: dict[str, Any], item: Any) -> None:
    """One `key` or `nested_key` with its JSON value."""
    *parents, last = list(item.nested_key) or [item.key]
    for parent in parents:
        inside = target.setdefault(parent, {})
        if not isinstance(inside, dict):
            inside = target[parent] = {}
        target = inside
    target[last] = json.loads(item.value_json)


def read(wandb_folder: Path) -> OfflineRun:
    """The one offline run below `wandb_folder`."""
    [folder] = wandb_folder.glob("offline-run-*")
    [path] = folder.glob("*.wandb")
    run = OfflineRun(folder)
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run.id, run.project, run.name = record.run.run_id, record.run.project, record.run.display_name
            run.group, run.job_type, run.tags = record.run.run_group, record.run.job_type, list(record.run.tags)
            for item in record.run.config.update:
                put(run.config, item)
        elif kind == "config":
            for item in record.config.update:
                put(run.config, item)
        elif kind == "history":
            row: dict[str, Any] = {}
            for item in record.history.item:
                put(row, item)
            run.history.append(row)
        elif kind == "summary":
            for item in record.summary.update:
                put(run.summary, item)
        elif kind == "artifact":
            run.artifacts[record.artifact.name] = record.artifact
        elif kind == "exit":
            run.exit_code = record.exit.exit_code
    return run
