"""The completion scripts: bash and zsh take them, and bash completes what a user types."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from fer_kit.commands import COMMANDS
from fer_kit.config import recipes
from fer_kit.listing import completion

FIRST_VERSION = Path(__file__).resolve().parents[1] / "fixtures" / "first_version" / "runs"
# what readline does: sets the words and the cursor's, and calls the function that `complete -F` names
TAB = """
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
name=$(complete -p fer-kit); name=${name##*-F }
"${name%% *}" fer-kit "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with runs, blends, a file, and the script."""
    place = tmp_path_factory.mktemp("completion")
    shutil.copytree(FIRST_VERSION, place / "runs")
    shutil.copytree(FIRST_VERSION / "residual-small", place / "elsewhere" / "attention-slow")
    (place / "flow.yaml").touch()
    (place / "script.bash").write_text(completion.script("bash"))
    return place


def complete(folder: Path, typed: str) -> list[str]:
    """The offers where the last word of `typed` is completed; a space at the end begins a new word."""
    words = shlex.split(typed) + ([""] if typed.endswith(" ") else [])
    program = f"source script.bash\n{TAB}"
    done = subprocess.run(["bash", "-c", program, "bash", *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout.split()


def test_bash_takes_the_script(folder):
    subprocess.run(["bash", "-n", "script.bash"], cwd=folder, check=True)


@pytest.mark.parametrize(
    ("typed", "offers"),
    [
        ("fer-kit tr", {"train", "track"}),
        ("fer-kit train --re", {"--recipe", "--resume", "--restart"}),
        ("fer-kit train --recipe vgg_", {"vgg_tiny", "vgg_small", "vgg_medium"}),
        ("fer-kit train --fold 0 --recipe timm/vit_s", {"timm/vit_small_patch16_224"}),
        ("fer-kit train --recipe vgg --set focal", {"focal_gamma="}),
        ("fer-kit train --recipe vgg --set lr=1 loss_", {"loss_weights="}),
        ("fer-kit train --augment fl", {"flow.yaml"}),
        ("fer-kit predict residual-small --views t", {"ten_crops"}),
        ("fer-kit predict res", {"residual-small", "residual-small-seed1"}),
        ("fer-kit evaluate residual-small ol", {"old", "old-twins"}),
        ("fer-kit blend best --members r", {"residual-small", "residual-small-seed1"}),
        ("fer-kit runs --runs elsewhere --delete ", {"attention-slow"}),
        ("fer-kit kernels pu", {"push"}),
        ("fer-kit kernels push --recipe residual_", {"residual_tiny"}),
        ("fer-kit completion ", {"bash", "zsh"}),
    ],
)
def test_bash_completes(folder, typed, offers):
    assert set(complete(folder, typed)) == offers


def test_every_command_and_recipe_is_offered(folder):
    assert set(complete(folder, "fer-kit ")) == set(COMMANDS)
    assert set(recipes.RECIPES) <= set(complete(folder, "fer-kit train --recipe "))


def test_every_name_of_the_table_is_that_of_an_argument():
    found = set()
    for command in COMMANDS:
        for parser in completion.parsers_of(command):
            for action in parser._actions:
                found |= {*action.option_strings, f"{action.metavar}", f"{command} {action.metavar}"}
    assert {*completion.NAMES, *completion.FOLDERS, *completion.FILES} <= found


def test_zsh_takes_the_script(tmp_path):
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed")
    (tmp_path / "script.zsh").write_text(completion.script("zsh"))
    subprocess.run(["zsh", "-n", "script.zsh"], cwd=tmp_path, check=True)
    program = 'autoload -U compinit && compinit -D -u && eval "$(<script.zsh)" && print ${_comps[fer-kit]}'
    done = subprocess.run(["zsh", "-f", "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == "_shtab_fer_kit" and done.stderr == ""
