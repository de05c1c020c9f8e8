"""Commands start no program and import no module of the current folder, which may come from somebody else."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fer_kit
from fer_kit import __main__ as fer_kit_command
from fer_kit import programs
from fer_kit.errors import FerKitError
from fer_kit.sweep import slots
from kernels.inside import devices
from tests.helpers.source_tree import PACKAGES, ROOT, modules

EVIL = "open('ran', 'w').close(); raise SystemExit('a module of the current folder was imported')\n"


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, full of modules that children would import."""
    for name in ("numpy", "torch", "json", "timm", "wandb", "kaggle", "six", "fer_kit", "kernels"):
        (tmp_path / f"{name}.py").write_text(EVIL)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_children_import_nothing_of_the_current_folder(planted):
    assert slots.gpus({**os.environ, "CUDA_VISIBLE_DEVICES": ""}) == 0
    assert devices.probe(programs.environ({**os.environ, "CUDA_VISIBLE_DEVICES": ""})).gpus == ()
    assert not (planted / "ran").exists()


def test_the_code_is_found_from_any_folder(planted):
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = programs.python("-c", "import fer_kit; print(fer_kit.__file__)")
    done = subprocess.run(command, env=programs.environ(environ), capture_output=True, text=True)
    assert done.stdout.strip() == f"{ROOT / 'fer_kit/__init__.py'}", done.stderr
    assert programs.environ({"PYTHONPATH": "/x"})["PYTHONPATH"] == os.pathsep.join(["/x", f"{ROOT}"])


def test_an_installed_package_does_not_change_the_path(monkeypatch):
    monkeypatch.setattr(programs, "_CODE", Path("/usr/lib/python3/site-packages"))
    assert programs.environ({"HOME": "/root"}) == {"HOME": "/root"}
    assert programs.python("-m", "x")[:2] == [sys.executable, "-P"]


# The modules that name a program to start, and why they may.
STARTERS = {
    "fer_kit/programs.py": "sys.executable -P",
    "fer_kit/kaggle/program.py": "-P",
    "fer_kit/revision.py": "_git",
}


@pytest.mark.parametrize("package", PACKAGES)
def test_programs_are_named_in_one_place(package):
    """The kind: who starts Python goes through `programs`, who asks git through `revision`."""
    for path in modules(package):
        name = path.relative_to(ROOT).as_posix()
        if name in STARTERS:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            here = f"{name}, line {getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Attribute):
                assert (ast.unparse(node)) not in ("sys.executable", "os.system", "os.popen"), here
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("subprocess."):
                first = node.args[0] if node.args else None
                assert not isinstance(first, ast.List | ast.Tuple | ast.Constant), here
            if isinstance(node, ast.keyword) and node.arg == "shell":
                pytest.fail(f"{here}: shell=")


@pytest.fixture
def theirs(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that finds Hugging Face's package `kernels` before ours."""
    (tmp_path / "site/kernels").mkdir(parents=True)
    (tmp_path / "site/kernels/__init__.py").write_text("def get_kernel(): ...\n")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([f"{tmp_path / 'site'}", f"{ROOT}"])}


def ran(program: str, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(programs.python("-c", program), env=environ, capture_output=True, text=True)


@pytest.mark.slow
def test_another_package_kernels_and_ours_go_together(theirs):
    ours = ran("from fer_kit.__main__ import main; raise SystemExit(main(['kernels', 'status', '--help']))", theirs)
    assert ours.returncode == 0 and "--runs" in ours.stdout, ours.stderr
    both = ran("import fer_kit, fer_kit.listing.renaming, kernels; kernels.get_kernel()", theirs)
    assert both.returncode == 0, both.stderr
    late = ran(
        "import kernels; from fer_kit.__main__ import main; raise SystemExit(main(['kernels', 'status']))", theirs
    )
    assert late.returncode == 2 and late.stderr.count("\n") == 1
    assert "site/kernels/__init__.py: another package kernels is imported in this process" in late.stderr


def test_a_wheel_without_the_package_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "_CODE", tmp_path)
    with pytest.raises(FerKitError, match="package kernels is missing; install fer_kit again"):
        programs.find_kernels()


WORKERS = """
import multiprocessing, pathlib, sys
import numpy as np, torch
from fer_kit.batches import pipeline_file, workers
from fer_kit.batches.pipeline import Pipeline
from fer_kit.config import recipes

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    sys.path.append(sys.argv[2])
    pathlib.Path("socket.py").write_text("open('ran', 'w').close()")  # after the imports of this process
    images, labels = torch.zeros(8, 48, 48, dtype=torch.uint8), torch.zeros(8, dtype=torch.int64)
    feed = workers.UserBatches(Pipeline(pipeline_file.open_file("v3")), 1).epoch
    print(len(list(feed(images, labels, recipes.get("vgg_tiny"), torch.Generator(), None))))
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_that_are_new_interpreters_import_nothing_of_the_current_folder(method, tmp_path):
    """As on macOS, and on Linux from Python 3.14 on."""
    script = tmp_path / "scripts" / "workers.py"
    script.parent.mkdir()
    script.write_text(WORKERS)
    place = tmp_path / "place"
    place.mkdir()
    command = programs.python(str(script), method, str(script.parent))
    environ = {key: value for key, value in programs.environ(os.environ).items() if key != "PYTHONSAFEPATH"}
    environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), environ.get("PYTHONPATH", "")])
    done = subprocess.run([command[0], *command[2:]], env=environ, cwd=place, capture_output=True, text=True)
    assert done.stdout == "1\n", done.stderr
    assert not (place / "ran").exists()


def test_a_system_without_locks_is_refused_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(programs, "SUPPORTED", False)
    assert fer_kit_command.main(["folds"]) == 2
    assert capsys.readouterr().err == (
        "error: fer_kit needs Linux or macOS; on Windows use WSL (the Windows Subsystem for Linux)\n"
    )
    for name in ("load_data", "train"):
        with pytest.raises(ImportError, match="on Windows use WSL"):
            fer_kit.__getattr__(name)
