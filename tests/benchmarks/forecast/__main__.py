"""How far forecasts are off on pretended leaderboards: `python -m tests.benchmarks.forecast --data DIR --runs DIR`.

Train rows are dealt eight times into a rest and a pretended test set (`pretend`). Quick models of several kinds
(`kinds`) are trained on five folds of the rest, and once on all of it; the forecast that the product makes of them is
compared with the truth, part by part (`measure`), beside the earlier estimator (`earlier`). The predictions are kept in
--keep, so that a run that was stopped goes on. --runs names the folder with folds.csv.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from fer_kit import cli
from fer_kit.data import loading
from fer_kit.folds import table as fold_table
from fer_kit.folds import twins
from fer_kit.runs import folders
from tests.benchmarks import bench_record
from tests.benchmarks.forecast import pretend
from tests.benchmarks.forecast.findings import Findings
from tests.benchmarks.forecast.kinds import KINDS, SEEN, STUDENTS, Faces
from tests.benchmarks.forecast.measure import MODELS, Case, as_dict, measure
from tests.benchmarks.forecast.summary import summary, table

ALL_KINDS = (*KINDS, *SEEN, *STUDENTS)
MEASURED = ("ensembles/**/*.py", "tests/benchmarks/forecast/*.py")


def build_parser() -> argparse.ArgumentParser:
    """The options of the benchmark."""
    parser = cli.parser("python -m tests.benchmarks.forecast", "Compare forecasts with pretended leaderboards.")
    parser.add_argument("--data", metavar="DIR", help="folder with the competition's files; searched for if not given")
    parser.add_argument("--runs", metavar="DIR", default="runs", help="folder with folds.csv")
    parser.add_argument("--keep", metavar="DIR", required=True, help="folder of the predictions of the quick models")
    parser.add_argument("--kinds", nargs="+", choices=ALL_KINDS, default=ALL_KINDS, help="kinds to train")
    parser.add_argument(
        "--splits", metavar="N", type=int, default=pretend.SPLITS, help="number of splits; 8 partition the train rows"
    )
    parser.add_argument("--kept", action="store_true", help="train nothing, measure what is in --keep")
    parser.add_argument("--record", metavar="JSON", type=Path, help="write all cases and the table to this file")
    return parser


def body(args: argparse.Namespace) -> None:
    """Train what is missing, measure, print the table."""
    begun, host, keep = time.perf_counter(), bench_record.machine(), Path(args.keep)
    keep.mkdir(parents=True, exist_ok=True)
    competition = loading.load(loading.find(args.data), Path(args.runs) / folders.CACHE)
    folds = fold_table.read(Path(args.runs) / "folds.csv")
    faces = Faces(competition.train.images, folds.labels)
    keys = twins.content_keys(faces.images)
    cases: list[Case] = []
    findings = Findings()
    for number in range(args.splits):
        one = pretend.split(folds.labels, folds.groups, number)
        kinds = [kind for kind in args.kinds if not args.kept or pretend.is_kept(keep, kind, number)]
        predicted = {kind: pretend.predictions(keep, kind, one, faces) for kind in kinds}
        table_of_twins = pretend.twins_of(one, folds.labels, folds.groups, keys)
        findings.add(predicted, table_of_twins, folds.labels[one.test])
        for model in MODELS:
            if set(model.kinds) <= set(predicted):
                used = [predicted[kind] for kind in model.kinds]
                cases += measure(model, number, used, table_of_twins, folds.labels[one.test])
        print(f"split {number}: {len(one.test):,} test rows, {table_of_twins.seen_share:.1%} with a train twin")
    found = summary(cases)
    print("\n".join(table(found)))
    head = bench_record.head("forecast", host, MEASURED, ("numpy", "scikit-learn", "torch"))
    some = "" if len(args.kinds) == len(ALL_KINDS) else f" --kinds {' '.join(args.kinds)}"
    command = f"python -m tests.benchmarks.forecast{some} --splits {args.splits}{' --kept' if args.kept else ''}"
    more = {"command": command, "seconds": round(time.perf_counter() - begun), "rows": len(folds.labels)}
    points = findings.as_dict()
    more |= {"points": points}
    for name, values in points.items():
        print(f"{name}, in points: {values}")
    bench_record.keep(args.record, {**head, **more, **found, "cases": [as_dict(case) for case in cases]})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
