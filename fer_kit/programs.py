"""Systems that fer_kit runs on, Python processes that commands start, and which package `kernels` a command imports.

The processes import no file of the current folder.

A folder of data or runs may come from somebody else. `python -m` would import a `numpy.py` that lies there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from fer_kit.errors import FerKitError

SUPPORTED = os.name == "posix"  # Windows has neither the locks nor the signals that trainings use
UNSUPPORTED = "fer_kit needs Linux or macOS; on Windows use WSL (the Windows Subsystem for Linux)"
BESIDE = "beside"  # the folder of a wheel with our package `kernels`, see setup.py
_CODE = Path(__file__).resolve().parents[1]  # the folder of the packages: a checkout or site-packages
_INSTALLED = ("site-packages", "dist-packages")


def python(*words: str) -> list[str]:
    """The command `python <words>`, without the current folder on the path of imports."""
    return [sys.executable, "-P", *words]


def environ(given: Mapping[str, str]) -> dict[str, str]:
    """`given` for such a process; in a checkout that is not installed, PYTHONPATH names the checkout."""
    if _CODE.name in _INSTALLED:
        return dict(given)
    paths = [*filter(None, given.get("PYTHONPATH", "").split(os.pathsep)), f"{_CODE}"]
    return {**given, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}


def find_kernels() -> None:
    """Let this process import our package `kernels`: Hugging Face publishes another package of that name.

    A wheel of ours holds the package in a folder of its own, so that neither install replaces files of the other.

    Raises:
        FerKitError: the other package is imported already, or ours is missing.
    """
    places = [_CODE, Path(__file__).parent / BESIDE]
    ours = next((place for place in places if (place / "kernels/inside").is_dir()), None)
    if ours is None:
        raise FerKitError(f"{places[1]}: fer_kit's package kernels is missing; install fer_kit again")
    loaded = getattr(sys.modules.get("kernels"), "__file__", None)
    if loaded is not None and not Path(loaded).is_relative_to(ours):
        raise FerKitError(f"{loaded}: another package kernels is imported in this process; start fer-kit by itself")
    if sys.path[:1] != [f"{ours}"] and ours.name not in _INSTALLED:
        sys.path.insert(0, f"{ours}")
