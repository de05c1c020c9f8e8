"""Where the competition's files are found, in which order, and what is said about broken zips."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import pytest

from fer_kit.data import cache, csv_files, loading, places
from fer_kit.errors import FerKitError
from tests.helpers.small_competition import (
    SLUG,
    assert_is_the_competition,
    content,
    images_as_files,
    refusal,
    write,
    write_files,
    write_zip,
)

# --- where the files are ---------------------------------------------------------------------------------------------


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, no environment variable, an empty stand-in for Kaggle's mounts."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.delenv("FER_KIT_DATA", raising=False)
    monkeypatch.setattr(places, "KAGGLE_INPUT", tmp_path / "input")
    return tmp_path


def test_places_in_order(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = nowhere / "input"
    write(nowhere / "work" / "data", "train.csv")  # incomplete: found, so that load can say what to add
    assert loading.find() == Path("data")
    dataset = write(inputs / "datasets" / "someone" / "faces", "icml_face_data.csv")
    write(inputs / "other-competition", "train.csv", "test.csv")
    assert loading.find() == dataset
    write_zip(inputs / "competitions" / SLUG / "all.zip", "train.csv")
    assert loading.find() == inputs / "competitions" / SLUG
    write(inputs / SLUG, "fer2013.csv")
    assert loading.find() == inputs / SLUG
    monkeypatch.setenv("FER_KIT_DATA", str(write(nowhere / "env", "fer2013.csv")))
    assert loading.find() == nowhere / "env"
    monkeypatch.setenv("FER_KIT_DATA", "")
    assert loading.find() == inputs / SLUG
    named = write(nowhere / "named", "fer2013.csv")
    assert loading.find(named) == named
    assert loading.find(str(named / "fer2013.csv")) == named / "fer2013.csv"


def test_two_mounted_datasets(nowhere: Path) -> None:
    first = write(nowhere / "input" / "a", "fer2013.csv")
    second = write(nowhere / "input" / "b" / "fer2013", "fer2013.csv")
    assert refusal(loading.find).endswith(f"have the files: {first}, {second}; choose one with --data")


def test_search_is_bounded(nowhere: Path) -> None:
    write(nowhere / "input" / "1" / "2" / "3" / "4" / "5", "fer2013.csv")
    refusal(loading.find)
    write(nowhere / "input" / "1" / "2" / "3" / "4", "fer2013.csv")
    assert loading.find() == nowhere / "input" / "1" / "2" / "3" / "4"


def test_found_nowhere(nowhere: Path) -> None:
    root = nowhere / "input"
    assert refusal(loading.find) == (
        f"no competition files found; tried --data (not given), FER_KIT_DATA (not set), {root}/{SLUG}, "
        f"{root}/competitions/{SLUG}, {root}/**/fer2013.csv, ./data; "
        "put train.csv and test.csv (or fer2013.csv) into ./data or name their folder with --data"
    )


def test_a_named_place_is_never_passed_over(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(nowhere / "work" / "data", "fer2013.csv")
    looked_for = f"looked for {places.LOOKED_FOR}, plain or packed"
    nothing = "there is nothing: get the files with python -m fer_kit.download"
    empty = nowhere / "empty"
    assert refusal(loading.find, empty) == f"{empty}: no such file or folder (from --data)"
    empty.mkdir()
    assert refusal(loading.find, empty) == f"{empty}: holds no competition files (from --data); {looked_for}; {nothing}"
    write(empty / "fer2013", "fer2013.csv")
    assert refusal(loading.find, empty).endswith(f"{looked_for}; did you mean {empty / 'fer2013'}?")
    monkeypatch.setenv("FER_KIT_DATA", str(empty))
    assert refusal(loading.find).startswith(f"{empty}: holds no competition files (from FER_KIT_DATA); {looked_for}")
    assert refusal(loading.load, empty, nowhere / "cache").startswith(
        f"{empty}: holds no competition files; looked for "
    )


def test_a_home_that_does_not_exist_is_a_missing_folder(nowhere: Path) -> None:
    assert refusal(loading.find, "~nosuch/data") == "~nosuch/data: no such file or folder (from --data)"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fer2013.tar.bz2", "may contain them: unpack it there"),
        ("train.csv.7z", "may contain them: unpack it there"),
        ("backup.rar", "may contain them: unpack it there"),
        ("angry/1.png", "there is angry: get the files with"),
        ("train.csv/x", "train.csv is no file: put the file of this name in its place"),
        ("fer2013.csv/x", "fer2013.csv is no file: put the file of this name in its place"),
        ("train (1).csv", "train (1).csv to train.csv"),
        ("test - Copy.csv", "test - Copy.csv to test.csv"),
        ("fer2013(2).CSV", "fer2013(2).CSV to fer2013.csv"),
        ("notes (1).csv", "there is notes (1).csv: get"),
        ("notes.txt", "there is notes.txt: get the files with python -m fer_kit.download"),
    ],
)
def test_what_lies_in_place_of_the_files_is_named(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    assert words in refusal(loading.find, tmp_path)
    assert words in refusal(loading.load, tmp_path, tmp_path / "cache")


def test_the_folder_of_a_split_alone_is_answered_with_the_whole(tmp_path: Path) -> None:
    place = write_files(tmp_path / "faces", images_as_files())
    assert refusal(loading.find, place / "train").endswith(f"did you mean {place}?")


def test_a_link_to_nothing_beside_its_half_is_named(tmp_path: Path) -> None:
    (write(tmp_path, "train.csv") / "test.csv").symlink_to("elsewhere.csv")
    message = refusal(loading.load, tmp_path, tmp_path / "cache")
    assert message == f"{tmp_path / 'test.csv'} is a link to elsewhere.csv, which does not exist; repair the link"


def test_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.csv").symlink_to("elsewhere.csv")
    assert "train.csv is a link to elsewhere.csv, which does not exist" in refusal(loading.find, tmp_path)


def test_an_archive_with_the_name_of_a_csv(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "fer2013.csv", "wb") as file:
        file.write(content("fer2013.csv").encode())
    assert_is_the_competition(loading.load(tmp_path, tmp_path / "c"))
    (tmp_path / "fer2013.csv").write_bytes(b"BZh91AY")
    assert "fer2013.csv: is a bzip2 archive" in refusal(loading.load, tmp_path, tmp_path / "c")


# --- zips ------------------------------------------------------------------------------------------------------------


def test_zip_without_a_csv(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "some.zip")
    assert refusal(loading.find, path).endswith("plain or packed; the archive contains readme.txt")
    promised = write_zip(tmp_path / "train.csv.zip")
    assert refusal(loading.find, tmp_path) == f"{promised}: contains no train.csv, but readme.txt"


def test_zip_with_two_of_a_name(tmp_path: Path) -> None:
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("__MACOSX/fer2013.csv", "a/fer2013.csv", "b/fer2013.csv"):
            archive.writestr(name, "x")
    assert refusal(loading.find, path) == f"{path}: contains both a/fer2013.csv and b/fer2013.csv; unpack the right one"


def test_broken_zip(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "in" / "fer2013.csv.zip", "fer2013.csv")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    broken = f"{path}: damaged or unreadable zip (File is not a zip file); download it again"
    for place in (path, path.parent):
        assert refusal(loading.find, place) == broken
    write(path.parent, "train.csv", "test.csv")  # nothing is needed from the zip any more
    assert_is_the_competition(loading.load(path.parent, tmp_path / "cache"))


def test_zip_with_a_damaged_member(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "in" / "fer2013.csv.zip", "fer2013.csv")
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    path.write_bytes(damaged)
    message = refusal(loading.load, path, tmp_path / "cache")
    # The flipped bit is noticed by the decompressor, by the checksum, or by the reader of the csv.
    assert message.startswith(f"{path}:fer2013.csv: ")


def test_encrypted_zip(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "fer2013.csv.zip", "fer2013.csv")
    flagged = bytearray(path.read_bytes())
    second_entry = flagged.rindex(b"PK\x01\x02")
    flagged[second_entry + 8] |= 1
    path.write_bytes(flagged)
    assert refusal(loading.find, path) == f"{path}: fer2013.csv is encrypted; unpack it first"


def test_errors_name_the_member(tmp_path: Path) -> None:
    path = tmp_path / "fer2013.csv.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("fer2013/fer2013.csv", "emotion,pixels,Usage\n7,1,Training\n")
    assert refusal(loading.load, tmp_path, tmp_path / "cache").startswith(
        f"{path}:fer2013/fer2013.csv: row 1 (line 2): emotion is '7', allowed are 0 to 6 (Angry to Neutral)"
    )


def test_unreadable_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "fer2013.csv") / "fer2013.csv"
    [source] = csv_files.sources(tmp_path).values()

    def denied(*args: object) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(cache, "_digest_in_file", denied)
    expected = f"{path}: cannot be read (Permission denied)"
    assert refusal(loading.load, tmp_path, tmp_path / "cache") == expected
    path.unlink()
    with pytest.raises(FerKitError) as caught, source.open():
        pass
    assert str(caught.value) == f"{path}: cannot be read (No such file or directory)"
