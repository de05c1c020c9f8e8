"""A drawn competition: the real one's files, proportions and faults, in seconds and without a download.

    python -m fer_kit.synthetic DIR

The faces come from `fer_kit.faces`. What is wrong with the real data is planted here, in known places:
wrong labels, twins (the same photo again: exact, mirrored, cropped, in another contrast, watermarked),
twins that disagree on the label, twins across train and test, flat images, one Disgust to 16 Happy.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_kit import cli, faces, files
from fer_kit.errors import FerKitError
from fer_kit.labels import CLASSES, NUM_CLASSES, PIXELS, SIDE_PX

Ints = NDArray[np.int64]
Images = NDArray[np.uint8]

TWIN_KINDS = ("exact", "mirror", "crop", "contrast", "watermark")
MIN_ROWS, MIN_TEST_ROWS = 100, 20
RECORD = "synthetic.json"

_FER2013_COUNTS = (3995, 436, 4097, 7215, 4830, 3171, 4965)  # train.csv of the real competition
_COPIES_FRAC = 0.14  # rows that copy another row: with their sources a quarter of all rows
_WRONG_FRAC = 0.06
_KIND_PATTERN = np.array([0, 2, 3, 0, 4, 1, 2, 3, 0, 2, 4, 0, 3, 2, 0, 1, 2, 4, 3, 0])  # into TWIN_KINDS
_COMPETITION_FILES = ("train.csv", "test.csv", "icml_face_data.csv", "fer2013.csv")


@dataclass(frozen=True)
class SyntheticCompetition:
    """A drawn competition with the truth about it.

    N train and M test rows. Where both count, rows are numbered through: train 0 … N−1, test N … N+M−1.

    Attributes:
        train_images: uint8 (N, 48, 48).
        train_labels: int64 (N,), some of them wrong, as written to the files.
        train_truth: int64 (N,), the expressions drawn.
        test_images: uint8 (M, 48, 48).
        test_labels: int64 (M,).
        test_truth: int64 (M,).
        twins: int64 (T, 2), pairs (photo, its copy) by row number.
        twin_kinds: str (T,), one of `TWIN_KINDS` a pair.
        photos: int64 (N+M,), the row that each row's photo comes from: equal for rows that are twins.
        flat: int64 (F,), the rows that hold a constant or nearly constant image.
    """

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
        """All labels as written, train before test: int64 (N+M,)."""
        return np.concatenate([self.train_labels, self.test_labels])


def draw(rows: int = 3000, test_rows: int = 750, seed: int = 0) -> SyntheticCompetition:
    """Draw a competition of `rows` train and `test_rows` test faces; the same seed gives the same bytes.

    Raises:
        FerKitError: fewer than 100 rows or 20 test rows, a negative seed.
    """
    for name, value, least in (("rows", rows, MIN_ROWS), ("test-rows", test_rows, MIN_TEST_ROWS), ("seed", seed, 0)):
        if value < least:
            raise FerKitError(f"{name} {value} is too small: at least {least}; give a larger --{name}")
    plan, draft, camera, editor = (np.random.default_rng((seed, stream)) for stream in range(4))
    truth = np.concatenate([plan.permutation(_shares(rows)), plan.permutation(_shares(test_rows))])
    flat = np.sort(plan.choice(len(truth), max(4, len(truth) // 1500), replace=False))
    twins = _pair(truth, flat, plan)
    kinds = _KIND_PATTERN[np.arange(len(twins)) % len(_KIND_PATTERN)]
    photos = np.arange(len(truth))
    photos[twins[:, 1]] = twins[:, 0]

    images = np.empty((len(truth), SIDE_PX, SIDE_PX), np.uint8)
    originals = np.flatnonzero(photos == np.arange(len(truth)))
    images[originals] = faces.render(faces.traits(truth[originals], draft), camera)
    for kind, name in enumerate(TWIN_KINDS):
        source, copy = twins[kinds == kind].T
        images[copy] = _copies(images[source], name, editor)
    images[flat] = _flat_images(len(flat), editor)

    suspects = plan.random(len(truth)) < _WRONG_FRAC
    suspects[twins[::9, 1]] = True  # every ninth twin pair disagrees; 9 and the pattern's 20 share no factor
    suspects[flat] = False
    parts = [_mislabel(truth[part], suspects[part], plan) for part in (slice(rows), slice(rows, None))]
    names = np.array(TWIN_KINDS)[kinds]
    return SyntheticCompetition(
        images[:rows], parts[0], truth[:rows], images[rows:], parts[1], truth[rows:], twins, names, photos, flat
    )


def _shares(rows: int) -> Ints:
    """`rows` sorted labels in the real competition's proportions (largest remainder, no class empty)."""
    exact = np.array(_FER2013_COUNTS) * rows
    counts, rest = np.divmod(exact, sum(_FER2013_COUNTS))
    counts[np.argsort(-rest, kind="stable")[: rows - counts.sum()]] += 1
    if counts.min() == 0:
        counts[counts.argmax()] -= 1
        counts[counts.argmin()] += 1
    return np.repeat(np.arange(NUM_CLASSES), counts)


