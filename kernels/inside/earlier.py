"""The output of an earlier kernel, mounted as an input: its run folders are taken up, and training goes on there."""

from __future__ import annotations

import shutil
from pathlib import Path

from fer_kit.errors import FerKitError
from kernels.inside import archive, manifest


def find(inputs: Path, ref: str) -> Path:
    """The folder where the output of kernel `ref` ("owner/slug") is mounted, under either layout.

    Raises:
        FerKitError: neither place holds a manifest; what is mounted is listed.
    """
    owner, _, slug = ref.partition("/")
    places = [inputs / "notebooks" / owner / slug, inputs / slug]
    for place in places:
        if (place / manifest.NAME).is_file():
            return place
    there = sorted(path.relative_to(inputs).as_posix() for path in inputs.glob("*/*")) if inputs.is_dir() else []
    raise FerKitError(
        f"the output of {ref} is not mounted: no {manifest.NAME} in {' or '.join(map(str, places))} (mounted are: "
        f"{', '.join(there[:10]) or 'nothing'}); did that kernel end, and with output?"
    )


def take_up(inputs: Path, ref: str, run: str, runs_dir: Path) -> manifest.Manifest:
    """Unpack what kernel `ref` left of run `run` into `runs_dir`, which is empty; what its manifest says.

    Raises:
        FerKitError: not mounted, incomplete, or of another run.
    """
    folder = find(inputs, ref)
    told = manifest.read(folder)
    if told.run != run:
        raise FerKitError(f"{ref} trained run {told.run}, not {run}; go on with the recipe, --set and --tag of then")
    archive.unpack(manifest.check_archive(folder, told), runs_dir, run)
    for leftover in (runs_dir / run).glob("fold*"):
        if not any((leftover / name).exists() for name in ("last.pt", "result.json")):
            shutil.rmtree(leftover)  # stopped before its first epoch ended: nothing to go on from
    return told
