"""What a training writes about itself: config.json, env.json, result.json and the epochs of metrics.jsonl.

The files may come from somebody else, so each value that a reader takes as a number is checked here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fer_kit.config.train_config import TrainConfig, from_json
from fer_kit.errors import FerKitError, first_line
from fer_kit.files import atomic

CONFIG, ENVIRONMENT, METRICS, LOG, LAST = "config.json", "env.json", "metrics.jsonl", "log.txt", "last.pt"
MOST_METRICS_BYTES = 64 * 2**20
MOST = 2**53  # of a number; larger integers are no exact floats
RESULT_NUMBERS = (
    "oof_accuracy",
    "oof_log_loss",
    "oof_rows",
    "epochs_trained",
    "train_seconds",
    "predict_seconds",
    "seconds_an_epoch",
    "images_per_second",
    "parameters",
)


def read_config(folder: Path) -> TrainConfig:
    """The settings in config.json of a fold's folder.

    Raises:
        FerKitError: the file is missing or damaged, or has a setting or value that this version does not know.
    """
    return from_json(atomic.read_json(folder / CONFIG), f"{folder / CONFIG}")


def read_result(path: Path) -> dict[str, Any]:
    """The object in result.json; numbers that are missing stay missing.

    Raises:
        FerKitError: the file is missing or no JSON object, or a number of it is no number.
    """
    record = read_object(path)
    for name in RESULT_NUMBERS:
        if name in record and not (record[name] is None or _is_number(record[name])):
            raise FerKitError(f"{path}: '{name}' is {record[name]!r}, allowed is a number; make this folder again")
    return record


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in `path`.

    Raises:
        FerKitError: the file is missing or no JSON object.
    """
    record = atomic.read_json(path)
    if not isinstance(record, dict):
        raise FerKitError(f"{path}: not a JSON object; make this folder again")
    return record


def read_epochs(path: Path) -> tuple[list[dict[str, Any]], str]:
    """The epochs of metrics.jsonl up to the first damaged line, and what is wrong with that line, "" if nothing.

    Each record has an `epoch` (int), and every other value is a finite number or None. A missing file has no epochs.
    """
    records: list[dict[str, Any]] = []
    try:
        lines = atomic.read_bytes(path, MOST_METRICS_BYTES).decode("utf-8").splitlines()
    except FileNotFoundError:
        return [], ""
    except (OSError, ValueError, FerKitError) as error:
        return [], first_line(error)
    for number, line in enumerate(lines, start=1):
        try:
            record = atomic.parse_json(line)
        except (ValueError, RecursionError) as error:
            return records, f"line {number}: {first_line(error)}"
        if not isinstance(record, dict) or type(record.get("epoch")) is not int:
            return records, f"line {number} is no record of an epoch"
        wrong = [name for name, value in record.items() if not (value is None or _is_number(value))]
        if wrong:
            return records, f"line {number}: '{wrong[0]}' is {record[wrong[0]]!r}, not a number"
        records.append(record)
    return records, ""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MOST
