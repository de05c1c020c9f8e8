"""`fer-kit completion bash|zsh`: a completion script for the shell, made from the parsers of all commands.

eval "$(fer-kit completion bash)"

The library shtab writes the script; what an argument takes that argparse does not know (runs, blends, recipes,
settings, files) is decided here by the name of the option, or by the metavar of a positional argument.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fer_kit import cli
from fer_kit.commands import COMMANDS
from fer_kit.config import recipes, recipes_timm
from fer_kit.config.settings import TABLE

SHELLS = ("bash", "zsh")
NAMES = {  # option or metavar: the function below that completes it
    "--recipe": "recipes",
    "--recipes": "recipes",
    "--set": "settings",
    "--settings": "settings",
    "settings NAME": "setting",
    "RUN": "runs",
    "--delete": "runs",
    "--rename": "runs",
    "runs PATTERN": "runs",
    "SOURCE": "sources",
    "--from": "sources",
    "--members": "sources",
    "RUN_OR_BLEND": "sources",
    "track NAME": "sources",
    "--fold": "folds",
    "--device": "devices",
}
FOLDERS = ("--runs", "--data", "--groups")
FILES = ("FILE", "CSV", "PNG", "FILE.png", "FROM", "PIPELINE")
WORDS = {"folds": "0 1 2 3 4 all", "devices": "auto cpu cuda"}

# Runs are looked up when the key is pressed, in the folder that --runs before it names.
BASH = """\
_fer_kit_folder() {
  local i
  for ((i = 1; i < COMP_CWORD; i++)); do
    if [[ ${COMP_WORDS[i]} == --runs ]]; then echo "${COMP_WORDS[i + 1]}"; return; fi
  done
  echo runs
}
_fer_kit_runs() {
  local path names=() root
  root=$(_fer_kit_folder)
  for path in "$root"/*/fold*/; do
    [[ -d $path ]] || continue
    path=${path%/fold*}
    names+=("${path##*/}")
  done
  compgen -W "${names[*]}" -- "$1" | sort -u
}
_fer_kit_sources() {
  local path names=()
  for path in "$(_fer_kit_folder)"/blends/*/blend.json; do
    [[ -f $path ]] || continue
    path=${path%/blend.json}
    names+=("${path##*/}")
  done
  _fer_kit_runs "$1"
  compgen -W "${names[*]}" -- "$1"
}
"""
BASH_END = """
# No space after the = of a setting.
_fer_kit() {
  _shtab_fer_kit "$@"
  [[ ${COMPREPLY-} == *= ]] && compopt -o nospace 2>/dev/null
  return 0
}
complete -o bashdefault -F _fer_kit fer-kit
"""
ZSH = """\
_fer_kit_folder() {
  local at=${words[(I)--runs]}
  if (( at )); then print -r -- ${words[at+1]}; else print runs; fi
}
_fer_kit_runs() {
  local -aU names
  local root=$(_fer_kit_folder)
  names=($root/*/fold*(N/:h:t))
  compadd "$@" -a names
}
_fer_kit_sources() {
  local -a names
  local root=$(_fer_kit_folder)
  names=($root/blends/*/blend.json(N:h:t))
  compadd "$@" -a names
  _fer_kit_runs "$@"
}
"""


def build_parser() -> argparse.ArgumentParser:
    """The command line of `python -m fer_kit.listing.completion`."""
    parser = cli.parser(
        "python -m fer_kit.listing.completion",
        "Print a completion script for fer-kit: commands, options, choices, recipes, settings, runs and blends.",
        epilog='In ~/.bashrc: eval "$(fer-kit completion bash)". In ~/.zshrc, after compinit: '
        'eval "$(fer-kit completion zsh)".',
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell to complete in")
    return parser


def body(args: argparse.Namespace) -> None:
    """Print the script."""
    print(script(args.shell), end="")


def script(shell: str) -> str:
    """The completion script for bash or zsh."""
    import shtab

    parser = whole_parser()
    if shell == "zsh":
        return shtab.complete(parser, shell, preamble=ZSH + zsh_words()) + "\n"
    return shtab.complete(parser, shell, preamble=BASH + bash_words()) + BASH_END


def whole_parser() -> argparse.ArgumentParser:
    """One parser with the arguments of every command, each with what completes it."""
    root = argparse.ArgumentParser("fer-kit", description="Train, blend and submit.", allow_abbrev=False)
    root.add_argument("-V", "--version", action="store_true", help="show the version")
    commands = root.add_subparsers()
    for name, (_, about) in COMMANDS.items():
        parser = parsers_of(name)[0]
        commands.add_parser(name, help=about, description=parser.description, parents=[parser], add_help=False)
    return root


def parsers_of(command: str) -> list[argparse.ArgumentParser]:
    """The parser of a command and those of its subcommands.

    Each argument gets the attribute `complete`, which shtab reads, if something completes it.
    """
    parser: argparse.ArgumentParser = importlib.import_module(COMMANDS[command][0]).build_parser()
    found = [parser]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found += action.choices.values()
    for one in found:
        for action in one._actions:
            if action.nargs != 0 and not action.choices and (how := completer(command, action)):
                action.complete = how  # type: ignore[attr-defined]
    return found


def completer(command: str, action: argparse.Action) -> Mapping[str, Any] | None:
    """The functions that complete an argument, by shell; None if nothing is known of it."""
    import shtab

    option, metavar = (action.option_strings or [""])[-1], f"{action.metavar}"
    found = NAMES.get(option) or NAMES.get(f"{command} {metavar}") or NAMES.get(metavar)
    if found:
        return dict.fromkeys(SHELLS, f"_fer_kit_{found}")
    if metavar in FILES:
        return shtab.FILE
    if option in FOLDERS or action.type is Path:  # a folder, since its metavar does not say FILE
        return shtab.DIRECTORY
    return None


def words() -> dict[str, list[str]]:
    """What does not change from folder to folder, by function."""
    timm = [f"{recipes_timm.PREFIX}{name}" for name in recipes_timm.READY]
    settings = [name for name in TABLE if name != "recipe"]
    return {
        "recipes": [*recipes.RECIPES, *timm],
        "settings": [f"{name}=" for name in settings],
        "setting": [*TABLE],
        **{name: text.split() for name, text in WORDS.items()},
    }


def bash_words() -> str:
    """A bash function for each list of words."""
    return "".join(
        f'_fer_kit_{name}() {{\n  compgen -W "{" ".join(found)}" -- "$1"\n}}\n' for name, found in words().items()
    )


def zsh_words() -> str:
    """A zsh function for each list of words; no space after the = of a setting."""
    no_space = {"settings": " -S ''"}
    return "".join(
        f'_fer_kit_{name}() {{\n  compadd "$@"{no_space.get(name, "")} -- {" ".join(found)}\n}}\n'
        for name, found in words().items()
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0, 2 for a user error."""
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
