"""Weights and checkpoints of other people: loaded without running code, and compared with the hash of result.json."""

from __future__ import annotations

import ast

import pytest
import torch

from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.models import unpickle
from fer_kit.pretrained import read
from fer_kit.runs import finished_folder
from tests.helpers.source_tree import PACKAGES, ROOT, modules


def test_one_place_unpickles():
    """The kind: no other module calls torch.load, pickle or numpy with pickles."""
    for package in PACKAGES:
        for path in modules(package):
            if path == ROOT / "fer_kit/models/unpickle.py":
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    called = ast.unparse(node.func)
                    where = f"{path}, line {node.lineno}"
                    assert called not in ("torch.load", "pickle.load", "pickle.loads", "joblib.load"), where
                    allowed = [word.value for word in node.keywords if word.arg == "allow_pickle"]
                    assert all(isinstance(value, ast.Constant) and value.value is False for value in allowed), where


@pytest.mark.parametrize("version", ["2.6.0", "2.9.1+cu128", "1.13.0"])
def test_an_old_torch_refuses_foreign_files(tmp_path, monkeypatch, version):
    path = tmp_path / "weights.pt"
    torch.save({"a": torch.ones(2)}, path)
    assert set(read.read(path)[0]) == {"a"}
    monkeypatch.setattr(torch, "__version__", version)
    with pytest.raises(FerKitError, match=r"weights.pt: not loaded, since torch .* update torch to 2.10"):
        read.read(path)


@pytest.mark.parametrize("version", ["2.10.0", "2.14.1+cu130", "3.0"])
def test_a_new_torch_loads(tmp_path, monkeypatch, version):
    torch.save({"a": torch.ones(2)}, tmp_path / "weights.pt")
    monkeypatch.setattr(torch, "__version__", version)
    assert set(unpickle.load(tmp_path / "weights.pt", tmp_path)) == {"a"}


def test_weights_are_compared_with_their_hash(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    atomic.write_json(tmp_path / "result.json", {})  # of an older version
    finished_folder.check_weights(tmp_path)
    atomic.write_json(tmp_path / "result.json", {"model_sha256": atomic.sha256_of(tmp_path / "model.safetensors")})
    finished_folder.check_weights(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"others")
    with pytest.raises(FerKitError, match="model.safetensors: changed since result.json was written"):
        finished_folder.check_weights(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(FerKitError, match="no such file"):
        finished_folder.check_weights(tmp_path)
