"""The competition's data: train images with labels and test images without, whichever files they come from.

The files, plain or zipped, are train.csv with test.csv, else fer2013.csv, else icml_face_data.csv. Only the first of
these that exists is read, except by `load_answers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_kit.data import cache, csv_reader, places
from fer_kit.data.csv_reader import LABEL, PIXEL, USAGE, USAGES, Faces
from fer_kit.data.places import TEST, TRAIN, WHOLE, Source, find
from fer_kit.errors import FerKitError

__all__ = ["Answers", "Competition", "TestSet", "TrainSet", "check_digest", "find", "load", "load_answers"]


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
    """What training may see. `digest` is the same for the same rows, whichever files they were read from."""

    folder: Path
    train: TrainSet
    test: TestSet
    digest: str


@dataclass(frozen=True)
class Answers:
    """Labels of the test rows, in test.csv order, for `evaluate` alone.

    labels int64 (M,); usage (M,), each "PublicTest" or "PrivateTest".
    """

    labels: NDArray[np.int64]
    usage: NDArray[np.str_]


def load(folder: str | Path, cache_dir: str | Path, expected: str | None = None, used_by: str = "") -> Competition:
    """Read the competition's files, or the cached arrays if the same bytes were read before.

    Args:
        folder: from `find`: a folder, or one csv or zip file.
        cache_dir: the arrays are cached below this folder; normally <runs>/cache.
        expected: the digest that the data must have; None accepts any data.
        used_by: what was made from the expected data, for the error message.

    Raises:
        FerKitError: files are missing, a file has a fault (named with its row number), or the data has another digest.
    """
    folder = Path(folder)
    chosen = _choose(folder)
    stamps = _stamps(chosen)
    cached = Path(cache_dir) / cache.key_of(chosen)[:16]
    arrays, digest = cache.read(cached, ("train_images", "train_labels", "test_images")) or (None, "")
    if arrays is None:
        train, test = _read(chosen)
        if _stamps(chosen) != stamps:  # else these rows could be cached under the key of other content
            raise FerKitError(f"{chosen[0].path.parent}: a file changed while it was read; start again")
        arrays = {"train_images": train.images, "train_labels": train.labels, "test_images": test.images}
        for array in arrays.values():
            array.flags.writeable = False
        digest = cache.digest_of(arrays)
        cache.write(cached, arrays, digest)
    competition = Competition(
        folder=folder if folder.is_dir() else folder.parent,
        train=TrainSet(_ids(arrays["train_images"]), arrays["train_images"], arrays["train_labels"]),
        test=TestSet(_ids(arrays["test_images"]), arrays["test_images"]),
        digest=digest,
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


def load_answers(folder: str | Path) -> Answers | None:
    """Labels of the test rows if fer2013.csv or icml_face_data.csv is among the files, else None.

    Raises:
        FerKitError: the file has a fault, or its test images differ from those of test.csv beside it.
    """
    found = places.sources(Path(folder))
    source = next((found[name] for name in WHOLE if name in found), None)
    if source is None:
        return None
    _, test = _read([source])
    if TEST in found and not np.array_equal(_read_one(found[TEST], (PIXEL,)).images, test.images):
        raise FerKitError(f"{source.name} and {found[TEST].name} hold different test images; remove the wrong one")
    return Answers(test.labels, np.array(USAGES)[test.usage])


def _choose(folder: Path) -> list[Source]:
    """The one or two files to read."""
    found = places.sources(folder)
    if TRAIN in found and TEST in found:
        return [found[TRAIN], found[TEST]]
    for there, missing in ((TRAIN, TEST), (TEST, TRAIN)):
        if there in found:
            raise FerKitError(f"{found[there].name} is there but not {missing}; add {missing} to {folder}")
    for name in WHOLE:
        if name in found:
            return [found[name]]
    raise FerKitError(
        f"{folder}: holds no competition files; looked for {', '.join(places.NAMES)}; {places.instead(folder)}"
    )


def _read(chosen: Sequence[Source]) -> tuple[Faces, Faces]:
    """Train and test rows."""
    if len(chosen) == 2:
        # Rows of a train.csv with a Usage column could be test rows, whose labels must not be trained on.
        return _read_one(chosen[0], (LABEL, PIXEL), refused=(USAGE,)), _read_one(chosen[1], (PIXEL,))
    [source] = chosen
    rows = _read_one(source, (LABEL, PIXEL, USAGE))
    falls = np.flatnonzero(np.diff(rows.usage.astype(np.int8)) < 0)
    if falls.size:
        row = int(falls[0]) + 1
        raise FerKitError(
            f"{source.name}: row {row + 1} is {USAGES[rows.usage[row]]} after {USAGES[rows.usage[row - 1]]}; "
            f"the rows must be in the order {', '.join(USAGES)}, as in {TRAIN} and {TEST}"
        )
    train_count = int(np.count_nonzero(rows.usage == 0))
    for count, kind in ((train_count, "Training"), (len(rows.usage) - train_count, "PublicTest or PrivateTest")):
        if count == 0:
            raise FerKitError(f"{source.name}: has no {kind} rows")
    return _part(rows, slice(None, train_count)), _part(rows, slice(train_count, None))


def _read_one(source: Source, columns: Sequence[str], refused: Sequence[str] = ()) -> Faces:
    with source.open() as file:
        return csv_reader.read(file, source.name, columns, refused)


def _part(rows: Faces, part: slice) -> Faces:
    # Copies, so that no train array is a view of memory that also holds test labels.
    return Faces(rows.images[part], rows.labels[part].copy(), rows.usage[part].copy())


def _stamps(chosen: Sequence[Source]) -> list[tuple[int, int]]:
    """Size and time of the last change of each file."""
    return [(stat.st_size, stat.st_mtime_ns) for stat in (source.path.stat() for source in chosen)]


def _ids(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    ids = np.arange(len(images), dtype=np.int64)
    ids.flags.writeable = False
    return ids
