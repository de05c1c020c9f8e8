"""The README's commands are parsed by the real parsers, so that they cannot rot."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest

from fer_kit.__main__ import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text()
MODULES = {module.removesuffix(".__main__"): module for module, _ in COMMANDS.values()}


def commands() -> list[str]:
    lines = re.findall(r"^    (?:\$ )?((?:python -m|fer-kit) .+)$", TEXT, re.MULTILINE)
    return lines + re.findall(r"`((?:python -m|fer-kit) [^`]+)`", TEXT)


def test_the_readme_shows_every_command():
    shown = " ".join(commands())
    for module, _ in COMMANDS.values():
        assert module.removesuffix(".__main__") in shown


@pytest.mark.parametrize("command", commands())
def test_a_readme_command_is_understood(command):
    words = shlex.split(command)
    module = COMMANDS[words[1]][0] if words[0] == "fer-kit" else MODULES.get(words[2], words[2])
    arguments = words[2:] if words[0] == "fer-kit" else words[3:]
    importlib.import_module(module).build_parser().parse_args(arguments)  # raises where it is not


def test_make_targets_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"make ([a-z]+)", TEXT):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_links_lead_to_files():
    for link in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert link.startswith("http") or (ROOT / link).exists(), link


def test_no_mark_is_left_where_a_number_was_to_come():
    assert "@@" not in TEXT and "TODO" not in TEXT
