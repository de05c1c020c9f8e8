"""Loading the competition: every variant the same, test labels kept out, a cache that is never stale."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import os
import runpy
from pathlib import Path

import numpy as np
import pytest

from fer_kit import cli
from fer_kit.competition import CLASSES
from fer_kit.data import cache as data_cache
from fer_kit.data import cache_mark, csv_files, csv_reader, loading
from fer_kit.files import atomic
from fer_kit.folds import __main__ as folds_command
from tests.helpers.small_competition import (
    SLUG,
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    USAGE,
    assert_is_the_competition,
    content,
    pixels,
    refusal,
    write,
    write_tar,
    write_zip,
)


def respelt(folder: Path, *names: str, separator: str = ",", end: str = "\n", words: bool = False) -> Path:
    """The files of the competition as a spreadsheet program may have saved them."""
    folder.mkdir(parents=True)
    for name in names:
        lines = content(name.lower()).replace(",", separator).split("\n")
        if words and name != "test.csv":
            lines = [CLASSES[int(line[0])] + line[1:] if line[:1].isdigit() else line for line in lines]
        (folder / name).write_bytes(end.join(lines).encode())
    return folder


def packed(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        (folder / f"{name}.gz").write_bytes(gzip.compress(content(name).encode()))
    return folder


# --- variants --------------------------------------------------------------------------------------------------------

VARIANTS = {
    "train and test": lambda folder: write(folder, "train.csv", "test.csv"),
    "fer2013": lambda folder: write(folder, "fer2013.csv"),
    "icml": lambda folder: write(folder, "icml_face_data.csv"),
    "one zipped": lambda folder: write_zip(write(folder, "test.csv") / "train.csv.zip", "train.csv").parent,
    "fer2013 zipped": lambda folder: write_zip(folder / "fer2013.csv.zip", "fer2013.csv").parent,
    "competition zip": lambda folder: write_zip(folder / f"{SLUG}.zip", *csv_files.NAMES).parent,
    "nested in a zip": lambda folder: write_zip(folder / "a.zip", "icml_face_data.csv", inside="x/fer2013/").parent,
    "zip named": lambda folder: write_zip(folder / "fer.zip", "train.csv", "test.csv"),
    "train.csv named": lambda folder: write(folder, "train.csv", "test.csv") / "train.csv",
    "csv of another name": lambda folder: write(folder, "fer2013.csv") / "fer2013.csv",
    "capital letters": lambda folder: respelt(folder, "Train.CSV", "TEST.csv"),
    "packed by gzip": lambda folder: packed(folder, "train.csv", "test.csv"),
    "fer2013.csv.gz named": lambda folder: packed(folder, "fer2013.csv") / "fer2013.csv.gz",
    "fer2013.tar.gz": lambda folder: write_tar(folder / "fer2013.tar.gz", "fer2013.csv").parent,
    "tar named": lambda folder: write_tar(folder / "all.tar", "train.csv", "test.csv", inside="x/"),
    "a tar.gz with the name of a csv": lambda folder: write_tar(folder / "fer2013.csv", "fer2013.csv").parent,
    "semicolons": lambda folder: respelt(folder, "fer2013.csv", separator=";"),
    "tabs": lambda folder: respelt(folder, "train.csv", "test.csv", separator="\t"),
    "Windows line ends": lambda folder: respelt(folder, "icml_face_data.csv", end="\r\n"),
    "classes in words": lambda folder: respelt(folder, "train.csv", "test.csv", words=True),
    "all of them": lambda folder: write(folder, *csv_files.NAMES),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_the_same_competition(variant: str, tmp_path: Path) -> None:
    place = VARIANTS[variant](tmp_path / "in")
    first = loading.load(place, tmp_path / "cache")
    again = loading.load(place, tmp_path / "cache")
    write(tmp_path / "plain", "train.csv", "test.csv")
    plain = loading.load(tmp_path / "plain", tmp_path / "other")
    for loaded in (first, again):
        assert_is_the_competition(loaded)
        assert loaded.digest == plain.digest and len(loaded.digest) == 64
        assert loaded.folder == tmp_path / "in"


def test_digest_follows_the_content(tmp_path: Path) -> None:
    folder = write(tmp_path, "train.csv", "test.csv")
    digests = {loading.load(folder, tmp_path / "cache").digest}
    for name, old, new in (("train.csv", "\n3,", "\n4,"), ("train.csv", " 7 ", " 8 "), ("test.csv", " 7 ", " 8 ")):
        (folder / name).write_text(content(name).replace(old, new, 1))
        digests.add(loading.load(folder, tmp_path / "cache").digest)
        write(folder, name)
    assert len(digests) == 4


def test_train_and_test_win_and_a_named_file_wins_over_them(tmp_path: Path) -> None:
    folder = write(tmp_path, *csv_files.NAMES)
    (folder / "fer2013.csv").write_text(content("fer2013.csv").replace("\n3,", "\n4,", 1))
    assert loading.load(folder, tmp_path / "cache").train.labels[3] == 3
    assert loading.load(folder / "fer2013.csv", tmp_path / "cache").train.labels[3] == 4


@pytest.mark.parametrize(("there", "missing"), [("train.csv", "test.csv"), ("test.csv", "train.csv")])
def test_half_a_pair(there: str, missing: str, tmp_path: Path) -> None:
    write(tmp_path, there, "fer2013.csv")
    expected = f"{tmp_path / there} is there but not {missing}; add {missing} to {tmp_path}"
    assert refusal(loading.load, tmp_path, tmp_path / "cache") == expected


def test_copies_of_different_size_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "train.csv", "test.csv")
    inside = write_zip(tmp_path / "all.zip", "train.csv", "test.csv")
    loading.load(tmp_path, tmp_path / "cache")
    with (tmp_path / "train.csv").open("a") as file:
        file.write("\n")
    size = len(content("train.csv"))
    assert refusal(loading.load, tmp_path, tmp_path / "cache") == (
        f"{tmp_path / 'train.csv'} ({size + 1:,} bytes) and {inside}:train.csv ({size:,} bytes) differ; "
        "remove the wrong one"
    )


# --- labels of test rows ---------------------------------------------------------------------------------------------


def test_no_place_for_test_labels(tmp_path: Path) -> None:
    assert {field.name for field in dataclasses.fields(loading.TestSet)} == {"ids", "images"}
    loaded = loading.load(write(tmp_path / "in", "fer2013.csv"), tmp_path / "cache")
    assert loaded.train.labels.base is None or loaded.train.labels.base.size == 8  # no view on all labels
    kept = sorted(path.name for path in (tmp_path / "cache").glob("*/*"))
    assert kept == ["cache.json", "test_images.npy", "train_images.npy", "train_labels.npy"]
    for path in (tmp_path / "cache").glob("*/*labels.npy"):
        np.testing.assert_array_equal(np.load(path), TRAIN_LABELS)


def test_train_csv_with_usage_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "test.csv")
    (tmp_path / "train.csv").write_text(content("fer2013.csv"))
    assert refusal(loading.load, tmp_path, tmp_path / "cache") == (
        f"{tmp_path / 'train.csv'}: must have no column 'Usage'; a file with one is read as fer2013.csv"
    )


@pytest.mark.parametrize("names", [("fer2013.csv",), ("icml_face_data.csv",), ("train.csv", "test.csv", "fer2013.csv")])
def test_answers(names: tuple[str, ...], tmp_path: Path) -> None:
    answers = loading.load_answers(write(tmp_path, *names))
    assert answers is not None
    assert answers.labels.dtype == np.int64 and answers.labels.tolist() == TEST_LABELS.tolist()
    assert answers.usage.tolist() == USAGE


def test_no_answers_and_wrong_answers(tmp_path: Path) -> None:
    folder = write(tmp_path, "train.csv", "test.csv")
    assert loading.load_answers(folder) is None
    (folder / "fer2013.csv").write_text(content("fer2013.csv").replace(pixels(TEST_IMAGES[0]), pixels(TRAIN_IMAGES[0])))
    assert refusal(loading.load_answers, folder) == (
        f"{folder / 'fer2013.csv'} and {folder / 'test.csv'} hold different test images; remove the wrong one"
    )


def test_rows_out_of_order(tmp_path: Path) -> None:
    header, *rows = content("fer2013.csv").splitlines()
    (tmp_path / "fer2013.csv").write_text("\n".join([header, *rows[:8], *rows[11:], *rows[8:11]]))
    assert refusal(loading.load, tmp_path, tmp_path / "cache") == (
        f"{tmp_path / 'fer2013.csv'}: row 11 is PublicTest after PrivateTest; the rows must be in the order "
        "Training, PublicTest, PrivateTest, as in train.csv and test.csv"
    )


@pytest.mark.parametrize(("rows", "kind"), [(slice(0, 9), "PublicTest or PrivateTest"), (slice(9, None), "Training")])
def test_part_missing(rows: slice, kind: str, tmp_path: Path) -> None:
    header, *lines = content("icml_face_data.csv").splitlines()
    kept = lines[:8] if rows.start == 0 else lines[8:]
    (tmp_path / "icml_face_data.csv").write_text("\n".join([header, *kept]))
    expected = f"{tmp_path / 'icml_face_data.csv'}: has no {kind} rows"
    assert refusal(loading.load, tmp_path, tmp_path / "cache") == expected


def test_a_bad_row_ends_a_command_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "test.csv")
    (tmp_path / "train.csv").write_text(content("train.csv")[:-20])
    assert folds_command.main(["--data", str(tmp_path), "--runs", str(tmp_path / "runs")]) == cli.EXIT_USER_ERROR
    assert capsys.readouterr().err == (
        f"error: {tmp_path / 'train.csv'}: row 8 (line 9): a quote is not closed; "
        "the file seems truncated, download it again\n"
    )


# --- the cache -------------------------------------------------------------------------------------------------------


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the csv files that were really parsed."""
    names: list[str] = []
    read = csv_reader.read

    def counted(file: object, name: str, *args: object) -> object:
        names.append(Path(name).name)
        return read(file, name, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(csv_reader, "read", counted)
    return names


def test_second_load_parses_nothing(tmp_path: Path, reads: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path / "in", "train.csv", "test.csv")
    for _ in range(3):
        assert_is_the_competition(loading.load(folder, tmp_path / "cache"))
    assert reads == ["train.csv", "test.csv"]
    moved = folder.rename(tmp_path / "moved")
    assert_is_the_competition(loading.load(moved, tmp_path / "cache"))
    assert reads == ["train.csv", "test.csv"]
    assert capsys.readouterr().err == ""


def test_change_of_equal_size_and_time_is_seen(tmp_path: Path) -> None:
    folder = write(tmp_path / "in", "train.csv", "test.csv")
    loading.load(folder, tmp_path / "cache")
    path = folder / "train.csv"
    times = path.stat()
    path.write_text(content("train.csv").replace("\n3,", "\n4,", 1))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.stat().st_mtime_ns == times.st_mtime_ns and path.stat().st_size == times.st_size
    assert loading.load(folder, tmp_path / "cache").train.labels[3] == 4


def flip_a_byte(path: Path) -> None:
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)


