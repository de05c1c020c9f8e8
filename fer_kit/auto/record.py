"""The record of `fer-kit auto`, runs/auto/<name>.json: plan, progress, and where the time went."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fer_kit.auto.plan import Member, Plan
from fer_kit.cli import aligned
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.runs import finished_folder, folders
from fer_kit.runs.training_record import ENVIRONMENT, read_object, read_result
from fer_kit.sweep.runner import Stint
from fer_kit.sweep.training import Training

FOLDER, SCHEMA = "auto", 1
HEARTBEAT_SECONDS = 10.0
PARTS = ("prepare", "measure", "train", "blend", "build", "check", "report")


class Record:
    """The file, with a clock: seconds of earlier attempts count, the time between them does not."""

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        self.path, self.content = path, content
        self._began, self._before = time.monotonic(), float(content.get("seconds", 0.0))
        self._saved = 0.0

    @property
    def spent(self) -> float:
        """Seconds so far, in all attempts."""
        return self._before + time.monotonic() - self._began

    def save(self) -> None:
        """Write the file."""
        self.content["seconds"] = round(self.spent, 1)
        self._saved = time.monotonic()
        atomic.write_json(self.path, self.content)

    def heartbeat(self) -> None:
        """Write the file every ten seconds, so that a killed attempt counts."""
        if time.monotonic() - self._saved > HEARTBEAT_SECONDS:
            self.save()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time of the body to a part, and save."""
        began = time.monotonic()
        try:
            yield
        finally:
            parts = self.content.setdefault("parts", {})
            parts[name] = round(parts.get(name, 0.0) + time.monotonic() - began, 1)
            self.save()

    @property
    def plan(self) -> Plan | None:
        """The plan, if one was made."""
        return None if "plan" not in self.content else plan_from_json(self.content["plan"], self.path)


def path_of(runs: Path, name: str) -> Path:
    """Where the record of `name` is kept."""
    return runs / FOLDER / f"{name}.json"


def read(runs: Path, name: str) -> Record | None:
    """The record of an earlier attempt; None if there was none.

    Raises:
        FerKitError: the file is damaged, or of another version.
    """
    path = path_of(runs, name)
    if not path.exists():
        return None
    content = atomic.read_json(path)
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise FerKitError(
            f"{path}: not a record of this version; delete the file to begin again, or give another --name"
        )
    return Record(path, content)


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """The plan as JSON values."""
    return dataclasses.asdict(plan)


def plan_from_json(record: Any, path: Path) -> Plan:
    """The plan from JSON values.

    Raises:
        FerKitError: keys are missing or have values of another kind.
    """
    try:
        members = tuple(_member_from_json(one) for one in record["members"])
        numbers = float(record["train_seconds"]), float(record["accuracy"])
        teacher = None if record.get("teacher") is None else _member_from_json(record["teacher"])
        shipped = bool(record.get("shipped", False))  # records of earlier versions have none
        return Plan(members, str(record["views"]), int(record["at_once"]), *numbers, teacher, shipped)
    except (KeyError, TypeError, ValueError) as error:
        raise FerKitError(f"{path}: no plan that can be read ({error!r}); delete the file to begin again") from None


def _member_from_json(one: Mapping[str, Any]) -> Member:
    numbers = float(one["seconds"]), float(one["predict_seconds"])
    return Member(str(one["recipe"]), int(one["seed"]), int(one["epochs"]), *numbers)


def trainings_of(
    runs: Path, trainings: Sequence[Training], stints: Sequence[Stint], began: float
) -> list[dict[str, Any]]:
    """What became of each training; times in seconds from `began`, in time.monotonic()."""
    last = {stint.training: stint for stint in stints}
    found = []
    for training in trainings:
        one: dict[str, Any] = {"run": training.run, "fold": training.fold}
        if (stint := last.get(training)) is not None:
            times = {"from": round(stint.began - began, 1), "to": round(stint.ended - began, 1)}
            one |= {"slot": stint.slot, **times}
        folder = training.folder(runs)
        if finished_folder.is_finished(folder):
            result = read_result(folder / finished_folder.RESULT)
            kept = ("oof_accuracy", "epochs_trained", "train_seconds", "predict_seconds", "images_per_second", "device")
            one |= {"end": "finished", **{name: result[name] for name in kept if name in result}}
        else:
            one["end"] = "unfinished" if stint is not None else "not begun"
        found.append(one)
    return found


