"""The competition's data: train images with labels and test images without, whichever files they come from.

`fer_kit.data.formats` lists the forms of the data. Only the first that exists is read, except by `load_answers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_kit.data import cache, formats, genuine, places
from fer_kit.data.archives import Source
from fer_kit.data.csv_reader import USAGES
from fer_kit.data.formats import fer2013_csv
from fer_kit.data.formats.rows import Found
from fer_kit.data.places import find
from fer_kit.errors import FerKitError

__all__ = [
    "Answers",
    "Competition",
    "TestSet",
    "TrainSet",
    "check_digest",
    "find",
    "load",
    "load_answers",
    "refuse_unordered",
]
TEST_USAGES = (*USAGES, "Test")  # the last: of a test row whose half is unknown


@dataclass(frozen=True)
class TrainSet:
    """ids int64 (N,), row numbers 0..N-1 of train.csv; images uint8 (N, 48, 48); labels int64 (N,). Read-only."""

    ids: NDArray[np.int64]
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class TestSet:
    """ids int64 (M,), row numbers 0..M-1 of test.csv; images uint8 (M, 48, 48). No labels, by design. Read-only."""

    __test__ = False  # pytest: not a test class

    ids: NDArray[np.int64]
    images: NDArray[np.uint8]


@dataclass(frozen=True)
class Competition:
    """What training may see.

    digest: the same for the same rows in the same order, whichever files they were read from. unordered: why the test
    rows may be in another order than those of test.csv; "" if they are in that order.
    """

    folder: Path
    train: TrainSet
    test: TestSet
    digest: str
    unordered: str = ""


@dataclass(frozen=True)
class Answers:
    """Labels of the test rows, in their order, for `evaluate` alone.

    labels int64 (M,); usage (M,), each "PublicTest", "PrivateTest" or, if the half is unknown, "Test".
    """

    labels: NDArray[np.int64]
    usage: NDArray[np.str_]


def load(folder: str | Path, cache_dir: str | Path, expected: str | None = None, used_by: str = "") -> Competition:
    """Read the competition's data, or the cached arrays if the same bytes were read before.

    Args:
        folder: from `find`: a folder or a file.
        cache_dir: the arrays are cached below this folder; normally <runs>/cache.
        expected: the digest that the data must have; None accepts any data.
        used_by: what was made from the expected data, for the error message.

    Raises:
        FerKitError: files are missing, a file has a fault (named with its row number), or the data has another digest.
    """
    folder = Path(folder)
    found = _found(folder)
    stamps = _stamps(found.sources)
    key = cache.key_of(found.sources, found.keys)
    cached = Path(cache_dir) / key[:16]
    arrays, digest = cache.read(cached, key, ("train_images", "train_labels", "test_images")) or (None, "")
    if arrays is None:
        rows = found.read()
        if _stamps(found.sources) != stamps:  # else these rows could be cached under the key of other content
            raise FerKitError(f"{found.sources[0].path.parent}: a file changed while it was read; start again")
        arrays = {
            "train_images": rows.train.images,
            "train_labels": rows.train.labels,
            "test_images": rows.test.images,
        }
        for array in arrays.values():
            array.flags.writeable = False
        digest = cache.digest_of(arrays)
        cache.write(cached, key, arrays, digest)
    competition = Competition(
        folder=folder if folder.is_dir() else folder.parent,
        train=TrainSet(_ids(arrays["train_images"]), arrays["train_images"], arrays["train_labels"]),
        test=TestSet(_ids(arrays["test_images"]), arrays["test_images"]),
        digest=digest,
        unordered=_unordered(found, arrays["test_images"]),
    )
    if expected is not None:
        check_digest(competition, expected, used_by)
    return competition


def check_digest(competition: Competition, expected: str, used_by: str) -> None:
    """Raise FerKitError unless the data's digest is `expected`; `used_by` names what was made from that data."""
    if competition.digest != expected:
        raise FerKitError(
            f"{competition.folder}: other data (digest {competition.digest[:12]}) than {used_by} was made from "
            f"({expected[:12]}); name the folder of that data with --data"
        )


def check_labels(
    competition: Competition, ids: NDArray[np.int64], labels: NDArray[np.int64] | None, where: str
) -> None:
    """Raise FerKitError unless `ids` are train rows of `competition` and `labels` (if given) are their labels."""
    known = competition.train.labels
    if len(ids) and ids[-1] >= len(known):
        raise FerKitError(
            f"{where}: predicts train row {ids[-1]:,}, but {competition.folder} has rows 0 to {len(known) - 1:,}; "
            "predict these rows again"
        )
    if labels is not None and len(wrong := np.flatnonzero(known[ids] != labels)):
        row = wrong[0]
        raise FerKitError(
            f"{where}: the label of train row {ids[row]:,} is {labels[row]}, but {known[ids[row]]} in "
            f"{competition.folder} ({len(wrong):,} labels differ); predict these rows again"
        )


def refuse_unordered(competition: Competition, what: str) -> None:
    """Raise FerKitError if the order of the test rows may differ from test.csv; `what` needs that order."""
    if competition.unordered:
        raise FerKitError(
            f"{competition.folder}: {competition.unordered}, and {what} needs this order, line by line; name the "
            "competition's own files (python -m fer_kit.download) with --data"
        )


def load_answers(folder: str | Path) -> Answers | None:
    """Labels of the test rows, in the order of `load`; None if no file at `folder` has them.

    Raises:
        FerKitError: a file has a fault, or the test images of the file with the labels differ from those of `load`.
    """
    first = _found(Path(folder))
    labelled = first if first.labelled_test else fer2013_csv.find(Path(folder))
    if labelled is None:
        return None
    test = labelled.read().test
    if labelled is not first and not np.array_equal(first.read().test.images, test.images):
        one, other = labelled.sources[0].name, first.sources[-1].name
        raise FerKitError(f"{one} and {other} hold different test images; remove the wrong one")
    return Answers(test.labels, np.array(TEST_USAGES)[test.usage])


def _found(folder: Path) -> Found:
    found = formats.find(folder)
    if found is None:
        raise FerKitError(places.nothing_in(folder))
    return found


def _unordered(found: Found, test_images: NDArray[np.uint8]) -> str:
    """Why the order of test.csv may be lost; "" if the format keeps the order, or if these are the genuine rows."""
    if found.unordered and found.in_file_order and genuine.is_test_csv(test_images):
        return ""
    return found.unordered


def _stamps(sources: Sequence[Source]) -> list[tuple[int, int]]:
    """Size and time of the last change of each file."""
    stats = (path.stat() for path in dict.fromkeys(source.path for source in sources))
    return [(stat.st_size, stat.st_mtime_ns) for stat in stats]


def _ids(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    ids = np.arange(len(images), dtype=np.int64)
    ids.flags.writeable = False
    return ids
