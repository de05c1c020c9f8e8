"""Imports point one way, and looking costs little: the layers of the design, walked."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from fer_kit.__main__ import COMMANDS
from fer_kit.__main__ import main as fer_kit_main

ROOT = Path(__file__).resolve().parents[1]
LAYERS = [
    {"errors", "labels", "files", "cli", "revision", "lock"},
    {"config", "config_limits", "model_cost", "metrics", "predictions", "text_table", "html_page", "pictures"}
    | {"config_unread", "npz"}
    | {f"kaggle_{part}" for part in ("errors", "credentials", "faults", "program", "answers", "output", "cli")},
    {"faces", "copies", "synthetic", "csv_fields", "csv_faces", "data_files", "data_cache", "data"}
    | {"twin_candidates", "twin_alignment", "twins", "fold_names", "fold_files", "folds", "splits", "recipes"}
    | {"runs", "run_records", "full_fit", "soft_targets", "augment_files"}
    | {
        "unzip",
        "download",
        "explore_facts",
        "explore_pictures",
        "evaluate_sources",
        "evaluate_scores",
        "evaluate_report",
    }
    | {"wandb_log", "wandb_content", "wandb_run", "explain_pictures"}
    | {f"report_{part}" for part in ("charts", "tables", "sources", "board", "curves", "errors", "maps", "ledger")}
    | {"report_blends", "report_origin", "report_page"}
    | {"recipes_timm", "weights_files"},
    {"augment", "views", "batches", "losses", "optim", "precision", "models"}
    | {"user_augment", "albumentations_v3", "user_batches"}
    | {"timm_alone", "mixing", "sam", "averaging", "compiling"}
    | {"transfer", "pretrained", "pretrained_files", "pretrained_fit"},
    {"engine", "tracking", "checkpoints", "training_rows", "fold_job", "fold_epochs", "fold_run", "out_of_memory"}
    | {"fold_predict", "repredict", "explain_maps", "explain_sheets"},
    {
        "train",
        "pipelines",
        "predict",
        "track",
        "explain",
        "explore",
        "evaluate",
        "report",
        "report_content",
        "__main__",
    },
]
LAYER_OF = {name: layer for layer, names in enumerate(LAYERS) for name in names}
SHARED = {"errors", "labels", "files", "cli", "metrics", "predictions", "runs", "folds", "fold_files", "data"}
SHARED |= {"lock", "unzip"}
SHARED |= {"kaggle_errors", "kaggle_cli", "twins", "full_fit", "soft_targets", "fold_names", "wandb_log", "text_table"}
LIGHT = LAYERS[0] | LAYERS[1] | LAYERS[2]
TORCH = {"torch", "torchvision", "timm", "safetensors"}


def modules(package: str) -> list[Path]:
    return sorted(path for path in (ROOT / package).rglob("*.py") if "build" not in path.relative_to(ROOT).parts)


def imports(path: Path) -> list[tuple[str, bool]]:
    """(module, only for types) for each import of a file; `from a import b` counts as a.b."""
    tree = ast.parse(path.read_text())
    guards = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    guarded = {id(child) for guard in guards for child in ast.walk(guard)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) in guarded) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            found += [(f"{node.module}.{alias.name}", id(node) in guarded) for alias in node.names]
    return found


def own(module: str) -> str | None:
    """The layer name of a fer_kit import: fer_kit.models.deep → models."""
    parts = module.split(".")
    return parts[1] if parts[0] == "fer_kit" and len(parts) > 1 and parts[1] in LAYER_OF else None


def test_every_module_has_a_layer():
    names = {path.relative_to(ROOT / "fer_kit").parts[0].removesuffix(".py") for path in modules("fer_kit")}
    assert names - {"__init__"} == set(LAYER_OF)


@pytest.mark.parametrize("path", modules("fer_kit"), ids=lambda path: path.stem)
def test_imports_point_downward(path):
    name = path.relative_to(ROOT / "fer_kit").parts[0].removesuffix(".py")
    if name == "__init__":
        return
    for module, _ in imports(path):
        assert module.split(".")[0] not in {"ensembles", "submissions", "kernels", "tests"}, f"{path}: {module}"
        target = own(module)
        if target is not None and target != name:
            assert LAYER_OF[target] <= LAYER_OF[name], f"{name} (layer {LAYER_OF[name]}) imports {target}"
        if name in LIGHT:
            assert module.split(".")[0] not in TORCH, f"{name} imports {module}: its layer has no torch"


def test_no_circles():
    edges = {name: set() for name in LAYER_OF}
    for path in modules("fer_kit"):
        name = path.relative_to(ROOT / "fer_kit").parts[0].removesuffix(".py")
        if name in edges:
            edges[name] |= {own(module) for module, typed in imports(path) if not typed} - {None, name}
    seen: dict[str, bool] = {}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " → ".join((*trail, name))
        if not seen.setdefault(name, False):
            for target in edges[name]:
                visit(target, (*trail, name))
            seen[name] = True

    for name in edges:
        visit(name, ())


@pytest.mark.parametrize("package", ["ensembles", "submissions"])
def test_blending_and_submitting_meet_in_files_only(package):
    other = {"ensembles": "submissions", "submissions": "ensembles"}[package]
    for path in modules(package):
        for module, _ in imports(path):
            first, *rest = module.split(".")
            assert first not in {other, "kernels", *TORCH}, f"{path} imports {module}"
            if first == "fer_kit":
                assert rest and rest[0] in SHARED, f"{path} imports {module}"


def test_kernels_has_no_training_logic():
    for path in modules("kernels"):
        for module, _ in imports(path):
            first = module.split(".")[0]
            assert first not in {"ensembles", "submissions", "tests"}, f"{path} imports {module}"
            assert first not in TORCH or path.stem == "devices", f"{path} imports {module}"
            assert own(module) is None or LAYER_OF[own(module)] != 4 or path.stem == "devices", f"{path}: {module}"


def test_files_stay_short():
    files = modules("fer_kit") + modules("ensembles") + modules("submissions") + modules("kernels")
    long = [path.stem for path in files if len(path.read_text().splitlines()) > 300]
    assert not long


HEAVY = TORCH | {"pandas", "scipy", "sklearn", "cv2", "matplotlib", "albumentations", "wandb", "kaggle", "PIL"}


def test_help_and_dry_run_are_light(competition_dir, runs_dir):
    """In one fresh process: --help of every command, and a dry run, load nothing heavy."""
    dry = ["--fold", "0", "--dry-run", "--data", str(competition_dir), "--runs", str(runs_dir)]
    program = f"""
import sys
from fer_kit.__main__ import COMMANDS, main
for name in COMMANDS:
    assert main([name, "--help"]) == 0, name
assert main(["train", *{dry!r}]) == 0
print("loaded:", sorted({HEAVY!r} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded: []"


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
