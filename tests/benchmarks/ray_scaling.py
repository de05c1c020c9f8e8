"""How well trainings scale over the nodes of a Ray cluster: 20 of equal, fixed length over 1, 2 and 3 nodes.

python -m tests.benchmarks.ray_scaling --out tests/benchmarks/records/ray_scaling.json

The nodes are Ray nodes on this machine with one CPU each. A training sleeps (`fixed_training`), so what is measured is
everything else: tasks, data, checkpoints, and the checks of what comes back.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

from fer_kit import cli
from fer_kit.runs import finished_folder
from fer_kit.sweep.remote.cluster import Cluster
from fer_kit.sweep.remote.runner import RayRunner
from fer_kit.sweep.runner import Reporter
from fer_kit.sweep.training import Training
from fer_kit.synthetic import draw
from tests.helpers import fake_runs

ROOT = Path(__file__).resolve().parents[2]
STORE_BYTES = 80 << 20
TRAININGS, SECONDS = 20, 15.0


def world(place: Path) -> tuple[Path, Path, list[Training]]:
    """Data, folder of runs and trainings."""
    runs, data = place / "runs", place / "data"
    runs.mkdir()
    (runs / "folds.csv").write_bytes(fake_runs.TABLE)
    draw.write(data, draw.draw(100, 40, seed=0), with_labels=False)
    folds = fake_runs.FOLDS
    names = [(f"run{number // folds}", number % folds) for number in range(TRAININGS)]
    return data, runs, [Training(run, fold, ("--tag", run)) for run, fold in names]


def measure(workers: int) -> float:
    """Seconds of all trainings on a new cluster of `workers` nodes, without the start of the cluster."""
    from ray.cluster_utils import Cluster as Local

    head = {"num_cpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    local = Local(initialize_head=True, head_node_args=head)
    try:
        for _ in range(workers):
            local.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
        with tempfile.TemporaryDirectory() as place:
            data, runs, trainings = world(Path(place))
            with Cluster(local.address, runs, data, "cpu", module="tests.benchmarks.fixed_training") as cluster:
                slots = cluster.slots(None, TRAININGS)
                assert len(slots) == workers
                runner = RayRunner(cluster, trainings, runs, slots, reporter=Reporter(lambda text: None))
                began = time.monotonic()
                outcome = runner.run()
                seconds = time.monotonic() - began
            assert len(outcome.finished) == TRAININGS, outcome
            assert all(finished_folder.is_finished(training.folder(runs)) for training in trainings)
            return seconds
    finally:
        local.shutdown()


def row(workers: int, seconds: float, each: float) -> dict[str, Any]:
    """One line of the record. of_ideal: ideal seconds as a share of the measured ones."""
    ideal = math.ceil(TRAININGS / workers) * each
    share = round(ideal / seconds, 3)
    return {"workers": workers, "seconds": round(seconds, 1), "ideal_seconds": ideal, "of_ideal": share}


def main() -> int:
    """Measure and print, and write the record with --out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--seconds", type=float, default=SECONDS, help="length of a training")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    os.environ.update(FIXED_SECONDS=str(args.seconds), OMP_NUM_THREADS="1", PYTHONPATH=str(ROOT))
    import ray

    load = os.getloadavg()[0]
    rows = [row(workers, measure(workers), args.seconds) for workers in args.workers]
    head = ["workers", "seconds", "ideal_seconds", "of_ideal"]
    print("\n".join(cli.aligned([head, *[[str(one[name]) for name in head] for one in rows]], left=())))
    record = {
        "trainings": TRAININGS,
        "seconds_of_a_training": args.seconds,
        "rows": rows,
        "ray": ray.__version__,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load_before": round(load, 1),
    }
    if args.out:
        args.out.write_text(json.dumps(record, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
