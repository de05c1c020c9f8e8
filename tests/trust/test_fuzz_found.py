"""Each fault that broken and hostile files have brought to light, by itself: arrays, archives and weights."""

from __future__ import annotations

import base64
import errno
import hashlib
import io
import json
import lzma
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fer_kit.data import csv_files
from fer_kit.errors import FerKitError
from fer_kit.files import atomic, npz, unzip
from fer_kit.runs import predictions, soft_targets
from kernels.inside import archive
from submissions import file_format
from tests.fuzz.inputs import npy
from tests.helpers import fake_runs, small_competition
from tests.helpers.small_competition import refusal


def put(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# --- arrays ----------------------------------------------------------------------------------------------------------


def zip_of(path: Path, method: int = zipfile.ZIP_STORED, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", method) as made:
        for name, content in members.items():
            made.writestr(f"{name}.npy", content)
    return path


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


IDS = np.arange(3)
WHOLE = {
    "ids": npy(IDS),
    "logits": npy(np.zeros((3, 7), np.float32)),
    "meta": npy(np.array(json.dumps(fake_runs.meta()))),
}


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (npy(np.array([1, os.system], object)), r"cannot be read as plain arrays (Object arrays can run any code"),
        (
            header("{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000,), }"),
            "its header says 8,000,000,000",
        ),
        (header("{'descr': '<i8', 'fortran_order': False, 'shape': (-3,), }") + bytes(24), "its header says -24"),
        (header("{'descr': '<i8', 'fortran_order': False, 'shape': (3L,), }") + bytes(24), "cannot be read as plain"),
        (header("{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (1,), }") + bytes(8), "Object arrays"),
        (header("(" * 5000), "cannot be read as plain arrays"),
        (header("'''"), "cannot be read as plain arrays"),  # TokenError, of a tokenizer that numpy has for old files
        (WHOLE["ids"].replace(b"NUMPY\x01", b"NUMPY\x03"), "has version (3, 0) of numpy's format"),
        (bytes(16), "cannot be read as plain arrays"),
    ],
)
def test_arrays_are_plain_and_no_larger_than_their_bytes(tmp_path, ids, message):
    assert message in refusal(predictions.read, zip_of(tmp_path / "oof.npz", **{**WHOLE, "ids": ids}))


def test_a_zip_bomb_of_arrays_is_not_unpacked(tmp_path):
    bomb = zip_of(tmp_path / "oof.npz", zipfile.ZIP_DEFLATED, **{**WHOLE, "ids": bytes(npz.MOST_BYTES)})
    assert bomb.stat().st_size < npz.MOST_BYTES / 500
    assert "bytes, allowed are 67,108,864" in refusal(predictions.read, bomb)


def test_other_odd_zips_of_arrays(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(zip_of(tmp_path / "a", **WHOLE), "a") as made:
        made.writestr("ids.npy", WHOLE["ids"])
    assert "holds 'ids' twice" in refusal(predictions.read, tmp_path / "a")
    assert "packed in a way" in refusal(predictions.read, zip_of(tmp_path / "b", zipfile.ZIP_LZMA, **WHOLE))
    with zipfile.ZipFile(tmp_path / "c", "w") as made:
        made.writestr("ids", "no array")
    assert "holds 'ids', allowed are" in refusal(predictions.read, tmp_path / "c")


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ("[1]", "meta is a list, allowed is a JSON object"),
        ("3", "meta is a int"),
        ("NaN", "unreadable meta: NaN is not a finite number"),
        (json.dumps({**dict.fromkeys(soft_targets.META_KEYS, "x"), "schema": 1}), "meta 'folds' is 'x'"),
        (json.dumps({**dict.fromkeys(soft_targets.META_KEYS, 3), "schema": 1}), "meta 'name' is 3, allowed is a text"),
    ],
)
def test_what_soft_targets_say_of_themselves(tmp_path, meta, message):
    shares = npy(np.full((1, 2, 7), 1 / 7, np.float32))
    assert message in refusal(soft_targets.read, zip_of(tmp_path / "x.npz", train=shares, meta=npy(np.array(meta))))


def test_soft_targets_that_overflow_are_no_shares(tmp_path):
    shares = npy(np.full((1, 2, 7), 3e38, np.float32))
    meta = npy(np.array(json.dumps({**dict.fromkeys(soft_targets.META_KEYS, "x"), "schema": 1, "folds": 3})))
    assert "rows that are not probabilities" in refusal(
        soft_targets.read, zip_of(tmp_path / "x.npz", train=shares, meta=meta)
    )


# --- zips and tars ---------------------------------------------------------------------------------------------------


