"""setup.cfg declares what is imported; the lowest versions that it claims are those of `make test-lowest`."""

from __future__ import annotations

import ast
import configparser
import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from fer_kit.models import unpickle

ROOT = Path(__file__).resolve().parents[1]
TOOLS = {"ruff", "mypy"}  # look at the code, do not run it


def requirements(text: str) -> dict[str, Requirement]:
    """By name; comments and empty lines left out."""
    lines = [line.strip() for line in text.splitlines()]
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {one.name: one for one in found}


def claimed() -> dict[str, Requirement]:
    """All that an install for development brings."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = setup["options.extras_require"]
    return requirements("\n".join([setup["options"]["install_requires"], extras["dev"], extras["export"]]))


def bounds() -> dict[str, Version]:
    return {
        name: Version(re.search(r">=([\d.]+)", str(one.specifier))[1])
        for name, one in claimed().items()
        if name not in TOOLS
    }


def pins(name: str) -> dict[str, Requirement]:
    return requirements((ROOT / "tests/versions" / name).read_text())


def test_the_lowest_versions_are_the_claimed_ones():
    lowest = {name: Version(str(one.specifier).removeprefix("==")) for name, one in pins("lowest.txt").items()}
    assert lowest == bounds()


@pytest.mark.parametrize("file", ["kaggle_image.txt", "kaggle_next.txt"])
def test_kaggles_images_are_within_what_is_claimed(file):
    for name, pin in pins(file).items():
        version = str(pin.specifier).removeprefix("==").replace("*", "99")
        assert claimed()[name].specifier.contains(version), f"{name} {version}"


# Names of imports whose packages have other names.
PACKAGE_OF = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "sklearn": "scikit-learn",
    "yaml": "PyYAML",
    "axe_core_python": "axe-core-python",
}
EXTRA = ("parquet", "ray", "search", "export", "notebooks", "photos", "bench")


def declared(*sections: str) -> set[str]:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = setup["options.extras_require"]
    texts = [setup["options"]["install_requires"], *(extras.get(name, "") for name in sections)]
    return {canonical(name) for text in texts for name in requirements(text)}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(folder: str) -> dict[str, str]:
    """The packages imported below `folder` that are neither ours nor Python's, each with a place."""
    found = {}
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            for name in names:
                top = name.partition(".")[0]
                if top not in sys.stdlib_module_names | OURS:
                    found[canonical(PACKAGE_OF.get(top, top))] = path.relative_to(ROOT).as_posix()
    return found


OURS = {"fer_kit", "ensembles", "submissions", "kernels", "tests", "_typeshed"}


@pytest.mark.parametrize("folder", ["fer_kit", "ensembles", "submissions", "kernels"])
def test_every_imported_package_is_declared(folder):
    missing = {name: where for name, where in imported(folder).items() if name not in declared(*EXTRA)}
    assert not missing, f"add to install_requires or an extra of setup.cfg: {missing}"


def test_the_tests_need_nothing_else():
    missing = {name: where for name, where in imported("tests").items() if name not in declared("dev", *EXTRA)}
    assert not missing, f"add to the extra dev of setup.cfg: {missing}"


def test_torch_is_new_enough_to_load_files_of_strangers():
    """Before 2.10 torch.load(weights_only=True) could run code (CVE-2026-24747); `models.unpickle` says the same."""
    assert bounds()["torch"] >= Version("2.10")
    assert Version(".".join(map(str, unpickle.SAFE_SINCE))) == Version("2.10")


def test_the_tested_versions_are_within_what_is_claimed():
    """tested.txt, which `make install` uses, pins everything that an install for development brings."""
    pinned = {
        canonical(name): Version(str(one.specifier).removeprefix("==")) for name, one in pins("tested.txt").items()
    }
    for name, one in claimed().items():
        assert canonical(name) in pinned, f"{name} is not in tests/versions/tested.txt"
        assert one.specifier.contains(pinned[canonical(name)]), f"{name} {pinned[canonical(name)]}"
