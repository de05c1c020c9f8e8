"""The checkpoint of an unfinished fold (last.pt): everything that a resumed run needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from fer_kit.engine import averaging
from fer_kit.engine.loop import State
from fer_kit.errors import FerKitError, first_line
from fer_kit.files import atomic

SCHEMA = 1
PARTS = ("net", "optimizer", "schedule", "scaler")
COUNTERS = ("epoch", "step", "best_epoch", "best_weights", "seconds", "history")


def save(path: Path, state: State, identity: dict[str, Any]) -> None:
    """Replace `path` by the whole state. `identity` says whose it is; `load` checks it.

    Raises:
        FerKitError: it cannot be written; the one before is still there, whole.
    """
    record: dict[str, Any] = {"schema": SCHEMA, "identity": identity}
    record |= {part: getattr(state, part).state_dict() for part in PARTS}
    record |= {counter: getattr(state, counter) for counter in COUNTERS}
    record["average"] = None if state.average is None else state.average.module.state_dict()
    record["averaged"] = 0 if state.average is None else int(state.average.n_averaged)
    with atomic.replacing(path) as file:
        try:
            torch.save(record, file)
        except RuntimeError as error:  # torch's word for a file that took less than it was given
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def load(path: Path, state: State, identity: dict[str, Any]) -> None:
    """Put the state saved in `path` into `state`, in place. No code in the file is run.

    Raises:
        FerKitError: not such a file, or one of another config, fold, data or folds.
    """
    restart = "start anew with --restart"
    device = next(state.net.parameters()).device
    try:
        record = torch.load(path, map_location=device, weights_only=True)
        saved = record["identity"]
    except Exception as error:  # torch raises many kinds for a damaged file, all of them mean the same here
        raise FerKitError(f"{path}: not a checkpoint that can be read ({first_line(error)}); {restart}") from None
    for key, value in identity.items():
        if saved.get(key) != value:
            raise FerKitError(f"{path}: saved with {key} {saved.get(key)}, now it is {value}; {restart}, or use --tag")
    for part in PARTS:
        if record[part] or part != "scaler":  # a run in another format had none, and this one's begins anew
            getattr(state, part).load_state_dict(record[part])
    for counter in COUNTERS:
        setattr(state, counter, record[counter])
    if state.average is not None:
        averaging.restore(state.average, record["average"], record.get("averaged", record["step"]))  # older: no count
