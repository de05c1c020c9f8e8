"""Continue the output of an earlier kernel, which is mounted as an input."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from fer_kit.errors import FerKitError
from fer_kit.runs.finished_folder import RESULT
from fer_kit.runs.training_record import LAST
from kernels.inside import archive, manifest


def find(inputs: Path, ref: str) -> Path:
    """Find the folder where the output of kernel `ref` ("owner/slug") is mounted, in either layout of the mounts.

    Raises:
        FerKitError: neither folder has a manifest; the message lists what is mounted.
    """
    owner, _, slug = ref.partition("/")
    places = [inputs / "notebooks" / owner / slug, inputs / slug]
    for place in places:
        if (place / manifest.NAME).is_file():
            return place
    there = sorted(path.relative_to(inputs).as_posix() for path in inputs.glob("*/*")) if inputs.is_dir() else []
    raise FerKitError(
        f"the output of {ref} is not mounted: no {manifest.NAME} in {' or '.join(map(str, places))} (mounted are: "
        f"{', '.join(there[:10]) or 'nothing'}); check that the kernel has finished and has output"
    )


def restore(inputs: Path, ref: str, run: str, runs_dir: Path, more: Sequence[str] = ()) -> manifest.Manifest:
    """Unpack the folders of the runs in the output of kernel `ref` into the empty `runs_dir`; return the manifest.

    run, more: the runs that are to be trained; the earlier kernel must have trained one of them.

    Raises:
        FerKitError: the output is not mounted, incomplete, or of another run.
    """
    folder = find(inputs, ref)
    found = manifest.read(folder)
    there = [one.run for one in found.runs]
    if not {run, *more} & {*there}:
        raise FerKitError(
            f"--resume {ref}: the kernel trained run {', '.join(there)}, not {run}; push with the recipe, --set and "
            f"--tag of {', '.join(there)}"
        )
    archive.unpack(manifest.check_archive(folder, found), runs_dir, there[0], there[1:])
    for name in there:
        for leftover in (runs_dir / name).glob("fold*"):
            if not any((leftover / file).exists() for file in (LAST, RESULT)):
                shutil.rmtree(leftover)  # the training stopped before the end of its first epoch
    return found
