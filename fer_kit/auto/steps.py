"""The steps around the trainings: blend with its forecast, build and check the submission, report."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fer_kit import programs
from fer_kit.auto import record
from fer_kit.auto.record import Record
from fer_kit.errors import FerKitError

TWINS_SUFFIX = "-twins"  # of the blend that `blend --twins` writes beside the other one


@dataclass(frozen=True)
class Places:
    """data: the competition's files. runs: the folder of runs. out: the submission file. weights: by recipe."""

    data: Path
    runs: Path
    out: Path
    weights: dict[str, str]


def shell(*words: str) -> None:
    """Run one of the project's commands, its output as it comes, without the lines "next: …".

    Those name the command that a user would type next; here the next step follows by itself.

    Raises:
        FerKitError: it failed; it has said why.
    """
    environment = programs.environ({**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"})
    with subprocess.Popen(
        programs.python("-m", *words), env=environment, stdout=subprocess.PIPE, encoding="utf-8", errors="replace"
    ) as running:
        assert running.stdout is not None
        try:
            for line in running.stdout:
                if not line.startswith("next: "):
                    print(line, end="", flush=True)
        except BaseException:  # such as the signal that ends `auto`
            running.kill()
            raise
    if running.returncode:
        raise FerKitError(f"python -m {' '.join(words)} failed, see above; the same fer-kit auto command goes on there")


def blend_and_build(members: Sequence[str], places: Places, kept: Record, name: str, twins: str) -> None:
    """Blend with its forecast, build the submission, check it, and write the report."""
    where = ["--runs", str(places.runs), "--data", str(places.data)]
    with kept.part("blend"):
        shell("ensembles.blend", name, "--members", *members, "--twins", twins, "--force", *where)
    source = name if twins == "off" else name + TWINS_SUFFIX
    kept.content["blend"] = record.of_blend(places.runs, source)
    with kept.part("build"):
        shell("submissions", "build", source, "--out", str(places.out), "--force", *where)
    with kept.part("check"):
        shell("submissions", "check", str(places.out), "--data", str(places.data))
    kept.content["submission"] = str(places.out)
    with kept.part("report"):
        shell("fer_kit.report", *where)
