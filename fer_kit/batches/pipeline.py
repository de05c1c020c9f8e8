"""A pipeline of albumentations on faces: made from its file, tried on one image, run with seeds of its own.

A pipeline gets uint8 (48, 48, 1) and gives uint8, or floats from 0 to 1, of shape (48, 48), (48, 48, 1) or, after
ToTensorV2, (1, 48, 48). Zero mean and unit spread come after it, as everywhere, so it must not normalise by itself.
"""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_kit.batches.pipeline_file import AugmentFile
from fer_kit.competition import SIDE_PX
from fer_kit.errors import FerKitError, did_you_mean, first_line

Pixels = NDArray[Any]  # uint8, or float32 from 0 to 1

TRIALS = 64  # of the image that a pipeline is tried on: a transform with p=0.1 is missed once in 800 such trials


class Pipeline:
    """A pipeline that can be called. file: where it comes from.

    Raises:
        FerKitError: a class or an option that albumentations does not have, Normalize among the transforms.
    """

    def __init__(self, file: AugmentFile) -> None:
        self.where = file.where
        self.transforms = _make(file)

    def __call__(self, image: NDArray[np.uint8], seed: int) -> Pixels:
        """One face, uint8 (48, 48), augmented with what `seed` draws: uint8 or float32 from 0 to 1, (48, 48).

        Raises:
            FerKitError: a transform fails, or the result has another shape, type or range.
        """
        # One stream for all transforms: set_random_seed would give each the same numbers, so that a face turned far
        # to the right would always be bright.
        self.transforms.set_random_state(np.random.default_rng(seed), random.Random(seed))
        try:
            result = self.transforms(image=image[:, :, None])["image"]
        except Exception as error:  # a transform may raise anything
            name = _failed(error.__traceback__) or "the pipeline"
            raise FerKitError(
                f"{self.where}: {name} fails on a grey face of {SIDE_PX}×{SIDE_PX} ({first_line(error)})"
            ) from error
        return self._checked(result)

    def try_on(self, image: NDArray[np.uint8]) -> None:
        """Run it on one face with `TRIALS` seeds, so that what is wrong comes out before training begins."""
        for seed in range(TRIALS):
            self(image, seed)

    def _checked(self, result: Any) -> Pixels:
        pixels = np.asarray(result)
        shape = pixels.shape
        if shape in ((SIDE_PX, SIDE_PX, 1), (1, SIDE_PX, SIDE_PX)):
            pixels = pixels.reshape(SIDE_PX, SIDE_PX)
        if pixels.shape != (SIDE_PX, SIDE_PX):
            raise FerKitError(
                f"{self.where}: gives an image of shape {shape}, allowed is ({SIDE_PX}, {SIDE_PX}, 1); end it with "
                f"Resize(height={SIDE_PX}, width={SIDE_PX}), and keep it grey"
            )
        if pixels.dtype == np.uint8:
            return pixels
        if pixels.dtype.kind != "f":
            raise FerKitError(f"{self.where}: gives {pixels.dtype}, allowed are uint8 and floats from 0 to 1")
        low, high = float(pixels.min()), float(pixels.max())
        if not (low >= -1e-6 and high <= 1 + 1e-6):  # `not`, so that NaN is refused too
            raise FerKitError(
                f"{self.where}: gives floats from {low:.3g} to {high:.3g}, allowed are 0 to 1; fer_kit normalises later"
            )
        return np.clip(pixels, 0, 1).astype(np.float32)


def _make(file: AugmentFile) -> Any:
    """The pipeline of a file, as an `albumentations.Compose`."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the network for a newer version otherwise
    import albumentations
    import cv2
    from albumentations.core import serialization

    import fer_kit.albumentations_v3  # noqa: F401  registers its two transforms

    cv2.setNumThreads(0)  # 48 pixels are too few for threads, and a worker is one already
    known = [name.removeprefix("albumentations.") for name in serialization.SERIALIZABLE_REGISTRY]
    for described in _described(file, file.content["transform"]):
        name = str(described["__class_fullname__"])
        if serialization.shorten_class_name(name) not in known:
            hint = did_you_mean(name, known)
            raise FerKitError(f"{file.where}: albumentations {albumentations.__version__} has no '{name}'{hint}")
        if name.endswith("Normalize"):
            raise FerKitError(f"{file.where}: fer_kit normalises after the pipeline; take {name} out of it")
        if "transforms" not in described:
            _make_one(file, {"transform": described})
    made = _make_one(file, file.content)
    return made if isinstance(made, albumentations.BaseCompose) else albumentations.Compose([made])


def _make_one(file: AugmentFile, content: dict[str, Any]) -> Any:
    """What `content` describes; a transform by itself, or all of them."""
    import albumentations

    name = content["transform"]["__class_fullname__"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that an option is unknown is told below, as an error
            made = albumentations.from_dict(content)
    except Exception as error:  # pydantic's, ValueError, TypeError, whatever a constructor raises
        lines = [line.strip() for line in str(error).splitlines() if "errors.pydantic.dev" not in line]
        raise FerKitError(f"{file.where}: {name} cannot be made ({'; '.join(lines)[:240]})") from None
    if getattr(made, "invalid_args", None):
        raise FerKitError(f"{file.where}: {name} has no option '{made.invalid_args[0]}'; see albumentations' manual")
    return made


def _described(file: AugmentFile, transform: Any) -> Iterator[Mapping[str, Any]]:
    """A described transform and all inside it."""
    if not isinstance(transform, Mapping) or "__class_fullname__" not in transform:
        raise FerKitError(
            f"{file.where}: a transform has a '__class_fullname__', and this has none: {str(transform)[:80]}"
        )
    yield transform
    inside = transform.get("transforms", [])
    if not isinstance(inside, list):
        raise FerKitError(
            f"{file.where}: 'transforms' of {transform['__class_fullname__']} is no list: {str(inside)[:80]}"
        )
    for inner in inside:
        yield from _described(file, inner)


def _failed(trace: TracebackType | None) -> str | None:
    """The class of the innermost transform in a traceback."""
    from albumentations import BasicTransform

    name = None
    while trace is not None:
        owner = trace.tb_frame.f_locals.get("self")
        if isinstance(owner, BasicTransform):
            name = type(owner).__name__
        trace = trace.tb_next
    return name