def lying_zip(path: Path, claimed: int) -> Path:
    """A zip whose train.csv claims another size than it has."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("train.csv", "emotion,pixels\n")
        made.infolist()[0].file_size = claimed
    return path


def test_data_that_unpack_to_far_more_than_they_are(tmp_path):
    path = lying_zip(tmp_path / "all.zip", 3 << 30)
    assert "train.csv unpacks to 3,221,225,472 bytes, more than 200 times" in refusal(csv_files.sources, tmp_path)
    assert "unpacks to 3,221,225,472 bytes" in refusal(unzip.members, path)
    assert not path.exists()  # as with any damaged download


def test_an_example_submission_that_unpacks_to_far_more(tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr(file_format.EXAMPLE, bytes(file_format.MOST_BYTES + 1))
    assert "larger than 8,388,608 bytes" in refusal(file_format.choose, tmp_path, False)


def test_an_id_of_an_example_that_no_line_can_hold():
    assert "unprintable character" in refusal(file_format.parse_example, "x", b"id,emotion\na\x00b,0\nc,0\n")


def test_a_zip_packed_by_lzma_and_damaged_is_called_so(tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_LZMA) as made:
        made.writestr("train.csv", small_competition.content("train.csv"))
    content = bytearray((tmp_path / "all.zip").read_bytes())
    content[60:90] = b"\xff" * 30
    put(tmp_path / "all.zip", bytes(content))
    found = csv_files.sources(tmp_path)["train.csv"]
    with pytest.raises(FerKitError, match="damaged or unreadable zip"), found.open() as file:
        file.read()


def tar_of(path: Path, *members: tarfile.TarInfo, form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as made:
        for member in members:
            made.addfile(member, io.BytesIO(bytes(max(member.size, 0))))
    return path


def member(name: str = "run/fold0/a", **about: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in about.items():
        setattr(info, key, value)
    return info


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (member("../x", size=1), "holds '../x', which is not a file"),
        (member("run/fold0/../x", size=1), "which is not a file of a run"),
        (member("/etc/passwd"), "which is not a file of a run"),
        (member(type=tarfile.SYMTYPE, linkname="/etc/passwd"), "holds 'run/fold0/a', which is not a regular file"),
        (member(type=tarfile.LNKTYPE, linkname="../../x"), "which is not a regular file"),
        (member(type=tarfile.CHRTYPE), "which is not a regular file"),
        (
            member(size=512, pax_headers={"GNU.sparse.major": "0", "GNU.sparse.size": "9" * 12}),
            "more bytes than the file has",
        ),
        (member(size=512, pax_headers={"size": "-512"}), "-512 bytes"),  # read without end before
    ],
)
def test_an_archive_of_run_folders_writes_nothing_elsewhere(tmp_path, info, message):
    (tmp_path / "here").mkdir()
    path = tar_of(tmp_path / "runs-1.tar", member("folds.csv", size=3), info)
    assert message in refusal(archive.unpack, path, tmp_path / "here", "run")
    assert sorted(one.name for one in tmp_path.rglob("*")) == ["here", "runs-1.tar"]


def test_an_archive_of_headers_of_headers(tmp_path):
    links = b"".join(member("x", type=tarfile.XHDTYPE).tobuf() for _ in range(3000))
    put(tmp_path / "runs-1.tar", links + bytes(1024))
    assert "not an archive that can be unpacked" in refusal(archive.unpack, tmp_path / "runs-1.tar", tmp_path, "run")


@pytest.mark.parametrize(
    "info", [member("../x.py", size=1), member("x.py", type=tarfile.SYMTYPE, linkname="/etc/passwd")]
)
def test_a_bundle_that_leads_out_of_its_folder_is_not_unpacked(tmp_path, monkeypatch, info):
    """The script's own unpacking: a bundle is trusted by its digest, and held to its folder all the same."""
    from kernels import script_template

    packed = lzma.compress(tar_of(tmp_path / "bundle.tar", info).read_bytes())
    (tmp_path / "bundle.tar").unlink()
    monkeypatch.setattr(script_template, "BUNDLE", base64.b85encode(packed).decode())
    monkeypatch.setattr(script_template, "BUNDLE_SHA256", hashlib.sha256(packed).hexdigest())
    monkeypatch.setattr(script_template.tempfile, "tempdir", str(tmp_path))
    with pytest.raises(tarfile.FilterError):
        script_template.main()
    assert not list(tmp_path.iterdir())


# --- weights ---------------------------------------------------------------------------------------------------------


class Evil:
    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".safetensors"])
def test_weights_with_code_in_them_are_refused_and_the_code_not_run(tmp_path, monkeypatch, suffix):
    import torch

    from fer_kit.pretrained import read
    from fer_kit.train import checkpoints

    monkeypatch.chdir(tmp_path)
    torch.save({"net": Evil()}, tmp_path / f"zip{suffix}")
    put(tmp_path / f"plain{suffix}", pickle.dumps({"state_dict": Evil()}, protocol=2))
    for name in ("zip", "plain"):
        message = refusal(read.read, tmp_path / f"{name}{suffix}")
        assert "contains code or objects" in message or (
            suffix == ".safetensors" and "not a readable file of weights" in message
        )
    state = type("State", (), {"net": torch.nn.Linear(1, 1)})()
    assert "not a readable checkpoint" in refusal(checkpoints.load, tmp_path / f"zip{suffix}", state, {})
    assert not (tmp_path / "ran").exists()


def test_the_words_for_a_disk_are_those_of_its_fault():
    assert "ulimit -n" in atomic.way_out(OSError(errno.EMFILE, ""))
    assert atomic.way_out(OSError("?")) == "free space or choose another folder"
