"""Symbolic links in place of our own files are refused in one line: what they lead to stays as it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fer_kit import download
from fer_kit.errors import FerKitError
from fer_kit.files import atomic, lock


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A file that somebody's link leads to."""
    path = tmp_path / "precious"
    path.write_text("mine\n")
    return path


def test_a_lock_does_not_empty_what_a_link_leads_to(tmp_path, precious):
    (tmp_path / ".run.lock").symlink_to(precious)
    with pytest.raises(FerKitError, match=r"\.run\.lock: .*symbolic link.*remove"), lock.held(tmp_path / "run", "x"):
        pass
    assert precious.read_text() == "mine\n"


def test_a_log_is_not_appended_to_what_a_link_leads_to(tmp_path, precious):
    (tmp_path / "log.txt").symlink_to(precious)
    with pytest.raises(FerKitError, match=r"log\.txt: .*symbolic link.*remove"):
        atomic.append_line(tmp_path / "log.txt", "epoch 1")
    assert precious.read_text() == "mine\n"


@pytest.mark.parametrize("name", ["data/.download", f"data/.download/{download.COMPETITION}.zip"])
def test_a_download_does_not_go_where_a_link_leads(tmp_path, monkeypatch, capsys, name):
    monkeypatch.setattr(download, "Client", None)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").touch()
    link = tmp_path / name
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere if link.name == ".download" else elsewhere / "file")
    for options in ([], ["--force"])[: 1 + (link.name == ".download")]:
        assert download.main(["--out", str(tmp_path / "data"), *options]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "symbolic link" in error and "remove" in error
    assert os.listdir(elsewhere) == ["file"]


def test_files_and_folders_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        atomic.write_text(tmp_path / "a", "")
        with atomic.replacing_folder(tmp_path / "folder"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o750


def test_a_folder_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    target = tmp_path / "folder"
    for content in ("old", "new"):
        with atomic.replacing_folder(target) as folder:
            (folder / content).touch()
    assert [path.name for path in target.iterdir()] == ["new"]
    with pytest.raises(KeyError), atomic.replacing_folder(target) as folder:
        (folder / "half").touch()
        raise KeyError
    assert [path.name for path in target.iterdir()] == ["new"] and os.listdir(tmp_path) == ["folder"]
