"""The lowest versions that setup.cfg claims are those that `make test-lowest` installs."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

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
    return requirements(setup["options"]["install_requires"] + "\n" + setup["options.extras_require"]["dev"])


def pins(name: str) -> dict[str, Requirement]:
    return requirements((ROOT / "tests/versions" / name).read_text())


def test_the_lowest_versions_are_the_claimed_ones():
    lowest = {name: Version(str(one.specifier).removeprefix("==")) for name, one in pins("lowest.txt").items()}
    bounds = {
        name: Version(re.search(r">=([\d.]+)", str(one.specifier))[1])
        for name, one in claimed().items()
        if name not in TOOLS
    }
    assert lowest == bounds


def test_kaggles_image_is_within_what_is_claimed():
    for name, pin in pins("kaggle_image.txt").items():
        version = str(pin.specifier).removeprefix("==").replace("*", "99")
        assert claimed()[name].specifier.contains(version), f"{name} {version}"
