"""The commands that README and docs show are parsed by the real parsers, so that they cannot rot."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest

from fer_kit.commands import COMMANDS
from tests.docs.pages import PAGES, README, ROOT, name

MODULES = {module.removesuffix(".__main__"): module for module, _ in COMMANDS.values()}
SPELLING = r"(?:python -m|fer-kit) "


def blocks(page: Path) -> list[str]:
    """Commands on lines of their own: indented or fenced, behind a prompt `$` or a notebook's `!` or none."""
    return re.findall(rf"^ *(?:\$ |!)?({SPELLING}.+)$", page.read_text(), re.MULTILINE)


def inline(page: Path) -> list[str]:
    """Commands with arguments inside a sentence; the bare name of a command is only a mention."""
    found = re.findall(rf"`({SPELLING}[^`]+)`", page.read_text())
    return [command for command in found if len(command.split()) > (3 if command.startswith("python") else 2)]


SHOWN = [(name(page), command) for page in PAGES for command in blocks(page) + inline(page)]


def split(command: str) -> list[str]:
    """The words of a command, without a comment behind it or the file that its output goes to."""
    words = shlex.split(command, comments=True)
    return words[: words.index(">")] if ">" in words else words


def module_of(words: list[str]) -> str:
    return COMMANDS[words[1]][0] if words[0] == "fer-kit" else MODULES.get(words[2], words[2])


@pytest.mark.parametrize(("page", "command"), SHOWN)
def test_a_command_is_understood(page, command):
    words = split(command)
    arguments = words[2:] if words[0] == "fer-kit" else words[3:]
    importlib.import_module(module_of(words)).build_parser().parse_args(arguments)  # SystemExit where it is not


def test_a_command_that_is_only_mentioned_exists():
    for page in PAGES:
        for mentioned in re.findall(r"`fer-kit ([a-z-]+)`", page.read_text()):
            assert mentioned in COMMANDS, f"{name(page)}: fer-kit {mentioned}"
        for mentioned in re.findall(r"`python -m ([\w.]+)`", page.read_text()):
            importlib.import_module(mentioned)


def test_every_command_is_shown_somewhere():
    shown = {module_of(split(command)) for _, command in SHOWN}
    assert {module for module, _ in COMMANDS.values()} <= shown


def test_commands_of_the_package_are_spelt_with_fer_kit():
    """`python -m` is said once in the README; what is no command of fer-kit keeps that spelling."""
    for page, command in SHOWN:
        assert command.startswith("fer-kit") or command.startswith("python -m tests."), f"{page}: {command}"
    assert README.read_text().count("python -m fer_kit") == 1


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        for target in re.findall(r"(?:^    |`)make ([a-z-]+)", page.read_text(), re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{name(page)}: make {target}"