DAMAGES = {
    "flipped byte": ("train_images.npy", flip_a_byte),
    "flipped label": ("train_labels.npy", lambda path: path.write_bytes(path.read_bytes()[:-8] + bytes(8))),
    "cut": ("test_images.npy", lambda path: path.write_bytes(path.read_bytes()[:-100])),
    "empty": ("test_images.npy", lambda path: path.write_bytes(b"")),
    "other array": ("test_images.npy", lambda path: np.save(path, np.zeros(3))),
    "no index": ("cache.json", Path.unlink),
    "index is no json": ("cache.json", lambda path: path.write_text("{")),
    "index is a list": ("cache.json", lambda path: path.write_text("[]")),
    "index without digest": ("cache.json", lambda path: path.write_text("{}")),
    "no array": ("train_labels.npy", Path.unlink),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_cache_is_noticed_and_rebuilt(
    damage: str, tmp_path: Path, reads: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path / "in", "fer2013.csv")
    digest = loading.load(folder, tmp_path / "cache").digest
    [cache] = (tmp_path / "cache").iterdir()
    name, spoil = DAMAGES[damage]
    spoil(cache / name)
    for _ in range(2):
        assert_is_the_competition(again := loading.load(folder, tmp_path / "cache"))
        assert again.digest == digest
    assert reads == ["fer2013.csv"] * 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{cache}: the cache is incomplete or damaged (")
    assert line.endswith("); reading the data again")


def forged(cache: Path) -> None:
    """Other labels under consistent digests, as in a folder of runs from somebody else."""
    names = ("train_images", "train_labels", "test_images")
    arrays = {name: np.load(cache / f"{name}.npy") for name in names}
    arrays["train_labels"] = (arrays["train_labels"] + 1) % 7
    np.save(cache / "train_labels.npy", arrays["train_labels"])
    record = atomic.read_json(cache / "cache.json")
    atomic.write_json(cache / "cache.json", {**record, "digest": data_cache.digest_of(arrays)})


def test_a_cache_with_other_rows_than_the_files_is_not_believed(
    tmp_path: Path, reads: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path / "in", "fer2013.csv")
    digest = loading.load(folder, tmp_path / "cache").digest
    [cache] = (tmp_path / "cache").iterdir()
    forged(cache)
    assert_is_the_competition(again := loading.load(folder, tmp_path / "cache"))
    assert again.digest == digest and len(reads) == 2
    assert capsys.readouterr().err == f"{cache}: the cache held other rows than the data; it is written anew\n"
    loading.load(folder, tmp_path / "cache")
    assert len(reads) == 2


def test_a_cache_of_another_user_is_read_once_from_the_files_and_shared_then(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path / "in", "fer2013.csv")
    for count, user in ((1, "a"), (2, "b"), (2, "a"), (2, "b")):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / user))
        loading.load(folder, tmp_path / "cache")
        assert len(reads) == count
    [cache] = (tmp_path / "cache").iterdir()
    atomic.write_json(cache / "cache.json", {"digest": atomic.read_json(cache / "cache.json")["digest"]})
    for _ in range(2):  # as versions before the marks wrote it
        loading.load(folder, tmp_path / "cache")
        assert len(reads) == 3
    secret = tmp_path / "b" / cache_mark.SECRET
    assert secret.stat().st_mode & 0o077 == 0 and list(secret.parent.iterdir()) == [secret]
    assert capsys.readouterr().err == ""


