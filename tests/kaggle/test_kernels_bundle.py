"""The bundle: what travels, that it is always the same, and that nothing secret or heavy is in it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import lzma
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from fer_kit.errors import FerKitError
from fer_kit.folds import table
from fer_kit.kaggle import credentials, secret_values
from kernels import bundle, leaks
from kernels.inside import fold_table
from tests.helpers import fake_runs
from tests.helpers.source_tree import ROOT, imports

KEY = "4f1c9a7d0e5b4c3d8a2e6f7b1c0d9e8f"


@pytest.fixture(scope="module")
def made() -> bundle.Bundle:
    return bundle.make({})


def unpacked(made: bundle.Bundle) -> tarfile.TarFile:
    packed = base64.b85decode(made.text)
    assert hashlib.sha256(packed).hexdigest() == made.sha256
    return tarfile.open(fileobj=io.BytesIO(lzma.decompress(packed)))


def test_the_bundle_is_source_only_sorted_and_without_times(made):
    members = unpacked(made).getmembers()
    names = [member.name for member in members]
    assert names == sorted(names) == list(made.files)
    assert all(name.endswith(".py") for name in names)
    assert {"fer_kit/train/__main__.py", "fer_kit/models/networks/residual.py", "kernels/inside/session.py"} <= set(
        names
    )
    assert {(m.mtime, m.uid, m.gid, m.uname, m.mode) for m in members} == {(0, 0, 0, "", 0o644)}
    assert (
        unpacked(made).extractfile("fer_kit/train/__main__.py").read()
        == (ROOT / "fer_kit/train/__main__.py").read_bytes()
    )


@pytest.mark.slow
def test_the_same_files_make_the_same_bundle(made, tmp_path, monkeypatch):
    copy = tmp_path / "elsewhere"
    for package in ("fer_kit", "kernels"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__", "build"))
    for path in copy.rglob("*.py"):
        os.utime(path, (1, 1))
    monkeypatch.setattr(bundle, "_root", lambda package: copy / package)
    assert bundle.make({}).text == made.text
    (copy / "fer_kit/errors.py").write_text((copy / "fer_kit/errors.py").read_text() + "\n")
    assert bundle.make({}).sha256 != made.sha256


@pytest.mark.slow
def test_everything_that_runs_in_the_kernel_is_in_it(made):
    """No bundled module imports one of our own that stays at home."""
    for name in made.files:
        for module, _ in imports(ROOT / name):
            parts = module.split(".")
            assert parts[0] not in {"ensembles", "submissions", "tests"}, f"{name} imports {module}"
            if parts[0] == "kernels":
                assert parts[1] == "inside", f"{name} imports {module}"


def package(tmp_path: Path, **files: bytes) -> Path:
    root = tmp_path / "extra"
    root.mkdir()
    (root / "__init__.py").write_text("")
    for name, content in files.items():
        (root / name.replace("_dot_", ".")).write_bytes(content)
    return root


@pytest.mark.slow
def test_data_weights_and_credentials_stay_at_home(tmp_path, made):
    planted = {
        "model_dot_safetensors": b"weights",
        "last_dot_pt": b"weights",
        "train_dot_csv": b"emotion,pixels",
        "oof_dot_npz": b"data",
        "kaggle_dot_json": json.dumps({"username": "me", "key": KEY}).encode(),
        "_dot_env": b"KAGGLE_KEY=x",
    }
    found = bundle.make({}, [package(tmp_path, **planted)])
    assert set(found.files) - set(made.files) == {"extra/__init__.py"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f'key = "{KEY}"'.encode(), "holds the secret value of $KAGGLE_KEY; remove it"),
        (b'token = "KGAT_0123456789abcdef0123"', "holds what looks like a Kaggle token"),
        (b"-----BEGIN RSA PRIVATE KEY-----", "holds what looks like a private key"),
        (
            b"faces = [" + b"0," * 60_000 + b"]",
            "120,010 bytes, a source file may have at most 100,000",
        ),
    ],
)
def test_what_is_refused(tmp_path, content, message):
    with pytest.raises(FerKitError) as caught:
        bundle.make({"$KAGGLE_KEY": KEY}, [package(tmp_path, planted_dot_py=content)])
    assert message in str(caught.value) and "planted.py" in str(caught.value)
    assert KEY not in str(caught.value) and "\n" not in str(caught.value)


def test_a_link_is_refused(tmp_path):
    root = package(tmp_path)
    (tmp_path / "private.py").write_text("secret = 1")
    (root / "linked.py").symlink_to(tmp_path / "private.py")
    with pytest.raises(FerKitError, match=r"linked\.py: is a link or not a regular file"):
        bundle.make({}, [root])


def test_secrets_are_known_from_the_environment_and_the_credential_files(tmp_path):
    folder = tmp_path / ".kaggle"
    folder.mkdir()
    (folder / "kaggle.json").write_text(json.dumps({"username": "me", "key": KEY}))
    (folder / "access_token").write_text("KGAT_from_the_file\n")
    environ = {"HOME": str(tmp_path), "KAGGLE_KEY": "k" * 8, "WANDB_API_KEY": "w" * 40, "HOTKEY": "attention"}
    found = secret_values.known(environ)
    assert set(found.values()) == {KEY, "KGAT_from_the_file", "k" * 8, "w" * 40}
    assert not secret_values.known({"HOME": str(tmp_path / "nobody"), "KAGGLE_USERNAME": "someone-known"})


HIDDEN = "planted-0123456789"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (".kaggle/credentials.json", f'{{"refresh_token": "{HIDDEN}"}}'),
        (".kaggle/access_token", f"\ufeff{HIDDEN}\r\n"),
        (".netrc", f"machine api.wandb.ai\n  login user\n  password {HIDDEN}\n"),
        (".cache/huggingface/token", HIDDEN),
        (".git-credentials", f"https://me:{HIDDEN}@github.com\n"),
        (".config/gh/hosts.yml", f"github.com:\n    oauth_token: {HIDDEN}\n"),
        (".aws/credentials", f"[default]\naws_secret_access_key = {HIDDEN}\n"),
    ],
)
def test_secrets_of_files_are_kept_home_and_masked(tmp_path, name, text):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    environ = {"HOME": str(tmp_path)}
    assert secret_values.known(environ) == {str(path): HIDDEN}
    with pytest.raises(FerKitError) as caught:
        leaks.refuse(f"key = '{HIDDEN}'".encode(), "x.py", secret_values.known(environ))
    assert str(path) in str(caught.value) and HIDDEN not in str(caught.value)
    assert HIDDEN not in credentials.Mask(environ)(f"it said {HIDDEN}")


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("GITHUB_PAT", HIDDEN, HIDDEN),
        ("DB_PASS", "s3cret-pw", "s3cret-pw"),
        ("SERVICE_TOKEN", HIDDEN, HIDDEN),
        ("CLIENT_SECRET", HIDDEN, HIDDEN),
        ("DATABASE_URL", f"postgres://me:{HIDDEN}@host/name", HIDDEN),
        ("DATABASE_URL", "postgres://host/name", None),
        ("SSH_ASKPASS", "/usr/lib/ssh/askpass", None),
        ("PATH", "/usr/bin:/usr/local/bin", None),
    ],
)
def test_secrets_of_variables_are_known_by_their_names(tmp_path, name, value, secret):
    found = secret_values.known({"HOME": str(tmp_path), name: value})
    assert found == ({} if secret is None else {f"${name}": secret})


def test_files_that_git_does_not_track_are_named(monkeypatch):
    monkeypatch.setattr(bundle.revision, "untracked", lambda folder, pattern: ["errors.py", "stranger.txt"])
    assert bundle.make({}).untracked == ("fer_kit/errors.py",)


def test_folds_travel_whole_and_without_labels(tmp_path):
    path = tmp_path / "folds.csv"
    path.write_bytes(fake_runs.TABLE)
    folds = table.read(path)
    text = fold_table.encode(folds)
    fold_table.write(tmp_path / "there.csv", text, fake_runs.LABELS, folds.digest)
    assert (tmp_path / "there.csv").read_bytes() == fake_runs.TABLE
    relabelled = (fake_runs.LABELS + 1) % 7  # the text does not depend on the labels
    other = table.table_of(table.COLUMNS, folds.ids, relabelled, folds.groups, folds.folds)
    (tmp_path / "other.csv").write_bytes(other)
    assert fold_table.encode(table.read(tmp_path / "other.csv")) == text
    assert np.array_equal(fold_table.decode(text)[1], folds.folds)

    for labels, message in (
        (relabelled, "made from other rows"),
        (fake_runs.LABELS[1:], "90 train rows, but the data here has 89"),
    ):
        with pytest.raises(FerKitError, match=message):
            fold_table.write(tmp_path / "wrong.csv", text, labels, folds.digest)
    with pytest.raises(FerKitError, match="the folds in this script are damaged"):
        fold_table.decode(text[:-10])
    path.write_bytes(fake_runs.TABLE.replace(b"\n", b"\r\n"))
    with pytest.raises(FerKitError, match="was edited by hand; make the folds again"):
        fold_table.encode(table.read(path))
