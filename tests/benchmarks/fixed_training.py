"""Stands in for fer_kit.train on a node: takes a fixed time, saves epochs, and leaves a finished fold of drawn numbers.

It sleeps instead of computing, so that workers on one machine do not compete for its cores.
"""

from __future__ import annotations

import time

BEGAN = time.monotonic()

import json  # noqa: E402 (the time for imports counts)
import os  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

from fer_kit.files import atomic  # noqa: E402
from fer_kit.folds import table  # noqa: E402
from tests.helpers import fake_runs  # noqa: E402

SECONDS, EPOCHS = float(os.environ.get("FIXED_SECONDS", "1")), 4


def main(words: list[str]) -> None:
    """Train as `words` ask."""
    runs = Path(words[words.index("--runs") + 1])
    run, fold = words[words.index("--tag") + 1], int(words[words.index("--fold") + 1])
    folder = runs / run / f"fold{fold}"
    folder.mkdir(parents=True, exist_ok=True)
    [cache] = runs.glob("cache/*/cache.json")
    for epoch in range(1, EPOCHS + 1):
        time.sleep(max(0.0, BEGAN + SECONDS * epoch / EPOCHS - time.monotonic()))
        (folder / "last.pt").write_bytes(bytes(1 << 20))
        with (folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"epoch": epoch, "seconds": SECONDS / EPOCHS}) + "\n")
    config = {"epochs": EPOCHS}
    atomic.write_json(folder / "config.json", config)
    about = {
        "config_digest": atomic.digest_of(config),
        "folds_digest": table.read(runs / "folds.csv").digest,
        "data_digest": atomic.read_json(cache)["digest"],
    }
    fake_runs.save_fold(folder, *fake_runs.fold_parts(run, fold, fold, 1.5, **about))


if __name__ == "__main__":
    main(sys.argv[1:])
