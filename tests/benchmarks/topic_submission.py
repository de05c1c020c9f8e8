"""Building a submission, from the command to the checked file, against what a notebook does in pandas."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fer_kit.data import loading
from fer_kit.runs import predictions
from tests.benchmarks import clocks, limits
from tests.benchmarks.bench_record import ROOT
from tests.benchmarks.rows import Found, Plan, Row, ratio

NOTEBOOK = """
import sys, numpy, pandas
answers = numpy.load(sys.argv[1])["logits"].argmax(1)
pandas.Series(answers).to_csv(sys.argv[2], index=False, header=False)
"""


def measure(plan: Plan) -> Found:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        competition = loading.load(plan.data, folder / "cache")
        count = len(competition.test.ids)
        logits = np.random.default_rng(0).normal(size=(count, 7)).astype(np.float32)
        digests = dict.fromkeys(("config_digest", "folds_digest", "commit"), "drawn")
        about: dict[str, Any] = {
            "recipe": "drawn",
            "run": "drawn",
            "fold": 0,
            "epoch": 1,
            "views": ["as is"],
            **digests,
        }
        meta = predictions.build_meta(**about, data_digest=competition.digest)
        predictions.write(folder / "test.npz", predictions.Predictions(np.arange(count), logits, meta))

        words = ("--data", plan.data, "--runs", name, "--out", f"{folder / 'ours.csv'}", "--force")
        ours = ("-m", "submissions", "build", f"{folder / 'test.npz'}", *words)
        notebook = ("-c", NOTEBOOK, f"{folder / 'test.npz'}", f"{folder / 'notebook.csv'}")
        commands = (ours, notebook, ("-c", "import numpy"))
        mine, theirs, numpy = clocks.interleaved(commands, plan.rounds, quietly, plan.clock)
        if (folder / "ours.csv").read_bytes() != (folder / "notebook.csv").read_bytes():
            raise AssertionError("the two files differ")
        paths = [Path(plan.data) / name for name in ("train.csv", "test.csv")]
        read = sum(path.stat().st_size for path in paths)
        read += competition.train.images.nbytes + competition.test.images.nbytes
    row = Row(
        f"submission of {count:,} rows, built and checked",
        statistics.median(mine),
        plan.seconds,
        "pandas: argmax and to_csv, nothing checked; the same bytes",
        statistics.median(theirs),
        ratio(theirs, mine),
        "Python that imports numpy, and sha256 of the data that the file must fit, on all cores, both measured",
        statistics.median(numpy) + read / limits.digest_rate(plan.clock),
    )
    return Found([row], {"ours": mine, "pandas": theirs, "import numpy": numpy, "bytes_digested": read})


def quietly(words: Sequence[str]) -> None:
    subprocess.run([sys.executable, *words], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
