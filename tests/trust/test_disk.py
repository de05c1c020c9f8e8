"""A full disk, a folder that may not be written, one that vanishes: a clear sentence, and everything is as it was."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ensembles import blend
from fer_kit import cli, download
from fer_kit.errors import FerKitError
from fer_kit.files import atomic, unzip
from fer_kit.folds import __main__ as folds_command
from fer_kit.folds import table
from fer_kit.runs import folders, ledger
from kernels.inside import archive
from tests.helpers import fake_runs
from tests.helpers.fake_submissions import run, save_entry
from tests.helpers.full_disk import no_file_beyond, one_line, refusing

ROOT = Path(__file__).resolve().parents[2]
FULL = "cannot be written (No space left on device); free space or choose another folder, then start the same command"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- files and commands in general -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errno.ENOSPC, "(No space left on device); free space or choose another folder, then start the same command"),
        (errno.EDQUOT, "(Disk quota exceeded); free space"),
        (errno.EROFS, "(Read-only file system); change the permissions, or choose another folder"),
        (errno.EACCES, "(Permission denied); change the permissions, or choose another folder"),
        (errno.ENOENT, "(No such file or directory); a folder was moved or removed while the command ran; put it back"),
        (errno.EIO, "(Input/output error); the disk is failing; choose another folder"),
    ],
)
def test_each_fault_of_the_disk_has_its_way_out(tmp_path, error, words):
    (tmp_path / "x.json").write_text("[1]\n")
    with refusing("x.json", error), pytest.raises(FerKitError) as caught:
        atomic.write_json(tmp_path / "x.json", [2])
    assert str(caught.value).startswith(f"{tmp_path}/x.json: cannot be written {words}")
    assert contents(tmp_path) == {"x.json": b"[1]\n"}


def test_a_disk_that_fills_up_half_way_leaves_the_old_file(tmp_path):
    (tmp_path / "x.txt").write_text("old")
    with (
        no_file_beyond(50_000),
        pytest.raises(FerKitError, match=r"cannot be written \(File too large\); .*ulimit -f"),
    ):
        atomic.write_text(tmp_path / "x.txt", "new" * 50_000)
    assert contents(tmp_path) == {"x.txt": b"old"}


def test_files_that_belong_together_are_replaced_together(tmp_path):
    place = tmp_path / "place"
    for text in ("old", "new"):
        with atomic.together(place, "mark") as aside:
            for name in ("mark", "other"):
                atomic.write_text(aside / name, text)
            assert text == "old" or contents(place)["mark"] == b"old"  # up to the end
    assert contents(place) == {"mark": b"new", "other": b"new"}
    with pytest.raises(FerKitError), refusing("mark"), atomic.together(place, "mark") as aside:
        atomic.write_text(aside / "other", "newer")
        atomic.write_text(aside / "mark", "newer")
    assert contents(place) == {"mark": b"new", "other": b"new"} and len(list(place.iterdir())) == 2


def test_what_the_system_refuses_anywhere_is_one_sentence(tmp_path, capsys):
    parser = lambda: cli.parser("x", "y")  # noqa: E731
    (tmp_path / "file").touch()
    assert cli.run(parser, lambda _: (tmp_path / "file" / "below").read_text() and None, []) == 2
    assert one_line(capsys).startswith(f"error: {tmp_path}/file/below: Not a directory; a file has the name of")

    def bug(_: object) -> None:
        raise OSError("no word of the system's")

    with pytest.raises(OSError, match="no word of"):
        cli.run(parser, bug, [])


@pytest.mark.slow
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [("submissions", "status"), ("fer_kit", "--help"), ("kernels", "push", "--help")])
def test_output_into_a_full_disk_is_one_sentence(words, unbuffered):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    command, environ = [sys.executable, "-m", *words], {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environ)
    assert done.returncode == 2
    assert (
        done.stderr.startswith("error: the output: No space left on device; free space")
        and done.stderr.count("\n") == 1
    )


def test_a_folder_without_the_right_to_write(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(FerKitError, match=r"\(Permission denied\); change the permissions"):
            atomic.write_text(tmp_path / "x", "")
    finally:
        tmp_path.chmod(0o700)


# --- folds, blends, submissions --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["folds.csv", "folds-test.csv", "folds.json"])
def test_new_folds_on_a_full_disk_leave_the_old_ones(competition_dir, runs_dir, capsys, name):
    before = contents(runs_dir)
    command = ["--data", str(competition_dir), "--runs", str(runs_dir), "--folds", "4", "--method", "exact", "--force"]
    with refusing(name):
        assert folds_command.main(command) == 2
    assert FULL in one_line(capsys)
    assert contents(runs_dir) == before
    assert folds_command.main(command) == 0
    assert table.read(runs_dir / "folds.csv").count == 4


@pytest.mark.parametrize("name", ["oof.npz", "test.npz", "blend.json"])
def test_a_new_blend_on_a_full_disk_leaves_the_old_one(tmp_path, capsys, name):
    for seed, member in enumerate(("a", "b", "c")):
        fake_runs.save_run(tmp_path, member, seed=seed)
    make = ["x", "--runs", str(tmp_path), "--method", "mean", "--no-pictures", "--force", "--members", "a"]
    assert blend.main([*make, "b"]) == 0
    before = contents(tmp_path)
    capsys.readouterr()
    with refusing(name):
        assert blend.main([*make, "c"]) == 2
    assert FULL in one_line(capsys)
    assert contents(tmp_path) == before
    assert blend.main([*make, "c"]) == 0
    assert [member.run for member in folders.load_blend(tmp_path, "x").record.members] != ["a", "b"]


@pytest.mark.parametrize("name", ["out.csv", "out.csv.source.json"])
def test_a_submission_on_a_full_disk(here, capsys, name):
    fake_runs.save_run(here / "runs", "a", seed=1)
    with refusing(name):
        code, _, error = run(capsys, "build", "a", "--out", "out.csv")
    assert code == 2 and error.startswith(f"error: {name}: {FULL}") and error.count("\n") == 1
    assert not (here / name).exists()
    assert run(capsys, "build", "a", "--out", "out.csv")[0] == 0
    assert run(capsys, "check", "out.csv")[0] == 0 and (here / "out.csv.source.json").exists()


def test_the_ledger_on_a_full_disk_is_whole(here):
    fake_runs.save_run(here / "runs", "a", seed=1)
    path = here / "submissions" / "ledger.csv"
    save_entry(path, here / "runs/a/fold0/test.npz")
    before = path.read_bytes()
    with refusing("ledger.csv"), pytest.raises(FerKitError, match="No space left on device"):
        save_entry(path, here / "runs/a/fold1/test.npz", tag="fer-2")
    assert path.read_bytes() == before and len(ledger.read(path)) == 1


@pytest.mark.slow
def test_an_upload_whose_end_is_not_kept_is_found_again(kaggle_site, here, capsys, monkeypatch):
    kaggle_site.cli_environ(monkeypatch)
    fake_runs.save_run(here / "runs", "a", seed=1)
    assert run(capsys, "build", "a", "--out", "out.csv")[0] == 0
    upload = ("upload", "out.csv", "-m", "a try", "--yes")
    with refusing("ledger.csv"):
        assert run(capsys, *upload)[0] == 2
    assert not kaggle_site.submissions and not (here / ledger.LEDGER).exists()
    with refusing("ledger.csv", after=1):
        code, _, error = run(capsys, *upload)
    assert code == 2 and FULL in error
    assert len(kaggle_site.submissions) == 1 and ledger.read(here / ledger.LEDGER)[0].status == "uploading"
    code, out, _ = run(capsys, *upload)
    assert code == 0 and "arrived   the upload of this file that began at" in out
    assert len(kaggle_site.submissions) == 1 and ledger.read(here / ledger.LEDGER)[0].ref == "50000001"


# --- what comes from elsewhere ---------------------------------------------------------------------------------------


def test_a_download_on_a_full_disk_goes_on_where_it_stopped(tmp_path, capsys, monkeypatch):
    from tests.helpers import small_competition

    zipped = small_competition.write_zip(tmp_path / "kaggle.zip", "train.csv", "test.csv").read_bytes()
    fetched = []

    class Client:
        def download_competition(self, slug: str, folder: Path, tick: object) -> Path:
            path = folder / f"{slug}.zip"
            if not path.exists():
                fetched.append(slug)
                folder.mkdir(parents=True, exist_ok=True)
                path.write_bytes(zipped)
            return path

    monkeypatch.setattr(download, "Client", Client)
    monkeypatch.setattr(download, "need_space", lambda *_: None)
    with refusing("test.csv"):
        assert download.main(["--out", str(tmp_path / "data")]) == 2
    assert "test.csv: " + FULL in one_line(capsys)
    assert (tmp_path / "data/train.csv").read_text() == small_competition.content("train.csv")
    assert download.main(["--out", str(tmp_path / "data")]) == 0
    assert len(fetched) == 1 and (tmp_path / "data/test.csv").exists()
    assert not (tmp_path / "data/.download").exists()


def test_unpacking_on_a_full_disk(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as made:
        made.writestr("big.csv", bytes(100_000))
    with no_file_beyond(50_000), pytest.raises(FerKitError, match=r"big.csv: cannot be written \(File too large\)"):
        unzip.unpack(tmp_path / "x.zip", unzip.members(tmp_path / "x.zip"), tmp_path / "out")
    assert (tmp_path / "x.zip").exists() and not contents(tmp_path / "out")


def test_a_fetched_archive_on_a_full_disk_is_not_called_damaged(tmp_path, capsys):
    fake_runs.save_run(tmp_path / "there", "a", seed=1)
    atomic.write_text(tmp_path / "there/a/fold0/log.txt", "x" * 100_000)
    archive.pack(tmp_path / "there", "a", tmp_path / "runs-1.tar")
    (tmp_path / "here").mkdir()
    with no_file_beyond(50_000):
        parser = lambda: cli.parser("x", "y")  # noqa: E731
        assert cli.run(parser, lambda _: archive.unpack(tmp_path / "runs-1.tar", tmp_path / "here", "a"), []) == 2
    assert "File too large; the file would exceed the limit" in one_line(capsys)
    archive.unpack(tmp_path / "runs-1.tar", tmp_path / "here", "a")
    assert contents(tmp_path / "here") == contents(tmp_path / "there")


# --- a disk that is really full --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_folds_on_a_full_tmpfs(competition_dir, runs_dir, tmp_path):
    """The system's own ENOSPC, in a mount of its own; skipped where a user may not mount."""
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f"""
mount -t tmpfs -o size=200k none {disk} && cp {runs_dir}/folds* {disk} || exit 77
head -c 300000 /dev/zero > {disk}/fill 2> /dev/null
sha256sum {disk}/folds*
{sys.executable} -m fer_kit.folds --data {competition_dir} --runs {disk} --folds 4 --method exact --force
echo "exit $?"
sha256sum {disk}/folds*
ls -A {disk}
"""
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script]
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    except FileNotFoundError:
        pytest.skip("no unshare here")
    if done.returncode == 77 or "exit" not in done.stdout:
        pytest.skip(f"no mount of one's own here ({done.stderr.strip()[:80]})")
    lines = done.stdout.splitlines()
    end = lines.index("exit 2")
    assert lines[end + 1 : end + 4] == lines[:3]
    assert sorted({*lines[end + 4 :]} - {"cache"}) == ["fill", "folds-test.csv", "folds.csv", "folds.json"]
    *warning, error = done.stderr.splitlines()
    assert error.startswith("error: ") and "No space left on device" in error
    assert all(line.startswith("warning: no cache") for line in warning)
