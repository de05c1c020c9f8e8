"""Draw a synthetic competition with the files, class proportions and faults of the real data, without a download.

    python -m fer_kit.synthetic DIR

`fer_kit.synthetic.faces` draws the faces. The faults of the real data are in known rows: wrong labels, twins (copies of
a photo, see `fer_kit.synthetic.near_copies`), twins with different labels, twins across train and test, flat images,
and 16 Happy to one Disgust.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_kit.competition import CLASSES, NUM_CLASSES, PIXELS, SIDE_PX
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.synthetic import faces, near_copies

Ints = NDArray[np.int64]
Images = NDArray[np.uint8]

TWIN_KINDS = near_copies.KINDS
RECORD = "synthetic.json"

_LIMITS = {"rows": (100, 200_000), "test-rows": (20, 200_000), "seed": (0, 2**63 - 1)}
_TRAIN_COUNTS = (3995, 436, 4097, 7215, 4830, 3171, 4965)  # rows of each class in the real train.csv, in label order
_COPIES_FRAC = 0.14  # share of rows that are copies; with their sources they are a quarter of all rows, as in FER2013
_WRONG_FRAC = 0.06  # share of rows with a wrong label
# Indices of TWIN_KINDS. The cycle gives each kind a fixed share, even of a few dozen twins.
_KIND_CYCLE = np.array([0, 2, 3, 0, 4, 1, 2, 3, 0, 2, 4, 0, 3, 2, 0, 1, 2, 4, 3, 0])
_DISAGREE_EVERY = 9  # twins; has no common factor with the 20 of the cycle, so that all kinds occur
_CSV_NAMES = ("train.csv", "test.csv", "icml_face_data.csv", "fer2013.csv")


@dataclass(frozen=True)
class SyntheticCompetition:
    """A synthetic competition with the true labels.

    N train rows and M test rows are numbered together: train 0 … N−1, test N … N+M−1.

    Attributes:
        seed: the seed of `draw`.
        train_images: uint8 (N, 48, 48).
        train_labels: int64 (N,), as in the files; some are wrong.
        train_truth: int64 (N,), the expressions that were drawn.
        test_images: uint8 (M, 48, 48).
        test_labels: int64 (M,).
        test_truth: int64 (M,).
        twins: int64 (T, 2), pairs (row of a photo, row of its copy). A photo can have several copies.
        twin_kinds: str (T,), the kind of each pair, one of `TWIN_KINDS`.
        photos: int64 (N+M,), the row of the original photo for each row; equal for twins.
        flat: int64 (F,), rows with constant or nearly constant images; `twins` has none of them.
    """

    seed: int
    train_images: Images
    train_labels: Ints
    train_truth: Ints
    test_images: Images
    test_labels: Ints
    test_truth: Ints
    twins: Ints
    twin_kinds: NDArray[np.str_]
    photos: Ints
    flat: Ints

    @property
    def images(self) -> Images:
        """All images, train before test: uint8 (N+M, 48, 48)."""
        return np.concatenate([self.train_images, self.test_images])

    @property
    def labels(self) -> Ints:
        """All labels as in the files, train before test: int64 (N+M,)."""
        return np.concatenate([self.train_labels, self.test_labels])


def draw(rows: int = 3000, test_rows: int = 750, seed: int = 0) -> SyntheticCompetition:
    """Draw a competition of `rows` train and `test_rows` test faces; the same seed gives the same bytes.

    Raises:
        FerKitError: a number is out of range.
    """
    for (name, (least, most)), value in zip(_LIMITS.items(), (rows, test_rows, seed), strict=True):
        if not least <= value <= most:
            raise FerKitError(f"--{name} {value} is out of range; allowed are {least:,} to {most:,}")
    plan, draft, camera, editor = (np.random.default_rng((seed, stream)) for stream in range(4))
    truth = np.concatenate([plan.permutation(_labels(rows)), plan.permutation(_labels(test_rows))])
    everyone = np.arange(len(truth))
    flat = np.sort(plan.choice(len(truth), max(4, len(truth) // 1500), replace=False))
    twins = _pair_up(truth, flat, plan)
    kinds = _KIND_CYCLE[np.arange(len(twins)) % len(_KIND_CYCLE)]
    photos = everyone.copy()
    photos[twins[:, 1]] = twins[:, 0]

    images = np.empty((len(truth), SIDE_PX, SIDE_PX), np.uint8)
    drawn = np.flatnonzero(photos == everyone)
    images[drawn] = faces.render(faces.traits(truth[drawn], draft), camera)
    for kind, name in enumerate(TWIN_KINDS):
        source, copy = twins[kinds == kind].T
        images[copy] = near_copies.make(images[source], name, editor)
    images[flat] = _flat_images(len(flat), editor)

    doubtful = plan.random(len(truth)) < _WRONG_FRAC
    doubtful[twins[::_DISAGREE_EVERY, 1]] = True
    doubtful[flat] = False
    return SyntheticCompetition(
        seed=seed,
        train_images=images[:rows],
        train_labels=_mislabel(truth[:rows], doubtful[:rows], plan),
        train_truth=truth[:rows],
        test_images=images[rows:],
        test_labels=_mislabel(truth[rows:], doubtful[rows:], plan),
        test_truth=truth[rows:],
        twins=twins,
        twin_kinds=np.array(TWIN_KINDS)[kinds],
        photos=photos,
        flat=flat,
    )


def _labels(rows: int) -> Ints:
    """`rows` sorted labels in the proportions of the real data (largest remainder); no class is empty."""
    counts, rest = np.divmod(np.array(_TRAIN_COUNTS) * rows, sum(_TRAIN_COUNTS))
    counts[np.argsort(-rest, kind="stable")[: rows - counts.sum()]] += 1
    if counts.min() == 0:
        counts[counts.argmax()] -= 1
        counts[counts.argmin()] += 1
    return np.repeat(np.arange(NUM_CLASSES), counts)


def _pair_up(truth: Ints, flat: Ints, rng: np.random.Generator) -> Ints:
    """Choose rows and their copies within a class and across train and test: int64 (T, 2), in random order.

    One in five of the copied photos has two copies.
    """
    pairs = []
    for label in range(NUM_CLASSES):
        members = rng.permutation(np.setdiff1d(np.flatnonzero(truth == label), flat))
        copied, others = np.split(members, [round(_COPIES_FRAC * len(members))])
        once = len(copied) - len(copied) // 6
        sources = np.concatenate([others[:once], others[: len(copied) - once]])
        pairs.append(np.stack([sources, copied], axis=1))
    return rng.permutation(np.concatenate(pairs))


def _mislabel(truth: Ints, doubtful: NDArray[np.bool_], rng: np.random.Generator) -> Ints:
    """Shuffle the labels of the doubtful rows: class counts stay the same, and nearly all of these labels are wrong."""
    labels = truth.copy()
    where = np.flatnonzero(doubtful)
    labels[where] = rng.permutation(labels[where])
    for row in where[labels[where] == truth[where]]:  # rows that kept their label swap with another row
        others = where[(labels[where] != truth[row]) & (truth[where] != labels[row])]
        if len(others):
            other = others[rng.integers(len(others))]
            labels[row], labels[other] = labels[other], labels[row]
    return labels


def _flat_images(n: int, rng: np.random.Generator) -> Images:
    """Flat images uint8 (n, 48, 48), in turn: black, black, grey, and grey with weak noise (standard deviation 1)."""
    order = np.arange(n)[:, None, None] % 4
    shades = np.where(order < 2, 0, rng.integers(0, 250, (n, 1, 1)))
    return (shades + np.where(order < 3, 0, rng.integers(0, 4, (n, SIDE_PX, SIDE_PX)))).astype(np.uint8)


def write(
    folder: Path | str, competition: SyntheticCompetition, with_labels: bool = False, force: bool = False
) -> list[Path]:
    """Write train.csv and test.csv and, with labels, icml_face_data.csv; returns their paths.

    In icml_face_data.csv the first half of the test rows is PublicTest, the rest PrivateTest. The hashes of the files
    are recorded in synthetic.json, so that a later call replaces files of this function, but not the real data.

    Raises:
        FerKitError: the folder has competition files that this function did not write, or cannot be written to.
    """
    folder = Path(folder)
    train, test = _pixel_texts(competition.train_images), _pixel_texts(competition.test_images)
    train_lines = zip(competition.train_labels, train, strict=True)
    contents = {
        "train.csv": b"emotion,pixels\n" + b"".join(b'%d,"%b"\n' % line for line in train_lines),
        "test.csv": b"pixels\n" + b"".join(b'"%b"\n' % text for text in test),
    }
    if with_labels:
        usages = [b"Training"] * len(train) + [b"PublicTest"] * (len(test) // 2)
        usages += [b"PrivateTest"] * (len(test) - len(test) // 2)
        lines = zip(competition.labels, usages, train + test, strict=True)
        contents["icml_face_data.csv"] = b"emotion, Usage, pixels\n" + b"".join(b"%d,%b,%b\n" % line for line in lines)
    _protect(folder, contents, force)
    record = {
        "drawn_by": "python -m fer_kit.synthetic",
        "rows": len(train),
        "test_rows": len(test),
        "seed": competition.seed,
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    }
    atomic.write_json(folder / RECORD, record)
    for name in _CSV_NAMES:
        if name in contents:
            with atomic.replacing(folder / name) as file:
                file.write(contents[name])
        else:  # written by an earlier call (or `_protect` would have refused), so the labels belong to other rows
            (folder / name).unlink(missing_ok=True)
    return [folder / name for name in contents]


def _protect(folder: Path, names: Iterable[str], force: bool) -> None:
    """Refuse to replace competition files that `write` did not make, or to mix them with drawn files.

    Raises:
        FerKitError: there is such a file.
    """
    record = atomic.read_json(folder / RECORD) if (folder / RECORD).exists() else {}
    drawn = record.get("sha256", {}) if isinstance(record, dict) else {}
    for name in [*_CSV_NAMES, *(f"{name}.zip" for name in _CSV_NAMES)]:
        path = folder / name
        if not path.exists() or atomic.sha256_of(path) == drawn.get(name) or (force and name in names):
            continue
        way_out = "replace the file with --force" if name in names else "move the file away"
        raise FerKitError(
            f"{path}: was not written by this command and may be the real data; give another folder, or {way_out}"
        )


def _pixel_texts(images: Images) -> list[bytes]:
    """The 2,304 grey levels of each image as decimal numbers with spaces between them."""
    table = np.array([f"{value} " for value in range(256)], "S4").view(np.uint8).reshape(256, 4)
    texts = (table[pixels] for pixels in images.reshape(-1, PIXELS))  # padded to 4 characters with 0
    return [text[text != 0].tobytes()[:-1] for text in texts]


def write_sheet(path: Path | str, competition: SyntheticCompetition, rows: int = 6) -> None:
    """Write a PNG with a column for each expression and `rows` train faces in each column."""
    from PIL import Image, ImageDraw, ImageFont

    scale, gap, title_px = 2, 4, 22
    cell = SIDE_PX * scale + gap
    sheet = Image.new("L", (NUM_CLASSES * cell + gap, rows * cell + title_px), 255)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    faces_only = np.setdiff1d(np.arange(len(competition.train_images)), competition.flat)
    for column, name in enumerate(CLASSES):
        left = gap + column * cell
        pen.text((left + SIDE_PX * scale // 2, title_px // 2), name, fill=0, font=font, anchor="mm")
        members = faces_only[competition.train_truth[faces_only] == column][:rows]
        for row, pixels in enumerate(competition.train_images[members]):
            picture = Image.fromarray(pixels.repeat(scale, axis=0).repeat(scale, axis=1))
            sheet.paste(picture, (left, title_px + row * cell))
    with atomic.replacing(path) as file:
        sheet.save(file, "PNG", optimize=True)
