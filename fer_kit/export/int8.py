"""Quantise an ONNX file to int8: weights a channel, activations by their range on calibration faces."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_kit.errors import FerKitError, first_line
from fer_kit.export.onnx_file import INPUT, quiet, require
from fer_kit.files import atomic

CALIBRATION_FACES, BATCH = 256, 32
QUANTISED = ("Conv", "Gemm", "MatMul")  # the arithmetic that costs time; the rest stays in floating point


def quantise(source: Path, target: Path, faces: NDArray[np.uint8]) -> None:
    """Write `source` with convolutions and matrix products in int8 to `target`. faces: uint8 (N, 48, 48), to calibrate.

    Raises:
        FerKitError: onnxruntime is not installed, or cannot quantise this network.
    """
    require("onnx", "onnxruntime")
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        """Gives the calibration faces in batches."""

        def __init__(self) -> None:
            self.batches: Iterator[Any] = iter(
                [{INPUT: faces[start : start + BATCH]} for start in range(0, len(faces), BATCH)]
            )

        def get_next(self) -> Any:
            """The next batch, or None."""
            return next(self.batches, None)

    with tempfile.TemporaryDirectory() as folder, quiet():
        made = Path(folder) / "int8.onnx"
        try:
            quantization.quantize_static(
                str(source),
                str(made),
                Reader(),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=list(QUANTISED),
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
            )
            content = made.read_bytes()
        except Exception as error:  # onnxruntime raises many kinds for graphs that it cannot rewrite
            raise FerKitError(f"--int8: this network cannot be quantised ({first_line(error)}); drop --int8") from error
    with atomic.replacing(target) as file:
        file.write(content)
