"""`FaceModel`: a finished run or blend as a classifier of faces, as `fer_kit.load_model` gives it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fer_kit.competition import CLASSES, SIDE_PX
from fer_kit.engine.face_network import FaceNetwork
from fer_kit.engine.loop import predict_batch
from fer_kit.errors import FerKitError


class FaceModel:
    """A classifier of faces: `model(faces)` gives probabilities. It normalises faces and averages test-time views.

    Faces are uint8 (N, 48, 48), grey values from 0 (black) to 255 (white), as a numpy array or a torch tensor on any
    device. Numpy arrays give numpy arrays; tensors give tensors on the model's device.

    Attributes:
        name: the name of the run or blend.
        network: the module that predicts: uint8 faces (N, 48, 48) on its device → logits (N, 7).
        classes: the names of the seven classes, in the order of the columns.
    """

    classes = CLASSES

    def __init__(self, name: str, network: nn.Module, device: torch.device) -> None:
        self.name, self.device = name, device
        self.network = network.to(device).to(memory_format=torch.channels_last).eval()

    def __call__(self, faces: Any) -> Any:
        """Probabilities float64 (N, 7), whose rows sum to 1. faces: uint8 (N, 48, 48).

        Raises:
            FerKitError: `faces` have another shape or type, such as floats from 0 to 1.
        """
        return self._same_kind(self._logits(faces).double().softmax(1), faces)

    predict_proba = __call__  # as scikit-learn calls it

    def logits(self, faces: Any) -> Any:
        """Logits float32 (N, 7): log-probabilities up to a constant in each row. Arguments and errors: `__call__`."""
        return self._same_kind(self._logits(faces), faces)

    def predict(self, faces: Any) -> Any:
        """The number of the most probable class of each face, int64 (N,). Arguments and errors: `__call__`."""
        return self._same_kind(self._logits(faces).argmax(1), faces)

    def __repr__(self) -> str:
        networks = sum(isinstance(module, FaceNetwork) for module in self.network.modules())
        parameters = sum(parameter.numel() for parameter in self.network.parameters())
        return f"FaceModel('{self.name}', {networks} networks, {parameters:,} parameters, {self.device})"

    @torch.inference_mode()
    def _logits(self, faces: Any) -> Tensor:
        images = as_tensor(faces)
        self.network.eval()  # whoever fine-tunes `network` leaves it in training mode
        batch = min(predict_batch(module.net) for module in self.network.modules() if isinstance(module, FaceNetwork))
        return torch.cat([self.network(rows.to(self.device)) for rows in images.split(batch)])

    @staticmethod
    def _same_kind(values: Tensor, faces: Any) -> Tensor | NDArray[Any]:
        return values if isinstance(faces, Tensor) else values.cpu().numpy()


def as_tensor(faces: Any) -> Tensor:
    """`faces` as a uint8 tensor (N, 48, 48).

    Raises:
        FerKitError: `faces` have another type or shape, or hold no face.
    """
    if not isinstance(faces, Tensor | np.ndarray):
        raise FerKitError(
            f"faces are a {type(faces).__name__}; give a numpy array or a torch tensor, uint8 (N, 48, 48)"
        )
    kind = str(faces.dtype).removeprefix("torch.")
    if kind != "uint8":
        hint = "; for floats from 0 to 1: (faces * 255).round().astype('uint8')" if "float" in kind else ""
        raise FerKitError(f"faces are {kind}; give uint8 grey values from 0 to 255{hint}")
    shape = tuple(faces.shape)
    if len(shape) != 3 or shape[1:] != (SIDE_PX, SIDE_PX) or not shape[0]:
        hint = ""
        if shape == (SIDE_PX, SIDE_PX):
            hint = "; for a single face: faces[None]"
        elif len(shape) == 4 and 1 in (shape[1], shape[3]):
            hint = "; remove the channel axis"
        raise FerKitError(f"faces have the shape {shape}; give (N, {SIDE_PX}, {SIDE_PX}) with N of 1 or more{hint}")
    return faces if isinstance(faces, Tensor) else torch.from_numpy(np.array(faces))  # cached images are read-only
