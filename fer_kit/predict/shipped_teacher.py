"""The network that ships with fer_kit as a teacher: soft targets at the price of a prediction, without a first round.

The network was trained on all train rows, on soft targets itself and with augmentation that leaves little to memorise:
73% of the train rows are predicted right, where the networks of its five folds have 69% out of fold. A student of fold
k is never shown the images of fold k, nor their twins, and what the network says about other rows tells next to nothing
about them. Still, no fold was left out, so the indirect leak of scheme oof (see `ensembles.targets`) is there as well.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from fer_kit import metrics
from fer_kit.engine import loop
from fer_kit.engine.device import Precision, choose_device
from fer_kit.engine.face_network import FaceNetwork
from fer_kit.predict import named, packed
from fer_kit.predict.packed import Packed

VIEWS = "flip"  # a third of the time of the network's own


def read() -> Packed:
    """The network that ships.

    Raises:
        FerKitError: no network ships with this version.
    """
    return packed.read(named.shipped_network())


def shares(found: Packed, images: NDArray[np.uint8], device: str, what: str) -> NDArray[np.float32]:
    """Probabilities float32 (1, N, 7) of images uint8 (N, 48, 48) by the one network in `found`, by mirrored views.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:1".
        what: names the images beside the progress bar.

    Raises:
        FerKitError: there is no such device.
    """
    precision = Precision("fp32", choose_device(device))
    [face_network] = found.network.networks
    assert isinstance(face_network, FaceNetwork)
    net = face_network.net.to(precision.device).to(memory_format=torch.channels_last)
    faces = torch.from_numpy(np.array(images)).to(precision.device)
    with tqdm(total=len(images), desc=f"predicting {what}", unit=" images", leave=False, disable=None) as progress:
        logits = loop.predict(net, faces, VIEWS, precision, progress.update)
    return metrics.softmax(logits).astype(np.float32)[None]
