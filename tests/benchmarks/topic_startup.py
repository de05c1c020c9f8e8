"""Time to import fer_kit and time to `--help` of each command, in new processes, against importing torch.

Compiled files lie in a folder of their own, so that they are used here whatever the environment says.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from fer_kit.commands import COMMANDS
from tests.benchmarks import clocks
from tests.benchmarks.bench_record import ROOT
from tests.benchmarks.rows import Found, Plan, Row, ratio

HEAVY = ("torch", "torchvision", "timm", "pandas", "scipy", "sklearn", "matplotlib", "cv2", "wandb", "kaggle")
MOST_SECONDS = 0.15
TORCH, NOTHING, NUMPY = ("-c", "import torch"), ("-c", "pass"), ("-c", "import numpy")
IMPORT, HELP = ("-c", "import fer_kit"), ("-m", "fer_kit", "--help")


def modules() -> list[str]:
    """Every command that can be typed after `python -m`."""
    return sorted(module.removesuffix(".__main__") for module, _ in COMMANDS.values())


def measure(plan: Plan) -> Found:
    helps = {module: ("-m", module, "--help") for module in modules()}
    commands = [NOTHING, NUMPY, TORCH, IMPORT, HELP, *helps.values()]
    with tempfile.TemporaryDirectory() as compiled:
        spent = dict(
            zip(commands, clocks.interleaved(commands, plan.rounds, Runner(compiled), plan.clock), strict=True)
        )
    medians = {command: statistics.median(seconds) for command, seconds in spent.items()}
    slowest = max(helps.values(), key=lambda command: medians[command])

    def row(what: str, command: Sequence[str], limit: Sequence[str], limit_is: str) -> Row:
        times = medians[tuple(command)], plan.seconds, "import torch", medians[TORCH]
        return Row(what, *times, ratio(spent[TORCH], spent[tuple(command)]), limit_is, medians[tuple(limit)])

    python, numpy = "Python that starts and ends, measured", "Python that imports numpy and ends, measured"
    rows = [
        row("import fer_kit", IMPORT, NOTHING, python),
        row("fer-kit --help", HELP, NOTHING, python),
        row("fer-kit train --help", helps["fer_kit.train"], NUMPY, numpy),
        row(f"slowest --help, {slowest[1]}", slowest, NUMPY, numpy),
    ]
    late = {command[1]: round(medians[command], 3) for command in helps.values() if medians[command] > MOST_SECONDS}
    details = {"seconds": {" ".join(command): value for command, value in medians.items()}, "over 0.15 s": late}
    return Found(rows, {**details, "heavy modules loaded by --help": {name: heavy(name) for name in helps}})


class Runner:
    """Runs Python with words, in silence; compiled files go below a folder."""

    def __init__(self, compiled: str) -> None:
        self.env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self.env["PYTHONPYCACHEPREFIX"] = compiled

    def __call__(self, words: Sequence[str]) -> None:
        subprocess.run([sys.executable, *words], cwd=ROOT, env=self.env, stdout=subprocess.DEVNULL, check=True)


def heavy(module: str) -> list[str]:
    """The heavy packages that `python -m module --help` has loaded when it ends."""
    script = (
        f"import atexit, runpy, sys\nsys.argv = ['x', '--help']\n"
        f"atexit.register(lambda: print(*[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr))\n"
        f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stderr.split()
