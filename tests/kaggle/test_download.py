"""Download: from Kaggle's zip to a folder that the data module reads, and all that can be wrong with a zip."""

from __future__ import annotations

import hashlib
import io
import os
import random
import shutil
import stat
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from fer_kit import download
from fer_kit.data import genuine, loading
from fer_kit.errors import FerKitError
from fer_kit.files import unzip
from fer_kit.kaggle.client import COMPETITION, RULES_URL, Timeouts
from fer_kit.kaggle.errors import OutputIncomplete, Stalled
from tests.helpers.kaggle_standin import Reply, error, html

ARCHIVE = random.Random(1).randbytes(3_000_000)  # does not shrink, so that the download has a middle


def zip_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def members(competition_dir: Path) -> dict[str, bytes]:
    """The files of a drawn competition, and one that fer_kit does not read."""
    files = {name: (competition_dir / name).read_bytes() for name in ("train.csv", "test.csv")}
    return {**files, "fer2013.tar.gz": ARCHIVE}


@pytest.fixture
def kaggle(kaggle_site, members, monkeypatch, tmp_path):
    """The stand-in with the drawn competition's zip, used by commands of this process, in an empty folder."""
    kaggle_site.zip_bytes = zip_of(members)
    kaggle_site.cli_environ(monkeypatch)
    monkeypatch.chdir(tmp_path)
    return kaggle_site


def run(capsys, *words: str) -> tuple[int, str, str]:
    code = download.main(list(words))
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def failure(capsys, *words: str) -> str:
    """The one line of an error that ends with exit code 2."""
    code, _, err = run(capsys, *words)
    assert code == 2 and err.startswith("error: ") and err.count("\n") == 1, err
    return err.removeprefix("error: ").strip()


