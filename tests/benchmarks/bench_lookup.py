"""What a twin lookup can learn from train pairs: `python -m tests.benchmarks.bench_lookup RUN --data DIR --runs DIR`.

Leave-one-out on the groups of out-of-fold rows, whose networks saw neither the row nor its twins: each row is updated
by the labels of the others of its group, by a lookup fitted without the group. Each form of the lookup is compared with
the plain one, in which only the strength is fitted: the gain in accuracy on rows with twins, with its standard error
over groups. RUN is a run with one finished fold or more. The similarity of pairs needs OpenCV.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensembles.twins.lookup import fit_weights
from ensembles.twins.pairs import Pairs, among
from fer_kit import cli, metrics
from fer_kit.competition import NUM_CLASSES
from fer_kit.data import loading
from fer_kit.folds import table as fold_table
from fer_kit.folds import twin_alignment, twins
from fer_kit.runs import folders
from tests.benchmarks import bench_record

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MEASURED = ("ensembles/twins/*.py", "tests/benchmarks/bench_lookup.py")
PARTS = 5
SIMILARITIES = (0.78, 0.9, 0.97)  # bounds of the kinds of near pairs


@dataclass(frozen=True)
class Form:
    """A form of the lookup.

    trust: fit the weight of the row's own prediction. power: evidence grows with this power of the number of twins; 0:
    their mean, 1: their sum. similar: a confusion for each kind of pair by similarity; strengths: a strength for each
    too. beliefs: add the network's predictions of the twins, which tell whether their labels are likely.
    """

    name: str
    trust: bool = True
    power: float = 0.0
    similar: bool = False
    strengths: bool = False
    beliefs: bool = False


FORMS = (
    Form("strength only", trust=False),
    Form("trust and strength"),
    Form("evidence × twins^.25", power=0.25),
    Form("evidence × twins^.5", power=0.5),
    Form("by similarity of the pair", similar=True),
    Form("by similarity, own strengths", similar=True, strengths=True),
    Form("predictions of the twins", beliefs=True),
    Form("all of these", power=0.25, similar=True, strengths=True, beliefs=True),
)


def similarities(images: NDArray[np.uint8], pairs: Pairs) -> Floats:
    """Aligned correlation of each pair, (P,), the higher of plain and mirrored."""
    each = np.unique(np.sort(np.stack([pairs.rows, pairs.twins], 1), 1), axis=0)
    with ThreadPoolExecutor(1) as pool:
        found = np.maximum(*(twin_alignment.similarities(images, each, pool, mirror=m) for m in (False, True)))
    by_pair = {(int(a), int(b)): float(value) for (a, b), value in zip(each, found, strict=True)}
    return np.array([by_pair[min(a, b), max(a, b)] for a, b in zip(pairs.rows, pairs.twins, strict=True)])


def updated(form: Form, log_probs: Floats, labels: Ints, pairs: Pairs, kinds: Ints, groups: Ints) -> Floats:
    """Log-probabilities (N, 7) after leave-one-out lookup in this form."""
    part = np.searchsorted(np.unique(groups[pairs.rows]), groups) % PARTS
    kinds = kinds if form.similar else pairs.exact.astype(np.int64)
    counts = np.zeros((PARTS, int(kinds.max()) + 1, NUM_CLASSES, NUM_CLASSES))
    np.add.at(counts, (part[pairs.rows], kinds, labels[pairs.rows], pairs.labels), pairs.shares)
    total, have, made = counts.sum(0), pairs.have, log_probs.copy()

    def terms(without: Sequence[int]) -> Floats:
        return _terms(form, log_probs, pairs, kinds, total - counts[list(without)].sum(0))

    for held in range(PARTS):
        others = [other for other in range(PARTS) if other != held]
        known = [terms((held, other))[:, have & (part == other)] for other in others]
        answers = np.concatenate([labels[have & (part == other)] for other in others])
        bounds = [(None, None) if form.trust else (1, 1), *[(None, None)] * (len(known[0]) - 1)]
        weights = fit_weights(np.concatenate(known, axis=1), answers, bounds)
        rows = have & (part == held)
        made[rows] = metrics.log_softmax(np.tensordot(weights, terms((held,))[:, rows], 1))
    return made


def _terms(form: Form, log_probs: Floats, pairs: Pairs, kinds: Ints, counts: Floats) -> Floats:
    """The terms whose weighted sum is the update, (terms, N, 7); the first is the row's own prediction."""
    confusion = (counts + 1) / (counts + 1).sum(2, keepdims=True)
    evidence = np.zeros((len(counts), pairs.count, NUM_CLASSES))
    told = np.log(confusion)[kinds, :, pairs.labels] * (pairs.shares ** (1 - form.power))[:, None]
    np.add.at(evidence, (kinds, pairs.rows), told)
    found = [log_probs, *(evidence if form.strengths else [evidence.sum(0)])]
    if form.beliefs:
        theirs = np.zeros_like(log_probs)
        np.add.at(theirs, pairs.rows, log_probs[pairs.twins] * pairs.shares[:, None])
        found.append(theirs)
    return np.stack(found)


