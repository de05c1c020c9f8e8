"""The checkpoint of an unfinished fold (last.pt): everything that a resumed training needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from fer_kit.engine import averaging
from fer_kit.engine.loop import State
from fer_kit.errors import FerKitError, first_line
from fer_kit.files import atomic
from fer_kit.models import unpickle

SCHEMA = 1
PARTS = ("net", "optimizer", "schedule", "scaler")
COUNTERS = ("epoch", "step", "best_epoch", "best_weights", "seconds", "history")


def save(path: Path, state: State, identity: dict[str, Any]) -> None:
    """Write `state` to `path`. `identity`: the digests of config, folds and data, which `load` compares.

    Raises:
        FerKitError: the file cannot be written. The previous file remains intact.
    """
    record: dict[str, Any] = {"schema": SCHEMA, "identity": identity}
    record |= {part: getattr(state, part).state_dict() for part in PARTS}
    record |= {counter: getattr(state, counter) for counter in COUNTERS}
    record["average"] = None if state.average is None else state.average.module.state_dict()
    record["averaged"] = 0 if state.average is None else int(state.average.n_averaged)
    with atomic.replacing(path) as file:
        try:
            torch.save(record, file)
        except RuntimeError as error:  # torch's error for an incomplete write hides the OSError
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def load(path: Path, state: State, identity: dict[str, Any]) -> None:
    """Restore `state` in place from the checkpoint at `path`. Code in the file is never executed.

    Raises:
        FerKitError: the file is damaged or not a checkpoint, or belongs to another config, fold, data or folds.
    """
    restart = "start again with --restart"
    try:
        record = unpickle.load(path, path)  # on the CPU, where optimizers keep step counts; the rest is moved below
        saved = record["identity"]
    except FerKitError:
        raise
    except Exception as error:  # torch raises many types for a damaged file
        raise FerKitError(f"{path}: not a readable checkpoint ({first_line(error)}); {restart}") from None
    for key, value in identity.items():
        if saved.get(key) != value:
            raise FerKitError(
                f"{path}: saved with {key} {saved.get(key)}, not {value}; {restart}, or name a new run with --tag"
            )
    for part in PARTS:
        if record[part] or part != "scaler":  # only fp16 has a scaler state; after another precision it starts anew
            getattr(state, part).load_state_dict(record[part])
    for counter in COUNTERS:
        setattr(state, counter, record[counter])
    if state.average is not None:
        averaging.restore(state.average, record["average"], record.get("averaged", record["step"]))  # old files lack it
