"""Imports point one way, and looking costs little: the layers of the design, walked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fer_kit.__main__ import main as fer_kit_main
from fer_kit.commands import COMMANDS
from tests.helpers.source_tree import HEAVY, PACKAGES, ROOT, TORCH, imports, modules

# From the ground up: a folder or top-level module imports only from floors below its own. A new file needs no entry.
FLOORS = [
    "errors competition metrics revision commands",
    "programs",
    "files keywords output",
    "config data kaggle drawing cli albumentations_v3",
    "folds batches synthetic download",
    "runs models explore",
    "pretrained track evaluate submissions pipelines",
    "engine report ensembles",
    "predict explain",
    "train classify card",
    "sweep export",
    "auto kernels api",
    "listing",
    "__main__",
]
FLOOR_OF = {name: number for number, names in enumerate(FLOORS) for name in names.split()}
WITH_TORCH = {"models", "pretrained", "batches", "engine", "predict", "explain", "train", "export", "albumentations_v3"}


def place(module: str) -> str | None:
    """The folder or top-level module of a dotted name of ours; None for others and for `fer_kit` itself."""
    first, *rest = module.split(".")
    if first not in PACKAGES:
        return None
    name = rest[0] if first == "fer_kit" and rest else first
    return name if name in FLOOR_OF else None


def home(path: Path) -> str:
    """The folder or top-level module that `path` belongs to."""
    first, *rest = path.relative_to(ROOT).with_suffix("").parts
    return rest[0] if first == "fer_kit" else first


EVERY = [path for package in PACKAGES for path in modules(package) if path != ROOT / "fer_kit/__init__.py"]


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_every_folder_has_a_floor():
    assert {home(path) for path in EVERY} == set(FLOOR_OF)


@pytest.mark.parametrize("path", EVERY, ids=named)
def test_imports_point_downward(path):
    here = home(path)
    for module, _ in imports(path):
        assert module.split(".")[0] != "tests", f"{named(path)} imports {module}"
        there = place(module)
        if there not in (None, here):
            assert FLOOR_OF[there] < FLOOR_OF[here], f"{named(path)} imports {module}, which is not below {here}"


@pytest.mark.parametrize("path", EVERY, ids=named)
def test_no_file_imports_a_command(path):
    """Neither a library nor another command: a command is started, by its name."""
    for module, _ in imports(path):
        if place(module) is not None:
            assert ".__main__" not in module, f"{named(path)} imports the command {module}"


def test_torch_stays_in_its_folders():
    for path in EVERY:
        loads = {module.split(".")[0] for module, typed in imports(path) if not typed} & TORCH
        if loads and home(path) not in WITH_TORCH:
            allowed = ("kernels/inside/devices.py", "fer_kit/auto/worker.py")  # processes of their own
            assert named(path) in allowed, f"{named(path)} imports {loads}"


def test_timm_is_imported_without_wandb():
    """By `fer_kit.models.timm_alone`, which comes first; inside of fer_kit/models the package sees to that."""
    for path in EVERY:
        order = [line for line in path.read_text(encoding="utf-8").splitlines() if "import" in line]
        timm = [number for number, line in enumerate(order) if line.startswith(("import timm", "from timm"))]
        if timm and home(path) != "models":
            alone = next((number for number, line in enumerate(order) if "timm_alone" in line), len(order))
            assert alone < timm[0], f"{named(path)} imports timm before timm_alone"


@pytest.mark.slow
def test_no_circles():
    """Between files too: within a folder they may import each other, but not in a loop."""
    files = {named(path).removesuffix(".py").replace("/", "."): path for path in EVERY}
    edges: dict[str, set[str]] = {}
    for name, path in files.items():
        found = {module for module, typed in imports(path) if not typed}
        wanted = found | {module.rpartition(".")[0] for module in found}
        packages = {f"{module}.__init__" for module in wanted}
        edges[name] = {module for module in wanted | packages if module in files} - {name}
        package = name.rpartition(".")[0]  # its other modules may be imported by its name
        if all(module in files for module in found if module.rpartition(".")[0] == package):
            edges[name] -= {f"{package}.__init__"}
    seen: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " → ".join((*trail, name))
        if name not in seen:
            for target in edges[name]:
                visit(target, (*trail, name))
            seen.add(name)

    for name in edges:
        visit(name, ())


def test_folders_stay_small():
    """No folder with more than about a dozen files, and about ten modules at the top."""
    for folder in {path.parent for path in EVERY}:
        count = len([path for path in folder.glob("*.py") if path.name != "__init__.py"])
        assert count <= 14, f"{named(folder)} has {count} modules"


@pytest.mark.slow
def test_help_and_dry_run_are_light(competition_dir, runs_dir):
    """In one fresh process: --help of every command, and a dry run, load nothing heavy."""
    dry = ["--fold", "0", "--dry-run", "--data", str(competition_dir), "--runs", str(runs_dir)]
    program = f"""
import sys
from fer_kit.__main__ import main
from fer_kit.commands import COMMANDS
for name in COMMANDS:
    assert main([name, "--help"]) == 0, name
assert main(["train", *{dry!r}]) == 0
print("loaded:", sorted({HEAVY!r} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded: []"


@pytest.mark.slow
def test_training_brings_along_nothing_that_it_was_not_asked_for():
    program = f"import sys, fer_kit.train.fold; print(sorted({HEAVY - TORCH - {'PIL'}!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_one_word_for_all_commands(capsys):
    assert fer_kit_main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in COMMANDS)
    assert fer_kit_main(["tran"]) == 2
    assert "error: no command 'tran' (did you mean 'train'?); there are: download, synthetic" in capsys.readouterr().err
    assert fer_kit_main(["train", "--fold", "0", "--recipe", "nothing"]) == 2
    assert "no recipe 'nothing'" in capsys.readouterr().err
