"""The project's own files and what they import."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


PACKAGES = ("fer_kit", "ensembles", "submissions", "kernels")


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


HEAVY = TORCH | {"pandas", "scipy", "sklearn", "cv2", "matplotlib", "albumentations", "wandb", "kaggle", "PIL"}
