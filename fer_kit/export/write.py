"""Export a run, fold or blend to a file, compare the file with the original, write the model card beside it."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_kit import revision
from fer_kit.card import facts, markdown
from fer_kit.errors import FerKitError
from fer_kit.export import check, faces, int8, onnx_file
from fer_kit.export.check import Comparison
from fer_kit.files import atomic, lock
from fer_kit.predict import named, packed
from fer_kit.predict.model import FaceModel
from fer_kit.runs import lookup
from fer_kit.runs.lookup import BlendFolder, FoldFolder, RunFolder

SAME = 1e-4  # largest difference of a probability between frameworks; float32 rounding gives about 1e-6
SAME_HALF = 0.02  # of a packed file, whose weights are rounded to float16


def write(runs_dir: Path, name: str, form: str, out: Path, data: str | None, to_int8: bool) -> Iterator[str]:
    """Write `out` and its card; yields lines for the user.

    form: "onnx", "torch" or "package".

    Raises:
        FerKitError: there is no such source, it cannot be exported in this form, or the file gives other probabilities
            than the original; no file is then written.
    """
    found = lookup.find(runs_dir, name)
    if form == "package" and isinstance(found, BlendFolder):
        raise FerKitError(f"'{name}' is a blend, and a packed file holds the mean of folds; export it as onnx or torch")
    described = facts.gather(runs_dir, name)
    model = named.model(name, runs_dir, "cpu")
    chosen = faces.choose(found, data, runs_dir, int8.CALIBRATION_FACES)
    original = np.asarray(model(chosen.images))
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / f"made{out.suffix}"
        if form == "package":
            assert not isinstance(found, BlendFolder)
            _pack(made, found, described)
        else:
            program = onnx_file.program(model.network)
            about = {"source": model.name, "commit": revision.commit(), "data_digest": described.data_digest}
            if form == "onnx":
                onnx_file.write_onnx(made, program, about)
            else:
                onnx_file.write_torch(made, program)
        exported = _predict(made, form, chosen.images)
        compared = check.compare(original, exported, chosen.labels)
        _refuse_other(compared, SAME_HALF if form == "package" else SAME, f"{out}")
        lines = [f"checked on {chosen.what}, {compared}"]
        if to_int8:
            small = Path(folder) / f"int8{out.suffix}"
            int8.quantise(made, small, chosen.calibration)
            quantised = check.compare(original, check.of_onnx(small, chosen.images), chosen.labels)
            lines.append(f"int8 (calibrated on {len(chosen.calibration)} other faces), {quantised}")
            made = small
        content = made.read_bytes()
    card = out.with_suffix(".md")
    size = f"{len(content) / 1e6:.1f} MB"
    what = {"onnx": f"ONNX, opset {onnx_file.OPSET}", "torch": "torch.export program", "package": "packed file"}[form]
    digest = hashlib.sha256(content).hexdigest()
    note = f"`{out.name}`, sha256 `{digest}`: {what}{', int8' if to_int8 else ''}, {size}; {_use(form)}"
    with lock.held(out, "another process writes this file"):
        for path, written in ((out, content), (card, markdown.card(described, [note, *lines]).encode())):
            atomic.sweep(path.parent, path.name)
            with atomic.replacing(path) as file:
                file.write(written)
    yield from lines
    yield f"wrote {out} ({what}, {size}) and the model card {card}"


def _pack(path: Path, found: RunFolder | FoldFolder, described: facts.Facts) -> None:
    """Write a packed file with the folds of a run, or one fold."""
    folds = [found] if isinstance(found, FoldFolder) else [one for one in found.folds() if isinstance(one.fold, int)]
    about: dict[str, Any] = {
        "commit": revision.commit(),
        "data_digest": described.data_digest,
        "scored": described.scored,
        "accuracy": None if described.scores is None else described.scores.accuracy,
    }
    packed.write(path, found.name, [one.folder for one in folds if one.finished], about)


def _predict(path: Path, form: str, images: NDArray[np.uint8]) -> NDArray[Any]:
    """Probabilities of the exported file."""
    if form == "onnx":
        return check.of_onnx(path, images)
    if form == "torch":
        return check.of_torch(path, images)
    model: FaceModel = named.model(str(path), path.parent, "cpu")
    return np.asarray(model(images))


def _refuse_other(compared: Comparison, most: float, where: str) -> None:
    if not compared.largest <= most:  # refuses NaN, too
        raise FerKitError(
            f"{where}: not written, because it would give other probabilities ({compared}; allowed {most:g})"
        )


def _use(form: str) -> str:
    """How the file is used, in a few words."""
    if form == "package":
        return "`fer-kit classify PHOTO --by FILE`"
    loads = "onnxruntime" if form == "onnx" else "`torch.export.load(file).module()`"
    return f"input `faces`, uint8 (N, 48, 48); output probabilities float32 (N, 7); for {loads}"
