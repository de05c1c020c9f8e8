"""Make folds: once, in a file whose digest every run records.

    python -m fer_kit.folds --data data --runs runs

Twins (rows that share a source photo, see `fer_kit.folds.twins`) are searched for among train and test images
together, without labels; the train rows are then split into stratified folds that keep every group together.
"""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fer_kit.competition import CLASSES, NUM_CLASSES
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.folds import twins
from fer_kit.folds.table import COLUMNS, TEST_COLUMNS, Folds, check, read, read_test_groups, table_of

if TYPE_CHECKING:
    from fer_kit.data.loading import Competition

Ints = NDArray[np.int64]

__all__ = [
    "Folds",
    "Made",
    "assign",
    "check",
    "make",
    "read",
    "read_test_groups",
    "report",
    "statistics",
    "write",
]

SCHEMA = 1


def assign(keys: NDArray[np.bytes_], labels: Ints, groups: Ints, count: int = 5, seed: int = 0) -> Ints:
    """Split rows into `count` stratified folds that keep groups together: the fold of each row, int64 (N,).

    keys: (N,) a content hash of each row (`twins.content_keys`). Rows are first sorted by hash and label,
    so that the fold of an image depends on the set of images, not on the order of the file.

    Raises:
        FerKitError: fewer than two folds, a seed that is negative or beyond 32 bits, or too few groups or rows.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    if count < 2:
        raise FerKitError(f"{count} folds: at least 2 are needed to hold rows out; use --folds 5")
    if not 0 <= seed < 2**32:
        raise FerKitError(f"seed {seed} must be 0 to {2**32 - 1}")
    most = np.bincount(labels, minlength=1).max() if len(labels) else 0
    if len(np.unique(groups)) < count or most < count:
        raise FerKitError(
            f"{len(labels):,} train rows in {len(np.unique(groups)):,} groups, at most {most} of one class, are too few"
            f" for {count} folds; ask for fewer with --folds"
        )
    order = np.lexsort((labels, keys))
    names = twins.by_first_appearance(groups[order])
    # Shuffled here: scikit-learn before 1.8 confuses groups when it shuffles (its pull request 32540), so that its
    # folds are not stratified. This way every version gives the folds of the corrected ones.
    shuffled = np.arange(names.max() + 1)
    np.random.RandomState(seed).shuffle(shuffled)
    splitter = StratifiedGroupKFold(count)
    folds = np.full(len(labels), -1)
    with warnings.catch_warnings():  # classes with fewer rows than folds: `report` says so
        warnings.filterwarnings("ignore", "The (least populated class|number of unique classes)", UserWarning)
        parts = splitter.split(np.zeros(len(labels)), labels[order], np.argsort(shuffled)[names])
        for fold, (_, out) in enumerate(parts):
            folds[order[out]] = fold
    if len(np.unique(folds)) < count:
        raise FerKitError(f"{len(labels):,} train rows do not fill {count} folds; ask for fewer with --folds")
    return folds


@dataclass(frozen=True)
class Made:
    """What the command writes: the bytes of folds.csv and folds-test.csv, and the record of how they were made."""

    folds: Folds
    test_groups: Ints
    table: bytes
    test_table: bytes
    record: dict[str, Any]


def make(competition: Competition, count: int = 5, seed: int = 0, method: str = "auto", progress: bool = False) -> Made:
    """Find the twins among all images of `competition` and split its train rows into `count` folds.

    method: one of `twins.METHODS`; progress: show a bar on stderr if that is a terminal

    Raises:
        FerKitError: as in `twins.find` and `assign`.
    """
    train, test = competition.train, competition.test
    images = np.concatenate([train.images, test.images])  # (N + M, 48, 48)
    found = twins.find(images, method, progress=progress)
    groups, test_groups = np.split(found.groups, [len(train.ids)])
    folds = assign(twins.content_keys(train.images), train.labels, groups, count, seed)
    table = table_of(COLUMNS, train.ids, train.labels, groups, folds)
    test_table = table_of(TEST_COLUMNS, test.ids, test_groups)
    made = Folds(train.ids, train.labels, groups, folds, hashlib.sha256(table).hexdigest())
    record = {
        "schema": SCHEMA,
        "digest": made.digest,
        "data_digest": competition.digest,
        "folds": count,
        "seed": seed,
        "method": found.method,
        "versions": _versions(found.method),
        "thresholds": found.thresholds,
        "search": found.counts,
        "statistics": statistics(made, test_groups),
    }
    if competition.unordered:
        record["unordered"] = competition.unordered
    return Made(made, test_groups, table, test_table, record)


def statistics(folds: Folds, test_groups: Ints) -> dict[str, Any]:
    """Statistics of folds and twins: counts, conflicting labels, test rows with twins, sizes and classes."""
    sizes = np.bincount(folds.groups)
    both = np.bincount(np.concatenate([folds.groups, test_groups]))
    kinds = np.zeros((len(sizes), NUM_CLASSES), bool)
    kinds[folds.groups, folds.labels] = True
    classes = np.zeros((folds.count, NUM_CLASSES), np.int64)
    np.add.at(classes, (folds.folds, folds.labels), 1)
    return {
        "train_rows": len(folds.ids),
        "test_rows": len(test_groups),
        "train_groups_of_two_and_more": int((sizes > 1).sum()),
        "train_rows_in_them": int(sizes[sizes > 1].sum()),
        "groups_with_conflicting_labels": int((kinds.sum(axis=1) > 1).sum()),
        "test_rows_with_a_train_twin": int(np.isin(test_groups, folds.groups).sum()),
        "largest_group": int(both.max()),
        "fold_rows": classes.sum(axis=1).tolist(),
        "fold_class_rows": classes.tolist(),
    }


def report(made: Made) -> str:
    """The record as lines for a terminal."""
    s, search = made.record["statistics"], made.record["search"]
    groups, rows = s["train_groups_of_two_and_more"], s["train_rows_in_them"]
    conflicts, seen = s["groups_with_conflicting_labels"], s["test_rows_with_a_train_twin"]
    joined = search.get("joined", 0) + search.get("mirrored_joined", 0)
    lines = [f"note: {made.record['unordered']}, so no submission can be built"] if "unordered" in made.record else []
    lines += [
        f"images  {search['images']:,}: {search['exact_copies']:,} exact copies, {joined:,} pairs joined by the"
        f" {made.record['method']} search, {search['flat']:,} flat ones kept apart"
        if "flat" in search
        else f"images  {search['images']:,}: twins were not searched",
        f"twins   {rows:,} of {s['train_rows']:,} train rows ({_share(rows, s['train_rows'])}) in {groups:,} groups of"
        f" two and more; the largest group has {s['largest_group']} images",
        f"labels  {conflicts:,} of these groups ({_share(conflicts, groups)}) hold more than one label",
        f"test    {seen:,} of {s['test_rows']:,} test rows ({_share(seen, s['test_rows'])}) have a train twin",
        "fold      rows" + "".join(f"{name:>15}" for name in CLASSES),
    ]
    for fold, classes in enumerate(s["fold_class_rows"]):
        cells = (f"{n:,} ({_share(n, sum(classes))})" for n in classes)
        lines.append(f"{fold:<5}{sum(classes):>9,}" + "".join(f"{cell:>15}" for cell in cells))
    if "candidates_left_out" in search:
        lines.append(
            f"note: {search['candidates_left_out']:,} pairs were not aligned: of so many images only those most alike"
        )
    for name, in_folds in zip(CLASSES, zip(*s["fold_class_rows"], strict=True), strict=True):
        if 0 < sum(in_folds) < len(in_folds):
            lines.append(f"note: {name} has {sum(in_folds)} rows, too few for every fold to have one")
    return "\n".join(lines)


def write(folder: Path, made: Made, force: bool = False) -> bool:
    """Write folds.csv, folds-test.csv and folds.json into `folder`; False if the same folds are already there.

    If folds.csv exists, the other two files belong to it: it is written last, and removed first when replaced.

    Raises:
        FerKitError: the folder has other folds and `force` is not set, or cannot be written; it is left unchanged.
    """
    path, test_path = folder / "folds.csv", folder / "folds-test.csv"
    before = path.read_bytes() if path.exists() else None
    other_test = test_path.exists() and test_path.read_bytes() != made.test_table
    new = before != made.table
    if before is not None and (new or other_test) and not force:
        what = f"{path} (digest {hashlib.sha256(before).hexdigest()[:12]})" if new else str(test_path)
        raise FerKitError(
            f"{what} holds other folds than these (digest {made.folds.digest[:12]}), and runs trained on them do"
            " not blend with new ones; choose another --runs, or --force to replace them"
        )
    atomic.sweep(folder, path.name)
    with atomic.together(folder, path.name) as aside:
        for name, content in ((test_path.name, made.test_table), (path.name, made.table)):
            with atomic.replacing(aside / name) as file:
                file.write(content)
        atomic.write_json(aside / "folds.json", made.record)
    return new or other_test


def _versions(method: str) -> dict[str, str]:
    """Versions of the libraries that groups and folds depend on."""
    import sklearn

    versions = {"numpy": np.__version__, "scikit-learn": sklearn.__version__}
    if method == "aligned":
        import cv2

        versions["opencv"] = cv2.__version__
    return versions


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "none"