def test_without_a_place_for_the_secret_no_cache_is_believed(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    folder = write(tmp_path / "in", "fer2013.csv")
    for _ in range(2):
        assert_is_the_competition(loading.load(folder, tmp_path / "cache"))
    assert len(reads) == 2 and "cannot be written (Not a directory)" in capsys.readouterr().err


def test_works_without_a_cache_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path / "in", "fer2013.csv")
    (tmp_path / "cache").write_text("a file, not a folder")
    assert_is_the_competition(loading.load(folder, tmp_path / "cache"))
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: no cache is kept") and f": {tmp_path / 'cache'}" in line


def test_file_changed_while_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "in", "fer2013.csv")
    read = csv_reader.read

    def read_while_appended(*args: object) -> object:
        with (folder / "fer2013.csv").open("a") as file:
            file.write("\n")
        return read(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(csv_reader, "read", read_while_appended)
    expected = f"{folder}: a file changed while it was read; start again"
    assert refusal(loading.load, folder, tmp_path / "cache") == expected
    assert not (tmp_path / "cache").exists()


def test_digest_does_not_depend_on_the_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Order and place count: neither swapped arrays nor moved borders give the same digest."""
    arrays = {"a": np.arange(10), "b": np.arange(10, 20)}
    others = [
        {"a": arrays["b"], "b": arrays["a"]},
        {"a": np.arange(11), "b": np.arange(11, 20)},
        {"a": np.arange(20)},
        {"a": arrays["a"].astype(np.int32), "b": arrays["b"]},
    ]
    monkeypatch.setattr(data_cache, "PIECE_BYTES", 16)
    assert len({data_cache.digest_of(value) for value in (arrays, *others)}) == 5
    assert data_cache.digest_of({name: array.copy() for name, array in arrays.items()}) == data_cache.digest_of(arrays)


# --- the real faces --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_real_faces(real_faces: Path, tmp_path: Path) -> None:
    """All real test rows and 2,000 real train rows, pixel by pixel (the benchmark reads the whole files)."""
    unpack = runpy.run_path(str(real_faces / "unpack.py"))
    faces = unpack["faces"]()
    test_images = faces[unpack["index"]("test")["face"]]
    train = {name: column[:2000] for name, column in unpack["index"]("train").items()}
    words = np.array([str(value) for value in range(256)], dtype=object)

    rows = [
        f'{label},"{" ".join(words[faces[face].reshape(-1)])}"'
        for label, face in zip(train["emotion"], train["face"], strict=True)
    ]
    (tmp_path / "train.csv").write_text("\n".join(["emotion,pixels", *rows, ""]))
    lines = ["pixels", *(" ".join(words[image.reshape(-1)]) for image in test_images), ""]
    (tmp_path / "test.csv").write_text("\n".join(lines))

    loaded = loading.load(tmp_path, tmp_path / "cache")
    assert hashlib.sha256(loaded.test.images.tobytes()).hexdigest() == unpack["SHA256"]["test"]
    np.testing.assert_array_equal(loaded.train.images, faces[train["face"]])
    np.testing.assert_array_equal(loaded.train.labels, train["emotion"])
