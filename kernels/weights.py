"""Pretrained weights from a Kaggle model: how they are named, and where they are mounted."""

from __future__ import annotations

import re
from pathlib import Path

from fer_kit.errors import FerKitError

OPTION = "--weights"
FORM = "owner/model/framework/variation/version"
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def check(source: str) -> str:
    """`source` if it has the form owner/model/framework/variation/version.

    Raises:
        FerKitError: it has another.
    """
    parts = source.split("/")
    if len(parts) != 5 or not all(_PART.fullmatch(part) for part in parts) or not parts[-1].isdigit():
        raise FerKitError(f"{OPTION} {source}: write {FORM}, e.g. timm/convnext/pyTorch/atto/1")
    return source


def find(inputs: Path, source: str) -> Path:
    """The one weights file of a mounted model, under either layout.

    Raises:
        FerKitError: not mounted, or not exactly one file that could be weights.
    """
    owner, model, framework, variation, version = check(source).split("/")
    tail = Path(model, framework.lower(), variation, version)
    places = [inputs / "models" / owner / tail, inputs / tail]
    for place in places:
        if place.is_dir():
            found = sorted(path for path in place.rglob("*") if path.suffix in SUFFIXES and path.is_file())
            if len(found) == 1:
                return found[0]
            names = ", ".join(path.name for path in found) or "none"
            raise FerKitError(f"{place}: one file of {', '.join(SUFFIXES)} is needed, found: {names}")
    raise FerKitError(f"model {source} is not mounted; looked in {' and '.join(map(str, places))}")
