"""Compare an exported file with the network that it was made from, on the same faces."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fer_kit import metrics
from fer_kit.errors import FerKitError, first_line
from fer_kit.export.onnx_file import INPUT, require

Faces = NDArray[np.uint8]  # (N, 48, 48)
Probabilities = NDArray[np.floating]  # (N, 7)
BATCH = 64


@dataclass(frozen=True)
class Comparison:
    """Two sets of probabilities for the same faces.

    largest: largest difference of a probability. changed: faces whose label differs. accuracy: of the original and of
    the exported network, if labels are known.
    """

    faces: int
    largest: float
    changed: int
    accuracy: tuple[float, float] | None = None

    def __str__(self) -> str:
        """`1,000 faces: largest difference 3.0e-08, 0 labels changed`."""
        words = (
            f"{self.faces:,} faces: largest difference of a probability {self.largest:.1e}, {self.changed:,} labels "
        )
        words += "changed"
        if self.accuracy is not None:
            words += f", accuracy {self.accuracy[0]:.2%} before and {self.accuracy[1]:.2%} after"
        return words


def compare(original: Probabilities, exported: Probabilities, labels: NDArray[np.int64] | None = None) -> Comparison:
    """Compare probabilities (N, 7), with the accuracy where labels are given."""
    changed = int((original.argmax(1) != exported.argmax(1)).sum())
    accuracy = None
    if labels is not None:
        accuracy = metrics.accuracy(original, labels), metrics.accuracy(exported, labels)
    return Comparison(len(original), float(np.abs(original - exported).max()), changed, accuracy)


def of_onnx(path: Path, faces: Faces) -> NDArray[np.float32]:
    """Probabilities of an ONNX file on the CPU, in batches of different sizes: `BATCH`, and a smaller last one."""
    require("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no class of their own
        raise FerKitError(
            f"{path.name}: onnxruntime cannot read the file ({first_line(error)}); pip install --upgrade onnx "
            "onnxscript onnxruntime"
        ) from None
    return _in_batches(lambda rows: session.run(None, {INPUT: rows})[0], faces)


def of_torch(path: Path, faces: Faces) -> NDArray[np.float32]:
    """Probabilities of a torch.export program on the CPU."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given buffer is not writable")  # torch 2.10 of its own reader
        module = torch.export.load(path).module()
    with torch.no_grad():
        return _in_batches(lambda rows: module(torch.from_numpy(rows)).numpy(), faces)


def _in_batches(call: Callable[[Faces], Any], faces: Faces) -> NDArray[np.float32]:
    parts = [call(np.ascontiguousarray(faces[start : start + BATCH])) for start in range(0, len(faces), BATCH)]
    result: NDArray[np.float32] = np.concatenate(parts)
    return result
