"""Forms of the data beside the competition's own csv files: what is read, what is refused, how one is added."""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
import zipfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

import fer_kit.data.formats as formats
from fer_kit.competition import CLASSES
from fer_kit.data import cache, csv_files, genuine, loading
from fer_kit.data.archives import Source
from fer_kit.data.csv_reader import Faces
from fer_kit.data.formats import parquet, splits
from fer_kit.data.formats.rows import Found, Rows
from fer_kit.files import unzip
from tests.helpers.small_competition import (
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    USAGE,
    assert_is_the_competition,
    content,
    encoded,
    images_as_files,
    refusal,
    write,
    write_files,
    write_tar,
)

ROOT = Path(__file__).resolve().parents[2]

# --- image folders ---------------------------------------------------------------------------------------------------


def by_content(images: np.ndarray, labels: np.ndarray) -> list[tuple[bytes, int]]:
    return sorted((image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True))


def in_zip(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, written in files.items():
            archive.writestr(f"archive/{name}", written)
    return path


def in_tar(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, written in reversed(files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(written)
            archive.addfile(member, io.BytesIO(written))
    return path


@pytest.mark.parametrize(
    ("name", "split"),
    [("Train", 0), ("FER2013Train", 0), ("valid", 3), ("Public Test", 1), ("private_test", 2)]
    + [(name, None) for name in ("train_old", "test2", "mytests", "2013", "")],
)
def test_names_of_folders(name: str, split: int | None) -> None:
    """Other words beside a split make another folder, such as a copy."""
    assert splits.split_of_folder(name) == split


NUMBERS = [str(code) for code in range(7)]
CAPITALS = [name.upper() for name in CLASSES]
OTHER_WORDS = ["anger", "disgusted", "fearful", "Happiness", "sadness", "surprised", "neutral"]
IMAGES = {
    "folders": lambda folder: write_files(folder, images_as_files()),
    "a folder deeper": lambda folder: write_files(folder / "fer2013", images_as_files()).parent,
    "capital letters": lambda folder: write_files(folder, images_as_files(".PNG", CAPITALS, "Train")),
    "other words": lambda folder: write_files(folder, images_as_files(".bmp", OTHER_WORDS)),
    "numbers": lambda folder: write_files(folder, images_as_files(words=NUMBERS, train="Training")),
    "zip": lambda folder: in_zip(folder / "archive.zip", images_as_files()).parent,
    "tar.gz named": lambda folder: in_tar(folder / "images.tar.gz", images_as_files()),
}


@pytest.mark.parametrize("form", IMAGES)
def test_image_folders(form: str, tmp_path: Path) -> None:
    """All forms have one order and one digest, which depend on the images and labels alone."""
    place = IMAGES[form](tmp_path / "in")
    assert loading.find(place) == place
    for _ in range(2):  # the second is read from the cache
        loaded = loading.load(place, tmp_path / "cache")
        assert by_content(loaded.train.images, loaded.train.labels) == by_content(TRAIN_IMAGES, TRAIN_LABELS)
        assert loaded.digest == loading.load(write_files(tmp_path / "plain", images_as_files()), tmp_path / "c").digest
    answers = loading.load_answers(place)
    assert answers is not None and set(answers.usage.tolist()) == {"Test"}
    assert by_content(loaded.test.images, answers.labels) == by_content(TEST_IMAGES, TEST_LABELS)
    assert "do not keep the order of test.csv, and a submission" in refusal(
        loading.refuse_unordered, loaded, "a submission"
    )


def test_names_of_files_tell_the_half(tmp_path: Path) -> None:
    files = dict(list(images_as_files().items())[:8])
    rows = zip(TEST_IMAGES, TEST_LABELS, USAGE, strict=True)
    files |= {
        f"test/{CLASSES[label]}/{half}_{row}.png": encoded(image) for row, (image, label, half) in enumerate(rows)
    }
    answers = loading.load_answers(write_files(tmp_path, files))
    assert answers is not None and sorted(answers.usage.tolist()) == sorted(USAGE)
    halves = {(int(label), half) for label, half in zip(answers.labels, answers.usage, strict=True)}
    assert halves == set(zip(TEST_LABELS.tolist(), USAGE, strict=True))


def test_an_image_in_another_class_is_other_data(tmp_path: Path) -> None:
    """Although the bytes of all files are the same: the names count for the cache too."""
    files = images_as_files()
    first = loading.load(write_files(tmp_path / "a", files), tmp_path / "cache")
    name = next(name for name in files if name.startswith("train/Happy/"))
    files[name.replace("Happy", "Fear")] = files.pop(name)
    assert loading.load(write_files(tmp_path / "b", files), tmp_path / "cache").digest != first.digest


def test_many_files_are_identified_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MANY_FILES", 4)
    place = write_files(tmp_path, images_as_files())
    found = formats.find(place)
    assert found is not None
    key = cache.key_of(found.sources, found.keys)
    assert cache.key_of(found.sources, found.keys) == key
    changed = bytearray(found.sources[5].path.read_bytes())
    changed[-20] ^= 1
    found.sources[5].path.write_bytes(changed)
    assert cache.key_of(found.sources, found.keys) != key


def some_other(files: dict[str, bytes], written: bytes) -> dict[str, bytes]:
    return {**files, "train/Happy/x.png": written}


def animated() -> bytes:
    buffer = io.BytesIO()
    frames = [Image.fromarray(image) for image in TRAIN_IMAGES[:2]]
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


BROKEN_IMAGES = {
    "text": (b"hello", "x.png: not a readable image (cannot identify"),
    "cut": (encoded(TRAIN_IMAGES[0])[:500], "x.png: not a readable image ("),
    "too large": (encoded(np.zeros((96, 96), np.uint8)), "x.png: has 96×96 pixels, allowed is one picture of 48×48"),
    "a bomb": (encoded(np.zeros((9000, 9000), np.uint8)), "x.png: has 9000×9000 pixels, allowed"),
    "large file": (bytes(2 << 20), "x.png: has more than 1,048,576 bytes, too many for a face"),
    "several pictures": (animated(), "x.png: has 2 pictures, allowed is one"),
}


@pytest.mark.parametrize("fault", BROKEN_IMAGES)
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_broken_images_are_named(fault: str, form: str, tmp_path: Path) -> None:
    written, words = BROKEN_IMAGES[fault]
    files = some_other(images_as_files(), written)
    place = write_files(tmp_path / "in", files) if form == "folder" else in_zip(tmp_path / "in" / "a.zip", files)
    message = refusal(loading.load, place, tmp_path / "cache")
    assert words in message and str(place) in message and "Happy/x.png" in message


def test_faces_in_colour_that_are_grey_are_the_same(tmp_path: Path) -> None:
    files = images_as_files()
    grey = loading.load(write_files(tmp_path / "a", files), tmp_path / "cache")
    name = next(iter(files))
    files[name] = encoded(np.asarray(Image.open(io.BytesIO(files[name])).convert("RGB")))
    assert loading.load(write_files(tmp_path / "b", files), tmp_path / "cache").digest == grey.digest


def test_half_of_the_folders(tmp_path: Path) -> None:
    train = {name: written for name, written in images_as_files().items() if name.startswith("train")}
    assert "for train rows alone; add the folder test" in refusal(loading.find, write_files(tmp_path / "a", train))
    no_fear = {name: written for name, written in images_as_files().items() if "Fear" not in name}
    place = write_files(tmp_path / "b", no_fear)
    assert "no image of Fear" in refusal(loading.load, place, tmp_path / "cache")
    place = write_files(tmp_path / "c", {**images_as_files(), "train/bored/1.png": b""})
    assert "the folder 'bored' is no class; allowed are 0 to 6" in refusal(loading.find, place)


# --- parquet ---------------------------------------------------------------------------------------------------------

ALPHABETICAL = ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"]


def write_parquet(path: Path, columns: dict[str, list[object]], names: list[str] | None = None) -> Path:
    """A table as the library `datasets` writes it; names: those of the numbers in the column label."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pyarrow.table(columns)
    if names is not None:
        features = {name: {"_type": "Image"} for name in columns} | {"label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pyarrow.parquet.write_table(table, path)
    return path


def faces(images: np.ndarray, labels: np.ndarray) -> dict[str, list[object]]:
    return {
        "image": [{"bytes": encoded(image), "path": None} for image in images],
        "label": [ALPHABETICAL.index(CLASSES[label].lower()) for label in labels],
    }


def hugging_face(folder: Path) -> Path:
    """Two shards of train rows and the test rows, with classes in alphabetical order."""
    data = folder / "data"
    write_parquet(data / "train-00000-of-00002.parquet", faces(TRAIN_IMAGES[:5], TRAIN_LABELS[:5]), ALPHABETICAL)
    write_parquet(data / "train-00001-of-00002.parquet", faces(TRAIN_IMAGES[5:], TRAIN_LABELS[5:]), ALPHABETICAL)
    write_parquet(data / "test-00000-of-00001.parquet", faces(TEST_IMAGES, TEST_LABELS), ALPHABETICAL)
    return folder


def converted(folder: Path) -> Path:
    """fer2013.csv as pandas writes it to parquet."""
    rows = [line.split(",") for line in content("fer2013.csv").splitlines()]
    columns = {name: [row[place] for row in rows[1:]] for place, name in enumerate(rows[0])}
    return write_parquet(folder / "fer2013.parquet", {**columns, "emotion": list(map(int, columns["emotion"]))})


def converter_branch(folder: Path) -> Path:
    """The branch refs/convert/parquet: a folder for each split; words, and bytes without a struct."""
    for split, images, labels in (("train", TRAIN_IMAGES, TRAIN_LABELS), ("test", TEST_IMAGES, TEST_LABELS)):
        columns = {"img_bytes": [encoded(one) for one in images], "labels": [CLASSES[label] for label in labels]}
        write_parquet(folder / "default" / split / "0000.parquet", columns)
    return folder


@pytest.mark.parametrize("form", [hugging_face, converted, converter_branch])
def test_parquet(form, tmp_path: Path) -> None:
    place = form(tmp_path / "in")
    for _ in range(2):
        assert_is_the_competition(loaded := loading.load(loading.find(place), tmp_path / "cache"))
    assert "whether they keep the order of test.csv" in loaded.unordered
    answers = loading.load_answers(place)
    assert answers is not None and answers.labels.tolist() == TEST_LABELS.tolist()
    assert answers.usage.tolist() == (USAGE if form is converted else ["Test"] * 5)


def test_parquet_with_the_genuine_test_rows_has_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(genuine, "is_test_csv", lambda images: bool((images == TEST_IMAGES).all()))
    assert loading.load(hugging_face(tmp_path / "in"), tmp_path / "cache").unordered == ""


def test_numbers_without_a_meaning_are_refused(tmp_path: Path) -> None:
    columns = faces(TRAIN_IMAGES, TRAIN_LABELS)
    place = write_parquet(tmp_path / "train.parquet", columns)
    write_parquet(tmp_path / "test.parquet", faces(TEST_IMAGES, TEST_LABELS))
    message = refusal(loading.load, tmp_path, tmp_path / "cache")
    assert message.startswith(f"{tmp_path / 'test.parquet'}: row 1: label is 4, and the file does not state what")
    assert place.exists()


PARQUET_FAULTS = {
    "no image": ({"x": [1], "label": ["sad"]}, "has no column image or img_bytes or img or pixels (found: x, label)"),
    "no label": ({"image": [b""]}, "has no column label or labels or emotion (found: image)"),
    "another word": ({"image": [encoded(TRAIN_IMAGES[0])], "label": ["bored"]}, "row 1: label is 'bored', allowed are"),
    "no bytes": ({"image": [3], "label": ["sad"]}, "row 1: holds no image but int"),
    "null": ({"image": [{"bytes": None, "path": "a.png"}], "label": ["sad"]}, "row 1: holds no image but NoneType"),
    "broken image": ({"image": [b"GIF89a"], "label": ["sad"]}, "row 1: not a readable image ("),
    "few pixels": ({"pixels": ["1 2"], "emotion": [3]}, "row 1: has 2 pixels, must have 2,304"),
    "no rows": ({"pixels": pyarrow.array([], "string"), "emotion": pyarrow.array([], "int64")}, "has no rows"),
    "half": ({"pixels": ["1"], "emotion": [3], "Usage": ["x"]}, "Usage is 'x', allowed are Training"),
}


@pytest.mark.parametrize("fault", PARQUET_FAULTS)
def test_faults_of_parquet_files_are_named(fault: str, tmp_path: Path) -> None:
    columns, words = PARQUET_FAULTS[fault]
    if fault == "half":
        columns = {**columns, "pixels": [" ".join(["0"] * 2304)]}
    place = write_parquet(tmp_path / "train.parquet", columns)
    message = refusal(loading.load, tmp_path, tmp_path / "cache")
    assert message.startswith(f"{place}") and words in message


def test_broken_parquet_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = hugging_face(tmp_path) / "data" / "train-00000-of-00002.parquet"
    whole = place.read_bytes()
    for damaged in (whole[:-20], whole[:4] + bytes(len(whole) - 4), b"", b"PAR1", b"PAR1" + b"\xff" * 40 + b"PAR1"):
        place.write_bytes(damaged)
        assert f"{place}: not a readable parquet file (" in refusal(loading.load, tmp_path, tmp_path / "cache")
    place.write_bytes(whole)
    monkeypatch.setattr(parquet, "MOST_BYTES", 1000)
    assert "allowed are 200,000 rows of 1,000 bytes" in refusal(loading.load, tmp_path, tmp_path / "cache")
    assert f"{place.parent / 'x.parquet'}: neither its name nor a column Usage" in refusal(
        loading.load, place.rename(place.parent / "x.parquet"), tmp_path / "cache"
    )


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    message = refusal(loading.load, hugging_face(tmp_path), tmp_path / "cache")
    assert "pip install 'fer_kit[parquet]'" in message


# --- archives of strangers -------------------------------------------------------------------------------------------


def test_a_link_in_a_tar_file_is_not_followed(tmp_path: Path) -> None:
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        with tarfile.open(tmp_path / "a.tar", "w") as archive:
            link = tarfile.TarInfo("fer2013/fer2013.csv")
            link.type, link.linkname = kind, "/etc/passwd"
            archive.addfile(link)
        assert "a.tar: fer2013/fer2013.csv is a link, not a file" in refusal(loading.find, tmp_path / "a.tar")


def test_bombs_are_refused_while_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unzip, "_FREE_BYTES", 1 << 20)
    (tmp_path / "fer2013.csv.gz").write_bytes(gzip.compress(b"emotion,pixels,Usage\n" + b"\n" * (8 << 20)))
    assert "unpacks to" in refusal(loading.load, tmp_path / "fer2013.csv.gz", tmp_path / "cache")
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("zeros")
        member.size = 8 << 20
        archive.addfile(member, io.BytesIO(bytes(8 << 20)))
    assert "b.tar.gz: unpacks to" in refusal(loading.find, tmp_path / "b.tar.gz")


def test_a_large_header_in_a_tar_file_is_not_read(tmp_path: Path) -> None:
    with tarfile.open(
        tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "x" * (2 << 20)}
    ) as tar:
        tar.addfile(tarfile.TarInfo("train.csv"))
    assert "has a header of more than 1,048,576 bytes" in refusal(loading.find, tmp_path / "a.tar")


@pytest.mark.parametrize("cut", [0.2, 0.9])
def test_cut_archives(cut: float, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "in" / "fer2013.tar.gz", "fer2013.csv")
    path.write_bytes(path.read_bytes()[: int(cut * path.stat().st_size)])
    assert f"{path}" in refusal(loading.load, path, tmp_path / "cache")
    packed = tmp_path / "fer2013.csv.gz"
    packed.write_bytes(gzip.compress(content("fer2013.csv").encode())[:-3000])
    assert refusal(loading.load, packed, tmp_path / "cache").startswith(f"{packed}: damaged or unreadable gzip file (")


def test_a_tar_file_is_read_only_where_needed(tmp_path: Path) -> None:
    write(tmp_path, "train.csv", "test.csv")
    write_tar(tmp_path / "fer2013.tar.gz", "fer2013.csv")
    assert csv_files.sources(tmp_path).keys() == {"train.csv", "test.csv"}
    answers = loading.load_answers(tmp_path)
    assert answers is not None and answers.labels.tolist() == TEST_LABELS.tolist()


# --- genuine content -------------------------------------------------------------------------------------------------

EVERY = Faces(
    np.concatenate([TRAIN_IMAGES, TEST_IMAGES]),
    np.concatenate([TRAIN_LABELS, TEST_LABELS]),
    np.array([0] * 8 + [1] * 3 + [2] * 2, np.uint8),
)
TRAIN_ROWS = Faces(TRAIN_IMAGES, TRAIN_LABELS, np.empty(0, np.uint8))
TEST_ROWS = Faces(TEST_IMAGES, np.empty(0, np.int64), np.empty(0, np.uint8))


@pytest.mark.parametrize(
    ("name", "rows"),
    [("train.csv", TRAIN_ROWS), ("test.csv", TEST_ROWS), ("fer2013.csv", EVERY), ("icml_face_data.csv", EVERY)],
)
def test_genuine_rows_are_known_by_their_content(name: str, rows: Faces, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    monkeypatch.setitem(genuine.ROWS, name, len(rows.images))
    for text in (
        content(name),
        content(name).replace('"', ""),
        content(name).replace("\n", "\r\n"),
        content(name)[:-1],
    ):
        monkeypatch.setitem(genuine.MD5, name, hashlib.md5(text.encode(), usedforsecurity=False).hexdigest())
        assert genuine.is_genuine(name, rows)
        swapped = Faces(rows.images[::-1], rows.labels, rows.usage)
        assert not genuine.is_genuine(name, swapped)


# --- adding a format -------------------------------------------------------------------------------------------------


def npz_format() -> SimpleNamespace:
    """A whole format: arrays in an .npz file."""

    def read(path: Path) -> Rows:
        with np.load(path) as arrays:
            train = Faces(arrays["train_images"], arrays["train_labels"], np.empty(0, np.uint8))
            test = Faces(arrays["test_images"], np.empty(0, np.int64), np.empty(0, np.uint8))
        return Rows(train, test)

    def find(place: Path) -> Found | None:
        path = place / "faces.npz"
        if not path.is_file():
            return None
        return Found([Source(path, None, path.stat().st_size)], [path.name], partial(read, path), labelled_test=False)

    return SimpleNamespace(TEXT="faces.npz", find=find)


def test_adding_a_format_touches_that_file_one_line_a_test_and_the_docs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new module in FORMATS suffices to load, cache and name the data."""
    monkeypatch.setattr(formats, "FORMATS", (*formats.FORMATS, npz_format()))
    arrays = {"train_images": TRAIN_IMAGES, "train_labels": TRAIN_LABELS, "test_images": TEST_IMAGES}
    np.savez(tmp_path / "faces.npz", **arrays)
    for _ in range(2):
        assert_is_the_competition(loading.load(loading.find(tmp_path), tmp_path / "cache"))


def test_every_format_is_in_the_list_and_on_the_page() -> None:
    shared = {"__init__", "rows", "splits", "encoded"}
    modules = {path.stem for path in (ROOT / "fer_kit/data/formats").glob("*.py")} - shared
    assert {one.__name__.rpartition(".")[2] for one in formats.FORMATS} == modules  # type: ignore[attr-defined]
    page = (ROOT / "docs/data.md").read_text(encoding="utf-8")
    for one in formats.FORMATS:
        assert all(word in page for word in re.split(r" and | or |[ ()…]+", one.TEXT)), one.TEXT