def of_trainings(
    runs: Path, trainings: Sequence[Training], stints: Sequence[Stint], began: float, at_once: int, folds: int
) -> dict[str, Any]:
    """The values of the record that tell of the trainings so far; `began` in time.monotonic()."""
    done = trainings_of(runs, trainings, stints, began)
    return environment_of(runs, trainings) | {
        "trainings": done,
        "runs": runs_of(done, folds),
        "shares": shares_of(done, at_once, time.monotonic() - began),
    }


def environment_of(runs: Path, trainings: Sequence[Training]) -> dict[str, Any]:
    """Device, precision and versions of packages of the first finished training; empty without one."""
    for training in trainings:
        folder = training.folder(runs)
        if finished_folder.is_finished(folder) and (folder / ENVIRONMENT).is_file():
            try:
                told = read_object(folder / ENVIRONMENT)
            except FerKitError:  # other commands report damage
                continue
            return {name: told[name] for name in ("device", "precision", "versions") if name in told}
    return {}


def shares_of(done: Sequence[Mapping[str, Any]], at_once: int, seconds: float) -> dict[str, float]:
    """What the slots did while there was training: steps, predictions, starts, trainings without a result, nothing."""
    here = [one for one in done if "to" in one]
    busy = sum(one["to"] - one["from"] for one in here)
    finished = [one for one in here if one["end"] == "finished"]
    train = sum(one.get("train_seconds", 0.0) for one in finished)
    predict = sum(one.get("predict_seconds", 0.0) for one in finished)
    lost = sum(one["to"] - one["from"] for one in here if one["end"] != "finished")
    slots = max(at_once * seconds, 1e-9)
    shares = {
        "train": train / slots,
        "predict": predict / slots,
        "start": (busy - lost - train - predict) / slots,
        "unfinished": lost / slots,
        "idle": 1 - busy / slots,
    }
    return {name: round(share, 3) for name, share in shares.items()}


def runs_of(done: Sequence[Mapping[str, Any]], folds: int) -> dict[str, dict[str, Any]]:
    """Accuracy of each run that has all its folds."""
    found: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(one["run"] for one in done):
        mine = [one for one in done if one["run"] == name and one["end"] == "finished" and "oof_accuracy" in one]
        if len(mine) == folds:
            accuracies = [one["oof_accuracy"] for one in mine]
            found[name] = {
                "epochs": [one["epochs_trained"] for one in mine],
                "fold_accuracies": accuracies,
                "mean": statistics.fmean(accuracies),
                "spread": statistics.stdev(accuracies) if folds > 1 else 0.0,
            }
    return found


def of_blend(runs: Path, name: str) -> dict[str, Any]:
    """Score, forecast, twin lookup and digests of the blend."""
    record = atomic.read_json(runs / folders.BLENDS / name / finished_folder.BLEND)
    kept = (
        "method",
        "oof_accuracy",
        "interval",
        "forecast",
        "twins",
        "folds_digest",
        "data_digest",
        "oof_sha256",
        "test_sha256",
    )
    return {key: record[key] for key in kept if key in record}


def tell(content: Mapping[str, Any]) -> str:
    """The end of the record for people."""
    rows = [["run", "epochs", "out of fold"]]
    for name, one in content.get("runs", {}).items():
        least, most = min(one["epochs"]), max(one["epochs"])
        epochs = f"{least}" if least == most else f"{least} to {most}"
        rows.append([name, epochs, f"{one['mean']:.2%} ± {one['spread']:.2%}"])
    lines = aligned(rows, left=(0,))
    if "blend" in content:
        blend = content["blend"]
        low, high = blend["interval"]
        scored = f"{blend['oof_accuracy']:.2%} out of fold"
        if twins := blend.get("twins"):
            without = f"{twins['without']['oof_accuracy']:.2%} without"
            scored = f"{blend['oof_accuracy']:.2%} out of fold with the labels of {twins['mode']} twins, {without}"
        lines.append(f"blend ({blend['method']}): {scored}, 95% interval {low:.2%} to {high:.2%}")
        if forecast := blend.get("forecast"):
            low, high = forecast["interval"]
            lines.append(f"leaderboard forecast: {forecast['accuracy']:.2%}, 95% interval {low:.2%} to {high:.2%}")
    parts = content.get("parts", {})
    spent = ", ".join(f"{name} {parts[name]:.0f} s" for name in PARTS if name in parts)
    lines.append(f"{content['seconds'] / 60:.1f} of {content['minutes']:g} minutes: {spent}")
    if "shares" in content:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in content["shares"].items())
        lines.append(f"slots while training: {shares}")
    return "\n".join(lines)