def _pair(truth: Ints, flat: Ints, rng: np.random.Generator) -> Ints:
    """Which rows copy which, within a class; some photos are copied twice: int64 (T, 2)."""
    pairs = []
    for label in range(NUM_CLASSES):
        members = rng.permutation(np.setdiff1d(np.flatnonzero(truth == label), flat))
        copies, sources = np.split(members, [round(_COPIES_FRAC * len(members))])
        again = len(copies) // 6
        chosen = np.concatenate([sources[: len(copies) - again], sources[:again]])
        pairs.append(np.stack([chosen, copies], axis=1))
    return rng.permutation(np.concatenate(pairs))


def _mislabel(truth: Ints, suspects: NDArray[np.bool_], rng: np.random.Generator) -> Ints:
    """Shuffle the labels of `suspects` among themselves: the class counts stay, nearly all change."""
    labels = truth.copy()
    where = np.flatnonzero(suspects)
    labels[where] = rng.permutation(labels[where])
    for row in where[labels[where] == truth[where]]:
        other = where[(labels[where] != truth[row]) & (truth[where] != labels[row])]
        if len(other):
            swap = other[rng.integers(len(other))]
            labels[row], labels[swap] = labels[swap], labels[row]
    return labels


def _copies(images: Images, kind: str, rng: np.random.Generator) -> Images:
    """The same photos as another site would have them: uint8 (T, 48, 48)."""
    if kind == "exact":
        return images
    if kind == "mirror":
        return images[:, :, ::-1]
    values = images.astype(np.float32)
    if kind == "crop":
        values = _cropped(values, rng)
    elif kind == "contrast":
        gain, bias = _uniform(rng, len(images), 0.55, 1.25), _uniform(rng, len(images), -25, 25)
        values = (values - 128) * gain + 128 + bias
    else:
        strength = _uniform(rng, len(images), 0.3, 0.7)
        values += strength * _watermarks(len(images), rng) * (255 - values)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _uniform(rng: np.random.Generator, n: int, low: float, high: float) -> faces.Floats:
    """(n, 1, 1) float32."""
    return (low + (high - low) * rng.random((n, 1, 1), np.float32)).astype(np.float32)


def _cropped(values: faces.Floats, rng: np.random.Generator) -> faces.Floats:
    """A part of each picture, 82% to 94% of a side, enlarged to the full size (bilinear)."""
    n = len(values)
    scale = _uniform(rng, n, 0.82, 0.94)[:, :, 0]
    picture = np.arange(n)[:, None, None]
    low, weight = [], []
    for _ in range(2):
        corner = rng.random((n, 1), np.float32) * (1 - scale) * SIDE_PX
        at = corner + (np.arange(SIDE_PX, dtype=np.float32) + 0.5) * scale - 0.5
        at = np.clip(at, 0, SIDE_PX - 1.001)
        low.append(at.astype(np.int64))
        weight.append(at - low[-1])
    y, x, wy, wx = low[0][:, :, None], low[1][:, None, :], weight[0][:, :, None], weight[1][:, None, :]
    above = values[picture, y, x] * (1 - wx) + values[picture, y, x + 1] * wx
    below = values[picture, y + 1, x] * (1 - wx) + values[picture, y + 1, x + 1] * wx
    return above * (1 - wy) + below * wy


def _watermarks(n: int, rng: np.random.Generator) -> faces.Floats:
    """Masks of one line of random letters, 3×5 pixels each, somewhere in the picture: (n, 48, 48)."""
    letters = 7
    masks = np.zeros((n, SIDE_PX, SIDE_PX), np.float32)
    line = np.zeros((n, 5, letters, 4), np.float32)
    line[:, :, :, :3] = rng.random((n, 5, letters, 3)) < 0.55
    top, left = rng.integers(2, SIDE_PX - 7, n), rng.integers(0, SIDE_PX - 4 * letters, n)
    for mask, word, y, x in zip(masks, line.reshape(n, 5, 4 * letters), top, left, strict=True):
        mask[y : y + 5, x : x + 4 * letters] = word
    return masks


def _flat_images(n: int, rng: np.random.Generator) -> Images:
    """Black, white and grey images; every fourth with a trace of grain (standard deviation below 2)."""
    shades = np.where(np.arange(n) % 4 < 2, 0, rng.integers(0, 250, n))
    grain = rng.integers(0, 4, (n, SIDE_PX, SIDE_PX)) * (np.arange(n) % 4 == 3)[:, None, None]
    return (shades[:, None, None] + grain).astype(np.uint8)


