"""What a record run found, as figures and as text: scores, where the time went, how near the loop is to bare steps."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fer_kit.cli import aligned
from fer_kit.engine.device import choose_device
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.runs import folders
from tests.benchmarks.bench_record import ROOT

LEVELS = (0.70, 0.72)  # out-of-fold accuracies whose time is asked for


def scores(done: Sequence[dict[str, Any]], folds: int, before: float) -> dict[str, Any]:
    """Each complete run's out-of-fold accuracy, and after how many minutes the first of them had reached the levels.

    before: seconds from the start of everything to that of the trainings, which count, too.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys((one["recipe"], one["seed"]) for one in done):
        mine = [one for one in done if (one["recipe"], one["seed"]) == name and one["end"] == "finished"]
        if len(mine) < folds:
            continue
        accuracies = [one["oof_accuracy"] for one in sorted(mine, key=lambda one: one["fold"])]
        found[f"{name[0]} seed {name[1]}"] = {
            "epochs": mine[0]["epochs"],
            "fold_accuracies": accuracies,
            "mean": statistics.fmean(accuracies),
            "spread": statistics.stdev(accuracies) if folds > 1 else 0.0,
            "minutes": round((before + max(one["to"] for one in mine)) / 60, 2),  # until its last fold was predicted
            "minutes_a_fold": round(statistics.median(one["train_seconds"] for one in mine) / 60, 2),
            "images_per_second": round(statistics.median(one["images_per_second"] for one in mine), 1),
        }
    reached = {
        f"{level:.0%}": min((one["minutes"] for one in found.values() if one["mean"] >= level), default=None)
        for level in LEVELS
    }
    return {"runs": found, "minutes_to": reached}


def seconds(done: Sequence[dict[str, Any]], at_once: int, marks: tuple[float, ...]) -> dict[str, Any]:
    """How long each part took, and what the slots did while there was training: training, predicting, the rest.

    share_of_total: the steps' part of all slots over the whole time, measuring and blending included.
    """
    began, prepared, measured, trained, ended = marks
    slots = at_once * (trained - measured)
    finished = [one for one in done if one["end"] == "finished"]
    busy = sum(one["to"] - one["from"] for one in done if "to" in one)
    train = sum(one["train_seconds"] for one in finished)
    predict = sum(one["predict_seconds"] for one in finished)
    lost = sum(one["to"] - one["from"] for one in done if "to" in one and one["end"] != "finished")
    shares = {
        "train": train / slots,
        "predict": predict / slots,
        "start": (busy - lost - train - predict) / slots,
        "unfinished": lost / slots,
        "idle": 1 - busy / slots,
    }
    return {
        "prepare": round(prepared - began, 1),
        "measure": round(measured - prepared, 1),
        "train": round(trained - measured, 1),
        "blend_and_build": round(ended - trained, 1),
        "total": round(ended - began, 1),
        "share_of_total": round(train / (at_once * (ended - began)), 3),
        "share_of_slots": {name: round(share, 3) for name, share in shares.items()},
    }


def of_blend(runs_dir: Path, file: Path) -> dict[str, Any]:
    """The blend's cross-fitted score, forecast and digests, and the sha256 of the submission."""
    record = atomic.read_json(runs_dir / folders.BLENDS / "record" / folders.BLEND)
    kept = ("method", "oof_accuracy", "oof_spread", "interval", "optimism", "forecast", "folds_digest", "data_digest")
    found = {name: record[name] for name in (*kept, "oof_sha256", "test_sha256") if name in record}
    return found | {"submission_sha256": atomic.sha256_of(file)}


def device_of(runs_dir: Path, members: Sequence[str]) -> str:
    """The device as the finished runs name it."""
    if not members:
        return "?"
    folder = folders.fold_folder(runs_dir, members[0], 0)
    return str(atomic.read_json(folder / folders.RESULT)["device"])


def loop(recipe: str, device: str, out: Path) -> dict[str, Any]:
    """The loop against bare steps, its batches alone and DataLoader loops, one process alone on the device.

    Raises:
        FerKitError: the benchmark failed; it has said why.
    """
    path = out / "loop.json"
    words = ["--recipe", recipe, "--device", device, "--rounds", "3", "--record", str(path.resolve())]
    words += ["--workers", str(os.cpu_count() or 1)]
    if choose_device(device).type == "cuda":
        words += ["--rows", "8192"]  # so few as on a CPU would time the loaders' start
    if subprocess.run([sys.executable, "-m", "tests.benchmarks.bench_training", *words], cwd=ROOT).returncode:
        raise FerKitError("the comparison with a DataLoader loop failed, as said above; all the rest is in record.json")
    found = atomic.read_json(path)
    kept = ("images_per_second", "share_of_time", "loop_over_bare", "loop_over_plain", "loop_over_timm")
    return {name: found[name] for name in kept}


def tell(record: dict[str, Any]) -> str:
    """The record for people."""
    rows = [["run", "epochs", "out of fold", "done after min", "minutes a fold", "images/s"]]
    for name, one in record["runs"].items():
        score = f"{one['mean']:.2%} ± {one['spread']:.2%}"
        times = [f"{one['minutes']:.1f}", f"{one['minutes_a_fold']:.1f}", f"{one['images_per_second']:,.0f}"]
        rows.append([name, str(one["epochs"]), score, *times])
    text = aligned(rows)
    if "blend" in record:
        blend = record["blend"]
        low, high = blend["interval"]
        text += [f"blend ({blend['method']}): {blend['oof_accuracy']:.2%} out of fold, 95% {low:.2%} to {high:.2%}"]
    spent = record["seconds"]
    parts = ", ".join(f"{name} {spent[name]:.0f} s" for name in ("prepare", "measure", "train", "blend_and_build"))
    shares = ", ".join(f"{name} {share:.0%}" for name, share in spent["share_of_slots"].items())
    text += [
        f"{spent['total'] / 60:.1f} minutes: {parts}",
        f"slots while training: {shares}; the steps are {spent['share_of_total']:.0%} of the whole time",
    ]
    text += [f"minutes to {level}: {found or 'not reached'}" for level, found in record["minutes_to"].items()]
    return "\n".join(text)


def tell_loop(one: dict[str, Any]) -> str:
    """The comparison with other loops for people."""
    shares = ", ".join(f"{name} {share:.0%}" for name, share in one["share_of_time"].items())
    return (
        f"one process: {shares}; {one['loop_over_bare']:.2f} of bare steps, {one['loop_over_timm']:.1f} times the same "
        f"steps fed by timm's loader, {one['loop_over_plain']:.1f} times a plain float32 loop"
    )