@pytest.mark.parametrize("ends", [b"\n", b"\r\n"])
def test_other_line_ends_are_no_other_content(tmp_path, monkeypatch, ends):
    pixels = b" ".join([b"7"] * 2304)
    content = b"emotion,pixels" + ends + b'3,"' + pixels + b'"' + ends
    monkeypatch.setitem(genuine.MD5, "train.csv", hashlib.md5(content, usedforsecurity=False).hexdigest())
    monkeypatch.setitem(genuine.ROWS, "train.csv", 1)
    path = tmp_path / "train.csv"
    for found, words in (
        (content, "genuine"),
        (content.replace(b"\r\n", b"\n"), "genuine"),
        (content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"), "genuine"),
        (b"\xef\xbb\xbf" + content.replace(b",", b";").replace(b'"', b""), "genuine content, written otherwise"),
        (content.replace(b"7 7", b"7 8", 1), "other content (1 rows"),
        (content.replace(b"3,", b"4,"), "other content (1 rows"),
        (b"x", "not readable: "),
    ):
        path.write_bytes(found)
        [line] = download.verdicts(tmp_path)
        assert line.startswith(f"  {path}: {words}")
        assert ("written otherwise" in line) == (words.startswith("genuine") and found != content)


@pytest.mark.slow
def test_from_kaggle_to_arrays(kaggle, capsys, tmp_path, members, monkeypatch):
    md5 = hashlib.md5(members["train.csv"], usedforsecurity=False).hexdigest()
    monkeypatch.setitem(genuine.MD5, "train.csv", md5)
    code, out, err = run(capsys)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "downloading about 320 MB from Kaggle"
    assert lines[1] == "unpacked into data: train.csv, test.csv, fer2013.tar.gz"
    assert lines[2] == "  data/train.csv: genuine"
    assert (
        lines[3].startswith("  data/test.csv: other content (90 rows; the genuine file has 7,178): md5 ")
        and genuine.MD5["test.csv"] in lines[3]
    )
    assert lines[4] == "next: python -m fer_kit.folds"
    assert sorted(os.listdir("data")) == ["fer2013.tar.gz", "test.csv", "train.csv"]  # and nothing hidden
    competition = loading.load(loading.find(), tmp_path / "cache")
    assert len(competition.train.ids) == 360 and len(competition.test.ids) == 90

    asked = len(kaggle.requests)
    code, out, _ = run(capsys)
    assert code == 0 and len(kaggle.requests) == asked
    assert out.startswith(
        "data already has the competition's files (--force downloads them again)\n  data/train.csv: gen"
    )

    Path("data/train.csv").write_bytes(b"emotion,pixels\n")
    Path("data/.download").mkdir()  # what an earlier try left is not taken for the new zip
    Path(f"data/.download/{COMPETITION}.zip").write_bytes(zip_of({"old.txt": ARCHIVE + ARCHIVE}))
    code, out, _ = run(capsys, "--force", "--keep-zip")
    assert code == 0 and "  data/train.csv: genuine" in out
    assert f"{COMPETITION}.zip" in os.listdir("data")
    assert len(loading.load("data", tmp_path / "cache").train.ids) == 360  # the zip beside the files does no harm


@pytest.mark.slow
def test_an_interrupted_download_goes_on(kaggle, capsys, monkeypatch):
    part = Path(f"far/.download/{COMPETITION}.zip")
    whole = kaggle.zip_bytes
    headers = {"Accept-Ranges": "bytes", "ETag": '"planted"', "Last-Modified": "Wed, 11 Dec 2019 05:11:16 GMT"}
    kaggle.fail("zip", Reply(200, headers, whole, cut_at=2_000_000))

    def ctrl_c(path: Path, end: str = "") -> None:
        if path.exists() and path.stat().st_size >= 1 << 20:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(download, "_show", ctrl_c)
        assert run(capsys, "--out", "far")[0] == 130
    here = part.stat().st_size
    assert 0 < here < len(whole)
    code, out, _ = run(capsys, "--out", "far")
    assert code == 0
    assert out.startswith("downloading about 320 MB from Kaggle, from where it stopped\n")
    assert out.endswith("next: python -m fer_kit.folds --data far\n")
    assert kaggle.calls("zip")[-1].headers["Range"] == f"bytes={here}-"
    assert Path("far/fer2013.tar.gz").read_bytes() == ARCHIVE


@pytest.mark.slow
def test_a_server_that_sends_no_further_byte_is_given_up(kaggle):
    """A stalled transfer ends after `stalled_seconds`, long before its time limit; the next attempt goes on."""
    headers = {"Accept-Ranges": "bytes", "ETag": '"planted"', "Last-Modified": "Wed, 11 Dec 2019 05:11:16 GMT"}
    stalled = Reply(200, headers, kaggle.zip_bytes, cut_at=2_000_000, stall_seconds=30)
    kaggle.fail("zip", stalled)
    patience = Timeouts(stalled_seconds=6, transfer_seconds=3600, attempts=3)
    path = kaggle.client(patience).download_competition(COMPETITION, Path("data"))
    assert path.read_bytes() == kaggle.zip_bytes and "Range" in kaggle.calls("zip")[-1].headers

    path.unlink()
    kaggle.fail("zip", stalled)
    patience = Timeouts(stalled_seconds=6, transfer_seconds=3600, attempts=1)
    with pytest.raises(Stalled, match="Kaggle sent no byte of competition '.*' for 6 s; check the network, then run"):
        kaggle.client(patience).download_competition(COMPETITION, Path("data"))


@pytest.mark.slow
def test_what_is_not_a_zip_is_not_kept(kaggle, capsys):
    whole, client = kaggle.zip_bytes, kaggle.client()
    kaggle.fail("zip", html(200, "Sign in"))
    with pytest.raises(
        OutputIncomplete, match=r"is an error page \(\"<!DOCTYPE html>.* bytes; removed\); run this comm"
    ):
        client.download_competition(COMPETITION, Path("data"))
    kaggle.zip_bytes = whole[: len(whole) // 2]
    assert f"is not a complete zip ({len(whole) // 2:,} bytes; removed)" in failure(capsys)
    kaggle.zip_bytes = whole[:-2000] + whole[-1000:]
    assert "the zip was removed and nothing unpacked, download it again" in failure(capsys)
    assert not [path for path in Path("data").rglob("*") if path.is_file()]


def test_refusals_reach_the_user(kaggle, capsys, monkeypatch):
    kaggle.fail("DownloadDataFiles", error(403, "You must accept this competition's rules"))
    assert f"the competition's rules are not accepted yet; open {RULES_URL} in a browser" in failure(capsys)
    monkeypatch.delenv("KAGGLE_KEY")
    assert failure(capsys).startswith("no Kaggle credentials found (KAGGLE_USERNAME alone is not enough); make a token")


def test_free_space_is_asked_before_kaggle(kaggle, capsys, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**8))
    text = failure(capsys, "--out", "new/folder")
    assert text == (
        "new/folder: 100 MB free, the zip and its files need about 1,040 MB; free space or choose another folder "
        "with --out"
    )
    assert not kaggle.requests and not Path("new").exists()


def test_a_folder_is_not_a_file(kaggle, capsys):
    Path("data").write_text("")
    assert failure(capsys) == "--out data: is a file; name a folder"


@pytest.mark.slow
def test_a_zip_of_something_else(kaggle, capsys):
    kaggle.zip_bytes = zip_of({"hello.txt": b"x"})
    assert failure(capsys) == "data: Kaggle's zip has no train.csv and test.csv"


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("../evil.csv", "'../evil.csv' leads out of the folder"),
        ("a/../../evil.csv", "leads out of the folder"),
        ("/evil.csv", "'/evil.csv' leads out of the folder"),
        ("..\\evil.csv", "leads out of the folder"),
        ("C:\\evil.csv", "leads out of the folder"),
        (link("train.csv"), "'train.csv' is a link"),
        ("TEST.csv", "'TEST.csv' stands in it twice"),
    ],
)
def test_names_stay_in_the_folder(tmp_path, name, fault):
    path = tmp_path / "inner" / "some.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("test.csv", "pixels\n")
        archive.writestr(name, "evil")
    with pytest.raises(FerKitError) as caught:
        unzip.members(path)
    assert fault in str(caught.value)
    assert str(caught.value).endswith("; the zip was removed and nothing unpacked, download it again")
    assert [found.name for found in tmp_path.rglob("*")] == ["inner"]


def test_a_link_in_the_folder_leads_nothing_out(tmp_path):
    path = tmp_path / "some.zip"
    path.write_bytes(zip_of({"sub/test.csv": b"pixels\n"}))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FerKitError, match=r"out/sub: is a link out of .*out; remove it"):
        unzip.unpack(path, unzip.members(path), tmp_path / "out")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_damaged_byte_is_found_before_anything_is_unpacked(tmp_path):
    content = bytearray(zip_of({"train.csv": b"emotion,pixels\n", "fer2013.tar.gz": ARCHIVE}))
    content[1_500_000] ^= 255
    path = tmp_path / "some.zip"
    path.write_bytes(content)
    with pytest.raises(FerKitError, match=r"some.zip: .*fer2013.tar.gz.*; the zip was removed and nothing unpacked"):
        unzip.members(path)
    assert not path.exists()