def write(
    folder: Path | str, competition: SyntheticCompetition, with_labels: bool = False, force: bool = False
) -> None:
    """Write train.csv and test.csv, and with labels icml_face_data.csv, byte for byte the same each time.

    In icml_face_data.csv the first half of the test rows is PublicTest, the rest PrivateTest. What was
    written is noted in synthetic.json, so that files from elsewhere are known and left alone.

    Raises:
        FerKitError: the folder holds competition files that were not drawn (and not `force`), or
            cannot be written.
    """
    folder = Path(folder)
    if not force:
        _refuse_foreign_files(folder)
    train, test = _pixel_texts(competition.train_images), _pixel_texts(competition.test_images)
    answers = competition.test_labels
    contents = {
        "train.csv": b"emotion,pixels\n" + _lines(competition.train_labels, b',"', train, b'"\n'),
        "test.csv": b"pixels\n" + b"".join(b'"%b"\n' % text for text in test),
    }
    if with_labels:
        half = len(test) // 2
        contents["icml_face_data.csv"] = (
            b"emotion, Usage, pixels\n"
            + _lines(competition.train_labels, b",Training,", train, b"\n")
            + _lines(answers[:half], b",PublicTest,", test[:half], b"\n")
            + _lines(answers[half:], b",PrivateTest,", test[half:], b"\n")
        )
    else:  # one drawn earlier would hold the answers to other rows
        (folder / "icml_face_data.csv").unlink(missing_ok=True)
    record = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    files.write_json(folder / RECORD, {"drawn by": "fer_kit.synthetic", "sha256": record})
    for name, content in contents.items():
        with files.replacing(folder / name) as file:
            file.write(content)


def _refuse_foreign_files(folder: Path) -> None:
    """Raise if a competition file here, zipped or not, is not one that `write` made."""
    record = folder / RECORD
    drawn = files.read_json(record).get("sha256", {}) if record.exists() else {}
    for name in [*_COMPETITION_FILES, *(f"{name}.zip" for name in _COMPETITION_FILES)]:
        path = folder / name
        if path.exists() and files.sha256_of(path) != drawn.get(name):
            raise FerKitError(
                f"{path} was not drawn by fer_kit.synthetic and may be the real data; "
                "give another folder, or --force to write over it"
            )


def _pixel_texts(images: Images) -> list[bytes]:
    """Each image as its 2,304 numbers with a space between."""
    table = np.array([f"{value} " for value in range(256)], "S4").view(np.uint8).reshape(256, 4)
    texts = []
    for pixels in images.reshape(len(images), PIXELS):
        letters = table[pixels]
        texts.append(letters[letters != 0].tobytes()[:-1])
    return texts


def _lines(labels: Ints, between: bytes, texts: list[bytes], end: bytes) -> bytes:
    return b"".join(b"%d%b%b%b" % (label, between, text, end) for label, text in zip(labels, texts, strict=True))


def write_sheet(path: Path | str, competition: SyntheticCompetition, rows: int = 6) -> None:
    """A picture sheet (PNG): one column a class as drawn, `rows` train faces each, enlarged twice."""
    from PIL import Image, ImageDraw, ImageFont

    scale, gap, head = 2, 4, 20
    cell = SIDE_PX * scale + gap
    sheet = Image.new("L", (NUM_CLASSES * cell + gap, rows * cell + head), 255)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for column, name in enumerate(CLASSES):
        pen.text((gap + column * cell + cell // 2, head // 2), name, fill=0, font=font, anchor="mm")
        members = np.setdiff1d(np.flatnonzero(competition.train_truth == column), competition.flat)
        for row, member in enumerate(members[:rows]):
            face = Image.fromarray(competition.train_images[member]).resize(
                (SIDE_PX * scale,) * 2, Image.Resampling.BOX
            )
            sheet.paste(face, (gap + column * cell, head + row * cell))
    with files.replacing(path) as file:
        sheet.quantize(64).save(file, "PNG", optimize=True)


def build_parser() -> argparse.ArgumentParser:
    """The command line of `python -m fer_kit.synthetic`."""
    parser = cli.parser("python -m fer_kit.synthetic", "Draw a competition: faces with labels, twins and faults.")
    parser.add_argument("folder", metavar="DIR", type=Path, help="where train.csv and test.csv go")
    parser.add_argument("--rows", type=int, default=3000, help="train rows")
    parser.add_argument("--test-rows", type=int, default=750, help="test rows")
    parser.add_argument("--seed", type=int, default=0, help="the same seed draws the same bytes")
    parser.add_argument("--with-labels", action="store_true", help="write icml_face_data.csv with the test labels too")
    parser.add_argument("--sheet", metavar="FILE.png", type=Path, help="write a picture sheet of the faces too")
    parser.add_argument("--force", action="store_true", help="write over competition files that were not drawn")
    return parser


def body(args: argparse.Namespace) -> None:
    """Draw, write, and say what was written and what comes next."""
    competition = draw(args.rows, args.test_rows, args.seed)
    write(args.folder, competition, args.with_labels, args.force)
    counts = np.bincount(competition.train_labels, minlength=NUM_CLASSES)
    print(f"{args.folder / 'train.csv'}: {args.rows:,} drawn faces (", end="")
    print(", ".join(f"{name} {count}" for name, count in zip(CLASSES, counts, strict=True)), end=")\n")
    print(f"{args.folder / 'test.csv'}: {args.test_rows:,} drawn faces without labels")
    if args.with_labels:
        print(f"{args.folder / 'icml_face_data.csv'}: both, with labels and Usage")
    if args.sheet:
        write_sheet(args.sheet, competition)
        print(f"{args.sheet}: picture sheet")
    print(f"next: python -m fer_kit.folds --data {args.folder}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