def measure(log_probs: Floats, labels: Ints, pairs: Pairs, similarity: Floats, groups: Ints) -> list[dict[str, Any]]:
    """Accuracy and log loss on rows with twins of each form, and the gain over the first form."""
    kinds = np.where(pairs.exact, len(SIMILARITIES) + 1, np.digitize(similarity, SIMILARITIES)).astype(np.int64)
    have, found, base = pairs.have, [], None
    for form in FORMS:
        made = updated(form, log_probs, labels, pairs, kinds, groups)
        right = (metrics.predicted(made) == labels)[have].astype(np.float64)
        base = right if base is None else base
        error = metrics.cluster_standard_error(right - base, groups[have])
        scores = {"accuracy": right.mean(), "gain": (right - base).mean(), "standard_error": error}
        percent = {name: round(100 * float(value), 3) for name, value in scores.items()}
        found.append({"form": form.name, **percent, "log_loss": round(metrics.log_loss(made[have], labels[have]), 4)})
    return found


def build_parser() -> argparse.ArgumentParser:
    """The options of the benchmark."""
    parser = cli.parser("python -m tests.benchmarks.bench_lookup", "Compare forms of the twin lookup by leave-one-out.")
    parser.add_argument("names", metavar="RUN", nargs="+", help="runs by name; their finished folds are used")
    parser.add_argument("--data", metavar="DIR", help="folder with the competition's files; searched for if not given")
    parser.add_argument("--runs", metavar="DIR", default="runs", help="folder of runs and of folds.csv")
    parser.add_argument("--record", metavar="JSON", type=Path, help="write the figures to this file")
    return parser


def body(args: argparse.Namespace) -> None:
    """Measure each run, print a line for each form."""
    host, runs_dir = bench_record.machine(), Path(args.runs)
    images = loading.load(loading.find(args.data), runs_dir / folders.CACHE).train.images
    folds = fold_table.read(runs_dir / "folds.csv")
    measured = {}
    for name in args.names:
        run = folders.load(runs_dir, name, allow_partial=True)
        rows = run.oof.ids
        faces, groups, labels = images[rows], folds.groups[rows], folds.labels[rows]
        pairs = among(groups, labels, twins.content_keys(faces))
        before = metrics.log_softmax(run.oof.logits)
        forms = measure(before, labels, pairs, similarities(faces, pairs), groups)
        have = pairs.have
        unaided = metrics.accuracy(before[have], labels[have])
        measured[name] = {"folds": list(run.folds), "rows": int(have.sum()), "before": unaided, "forms": forms}
        print(
            f"{name}, folds {', '.join(map(str, run.folds))}: {int(have.sum()):,} rows with twins, {unaided:.2%} before"
        )
        table = [("form", "accuracy", "gain", "± se", "log loss")]
        table += [
            (
                f["form"],
                f"{f['accuracy']:.2f}",
                f"{f['gain']:+.2f}",
                f"{f['standard_error']:.2f}",
                f"{f['log_loss']:.4f}",
            )
            for f in forms
        ]
        print("\n".join(cli.aligned(table)))
    head = bench_record.head("lookup", host, MEASURED, ("numpy", "scipy"))
    command = f"python -m tests.benchmarks.bench_lookup {' '.join(args.names)} --data DIR --runs DIR --record FILE"
    bench_record.keep(args.record, {**head, "command": command, "runs": measured})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
