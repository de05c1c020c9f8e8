"""The topics of the suite, each measured in a process of its own, so that none grows another's memory."""

from __future__ import annotations

import dataclasses
import importlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from tests.benchmarks.bench_record import ROOT
from tests.benchmarks.rows import Found, Plan

TOPICS = {  # name → module:function, in the order of the table
    "startup": "topic_startup:measure",
    "reading": "topic_reading:measure",
    "folds": "topic_folds:measure",
    "tenfold": "topic_folds:measure_tenfold",
    "training": "topic_training:measure",
    "prediction": "topic_prediction:measure",
    "blending": "topic_blending:measure",
    "submission": "topic_submission:measure",
}
OF_DATA = {"reading", "submission"}  # read files of a competition


def measured(topic: str, plan: Plan) -> dict[str, Any]:
    """What a process of its own finds on a topic, as JSON.

    Raises:
        FerKitError: the process failed; what it said stands on stderr.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"  # a file: libraries write to stdout as they like
        words = [topic, json.dumps(dataclasses.asdict(plan)), str(out)]
        command = [sys.executable, "-m", "tests.benchmarks.topics", *words]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
        if done.returncode:
            raise FerKitError(f"topic {topic} failed (exit code {done.returncode}); its own words stand above")
        found: dict[str, Any] = atomic.read_json(out)
        return found


def main(topic: str, plan: str, out: str) -> None:
    module, _, function = TOPICS[topic].partition(":")
    measure = getattr(importlib.import_module(f"tests.benchmarks.{module}"), function)
    found: Found = measure(Plan(**json.loads(plan)))
    atomic.write_json(Path(out), found.to_json())


if __name__ == "__main__":
    main(*sys.argv[1:])
