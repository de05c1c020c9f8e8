"""Write ONNX and torch.export programs: uint8 faces (N, 48, 48) in, probabilities float32 (N, 7) out."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fer_kit.competition import CLASSES, SIDE_PX
from fer_kit.errors import FerKitError, first_line
from fer_kit.files import atomic

OPSET = 18
INPUT, OUTPUT = "faces", "probabilities"
INSTALL = "pip install 'fer_kit[export]', or onnx, onnxruntime and onnxscript"
_EXAMPLE_FACES = 3  # more than one: exporters take a batch of one for a constant


class WithProbabilities(nn.Module):
    """A network from uint8 faces to logits, followed by softmax in float64 as in `FaceModel`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, faces: Tensor) -> Tensor:
        """Probabilities float32 (N, 7) of faces uint8 (N, 48, 48)."""
        return self.network(faces).double().softmax(1).float()


def program(network: nn.Module) -> torch.export.ExportedProgram:
    """The network with softmax as a torch.export program for batches of any size.

    Raises:
        FerKitError: torch.export cannot follow the network, as in own code that depends on values.
    """
    whole = WithProbabilities(network).cpu().eval()
    example = torch.randint(
        0, 256, (_EXAMPLE_FACES, SIDE_PX, SIDE_PX), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    try:
        with quiet(), torch.no_grad():
            sizes = ({0: torch.export.Dim("batch", min=1)},)
            return torch.export.export(whole, (example,), dynamic_shapes=sizes, strict=False)
    except Exception as error:  # torch raises many kinds for code that it cannot follow
        raise FerKitError(
            f"torch.export cannot follow this network ({first_line(error)}); own networks must not depend on values "
            "or on the batch size: x.shape[0] in place of len(x), no .item(), no branches on tensors"
        ) from error


def write_torch(path: Path, exported: torch.export.ExportedProgram) -> None:
    """Write a torch.export program, for `torch.export.load`."""
    with atomic.replacing(path) as file, quiet():
        torch.export.save(exported, file)


def write_onnx(path: Path, exported: torch.export.ExportedProgram, about: dict[str, str]) -> None:
    """Write an ONNX file of opset `OPSET` with `about` as its metadata.

    Raises:
        FerKitError: the packages are not installed, or ONNX has no operation that the network needs.
    """
    require("onnx", "onnxscript", "onnxruntime")
    example = (torch.zeros(_EXAMPLE_FACES, SIDE_PX, SIDE_PX, dtype=torch.uint8),)
    options: dict[str, Any] = {"dynamo": True, "opset_version": OPSET, "verbose": False}
    try:
        with quiet():
            made: Any = torch.onnx.export(exported, example, input_names=[INPUT], output_names=[OUTPUT], **options)
            model = made.model_proto
    except Exception as error:  # the exporter raises many kinds
        raise FerKitError(
            f"this network cannot be written as ONNX ({first_line(error)}); try --format torch"
        ) from error
    _name_batch(model)
    for key, value in {"classes": ",".join(CLASSES), **about}.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    with atomic.replacing(path) as file:
        file.write(model.SerializeToString())


def _name_batch(model: Any) -> None:
    """Call the free dimension `batch` in input and output, where the exporter numbers it."""
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"


def require(*packages: str) -> None:
    """Raise FerKitError unless the packages of the extra `export` are installed.

    onnxruntime from 1.29 on sends usage data to its maker, unless a variable is set before it is imported: it is set
    here, and one that the user has set stays.
    """
    import importlib.util

    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise FerKitError(f"{', '.join(missing)} not installed, which this export needs; {INSTALL}")


@contextmanager
def quiet() -> Iterator[None]:
    """Without the exporters' warnings and log lines on their own progress."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(before)
