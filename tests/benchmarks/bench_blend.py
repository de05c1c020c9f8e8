"""How long the methods take to fit and to cross-fit, and their memory: `python -m tests.benchmarks.bench_blend`.

Members are drawn: a shared truth, noise that all share, noise of their own from little to much, and a temperature
that is off. Each method is timed in a process of its own, in turn, several rounds over. "fit" is temperatures and
method on all rows; "cross-fit" gives every row a prediction by a fit that never saw its fold, over five folds; for
`auto` it includes the choice, nested, and the cross-fit of all that it chooses from. Times leave out imports and
drawing; the peak of memory includes both. Processor time stands beside the time by the clock, since it says more on
a machine that does other work too.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ensembles.fit.crossfit import AUTO, CrossFit
from ensembles.fit.methods import METHODS
from fer_kit import cli, metrics
from tests.benchmarks import bench_record
from tests.benchmarks.bench_record import machine, peak_mb

ARMS = (*METHODS, AUTO)
FOLDS = 5
MEASURED = (
    "ensembles/fit/*.py",
    "fer_kit/metrics.py",
    "tests/benchmarks/bench_blend.py",
)


def draw(members: int, rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities (M, N, 7) and labels (N,)."""
    rng = np.random.default_rng(seed)
    truth = 3.5 * rng.normal(size=(rows, 7))
    labels = (truth + rng.gumbel(size=truth.shape)).argmax(axis=1)
    truth += 1.2 * rng.normal(size=truth.shape)  # what no member can know
    log_probs = np.empty((members, rows, 7))
    for member in range(members):
        noise, fault = rng.uniform(0.5, 3.0), np.exp(0.4 * rng.normal())
        log_probs[member] = metrics.log_softmax(0.7 * fault * (truth + noise * rng.normal(size=truth.shape)))
    return log_probs, labels


def timed(call: Callable[[], Any]) -> tuple[Any, float, float]:
    clock, processor = time.perf_counter(), time.process_time()
    result = call()
    return result, time.perf_counter() - clock, time.process_time() - processor


def run_method(method: str, members: int, rows: int) -> dict[str, Any]:
    import scipy.optimize  # noqa: F401  imports are not timed
    import sklearn.linear_model  # noqa: F401

    log_probs, labels = draw(members, rows)
    groups = np.arange(rows) // 2
    fits = CrossFit(log_probs, labels, groups % FOLDS, groups)
    if method == AUTO:
        held, cross_seconds, cross_cpu = timed(lambda: fits.held_out([AUTO]))
        model, seconds, cpu = timed(lambda: fits.model(AUTO))
    else:
        model, seconds, cpu = timed(lambda: fits.model(method))
        held, cross_seconds, cross_cpu = timed(lambda: fits.held_out([method]))
    return {
        "fit_seconds": seconds,
        "fit_cpu_seconds": cpu,
        "crossfit_seconds": cross_seconds,
        "crossfit_cpu_seconds": cross_cpu,
        "peak_mb": peak_mb(),
        "fitted_accuracy": metrics.accuracy(model.apply(log_probs), labels),
        "crossfitted_accuracy": metrics.accuracy(held[method], labels),
        "became": model.method,
    }


def measure(members: int, rows: int, rounds: int) -> dict[str, list[dict[str, Any]]]:
    results: dict[str, list[dict[str, Any]]] = {method: [] for method in ARMS}
    for _ in range(rounds):
        for method in ARMS:
            words = ("--members", str(members), "--rows", str(rows))
            results[method].append(bench_record.run_arm("bench_blend", method, *words))
    return results


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over rounds of times and memory; scores and choice of the first."""
    scores = ("fitted_accuracy", "crossfitted_accuracy")
    medians = {key: statistics.median(run[key] for run in runs) for key in runs[0] if key != "became"}
    return {key: round(value, 4 if key in scores else 2) for key, value in medians.items()} | {
        "became": runs[0]["became"]
    }


def table(methods: dict[str, dict[str, Any]]) -> list[str]:
    lines = [f"{'method':8} {'fit':>8} {'cpu':>8} {'cross-fit':>10} {'cpu':>8} {'peak':>9}  fitted  cross-fitted"]
    for method, one in methods.items():
        became = "" if one["became"] == method else f"  (became {one['became']})"
        lines.append(
            f"{method:8} {one['fit_seconds']:6.2f} s {one['fit_cpu_seconds']:6.2f} s {one['crossfit_seconds']:8.2f} s"
            f" {one['crossfit_cpu_seconds']:6.1f} s {one['peak_mb']:6,.0f} MB  {one['fitted_accuracy']:.2%}"
            f"  {one['crossfitted_accuracy']:.2%}{became}"
        )
    return lines


def build_parser() -> argparse.ArgumentParser:
    parser = cli.parser("python -m tests.benchmarks.bench_blend", "How long the methods of blending take.")
    parser.add_argument("--members", type=int, default=60, help="how many members to draw")
    parser.add_argument("--rows", type=int, default=28_709, help="how many rows to draw")
    parser.add_argument("--rounds", type=int, default=3, help="how often each method is timed")
    parser.add_argument("--record", type=Path, help="write a JSON record here")
    parser.add_argument("--note", help="what to say in the record, such as other work on the machine")
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    return parser


def body(args: argparse.Namespace) -> None:
    if args.arm:
        print(json.dumps(run_method(args.arm, args.members, args.rows)))
        return
    before = machine()
    methods = {method: summary(runs) for method, runs in measure(args.members, args.rows, args.rounds).items()}
    record = {
        **bench_record.head("blend", before, MEASURED, ("numpy", "scipy", "scikit-learn")),
        "load_average_after": machine()["load_average"],
        "threads": os.environ.get("OMP_NUM_THREADS", "all cores"),
        "note": args.note,
        "rounds": args.rounds,
        "members": args.members,
        "rows": args.rows,
        "folds": FOLDS,
        "methods": methods,
    }
    print(bench_record.headline(before))
    print("\n".join(table(methods)))
    bench_record.keep(args.record, record)


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
