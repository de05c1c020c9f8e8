"""Pipelines of albumentations for faces: build from a file, test on one image, run with a seed for each image.

A pipeline takes uint8 (48, 48, 1) and returns uint8, or floats from 0 to 1, of shape (48, 48), (48, 48, 1) or, after
ToTensorV2, (1, 48, 48). fer_kit normalises the result, so a pipeline must not normalise.
"""

from __future__ import annotations

import inspect
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

TRIALS = 64  # test runs of a pipeline on one image; all of them skip a transform with p=0.1 once in 800 cases


class Pipeline:
    """A pipeline that can be called.

    Args:
        file: the file that describes the pipeline.

    Raises:
        FerKitError: albumentations does not have a class or an option of the file, or a transform is Normalize.
    """

    def __init__(self, file: AugmentFile) -> None:
        self.where = file.where
        self.transforms = _make(file)

    def __call__(self, image: NDArray[np.uint8], seed: int) -> Pixels:
        """Augment one face uint8 (48, 48) with random numbers from `seed`; returns uint8 or float32 0..1, (48, 48).

        Raises:
            FerKitError: a transform fails, or the result has a wrong shape, type or range.
        """
        # All transforms share one random stream. set_random_seed would give each transform the same numbers, so that
        # e.g. rotation and brightness would be correlated.
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
        """Run the pipeline on one face uint8 (48, 48) with `TRIALS` seeds, to find errors before a training starts.

        Raises:
            FerKitError: see `__call__`.
        """
        for seed in range(TRIALS):
            self(image, seed)

    def _checked(self, result: Any) -> Pixels:
        pixels = np.asarray(result)
        shape = pixels.shape
        if shape in ((SIDE_PX, SIDE_PX, 1), (1, SIDE_PX, SIDE_PX)):
            pixels = pixels.reshape(SIDE_PX, SIDE_PX)
        if pixels.shape != (SIDE_PX, SIDE_PX):
            raise FerKitError(
                f"{self.where}: returns an image of shape {shape}, allowed is ({SIDE_PX}, {SIDE_PX}, 1); add "
                f"Resize(height={SIDE_PX}, width={SIDE_PX}) at the end, and keep the image grey"
            )
        if pixels.dtype == np.uint8:
            return pixels
        if pixels.dtype.kind != "f":
            raise FerKitError(f"{self.where}: returns {pixels.dtype}, allowed are uint8 and floats from 0 to 1")
        low, high = float(pixels.min()), float(pixels.max())
        if not (low >= -1e-6 and high <= 1 + 1e-6):  # `not`, so that NaN is refused too
            raise FerKitError(
                f"{self.where}: returns floats from {low:.3g} to {high:.3g}, allowed are 0 to 1; remove the transform "
                "that normalises, since fer_kit does"
            )
        return np.clip(pixels, 0, 1).astype(np.float32)


def _make(file: AugmentFile) -> Any:
    """Build the pipeline of a file as an `albumentations.Compose`."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # otherwise albumentations looks online for a newer version
    import albumentations
    import cv2
    from albumentations.core import serialization

    import fer_kit.albumentations_v3  # noqa: F401  registers its two transforms

    cv2.setNumThreads(0)  # threads do not pay at 48 pixels, and workers are parallel already
    known = [name.removeprefix("albumentations.") for name in serialization.SERIALIZABLE_REGISTRY]
    for described in _described(file, file.content["transform"]):
        name = str(described["__class_fullname__"])
        if _registered(name) not in known:
            hint = did_you_mean(name, known)
            raise FerKitError(
                f"{file.where}: albumentations {albumentations.__version__} has no '{name}'{hint}{_written_by(file)}"
            )
        if name.endswith("Normalize"):
            raise FerKitError(f"{file.where}: fer_kit normalises after the pipeline; remove {name}")
        if "transforms" not in described:
            _make_one(file, {"transform": _completed(file, described)})
    made = _make_one(file, {**file.content, "transform": _completed(file, file.content["transform"])})
    return made if isinstance(made, albumentations.BaseCompose) else albumentations.Compose([made])


def _completed(file: AugmentFile, described: Mapping[str, Any]) -> dict[str, Any]:
    """The description of a transform as today's albumentations saves it, with those inside it.

    Where `p` is missing, albumentations runs a transform half of the time; here the default of its class counts (1.0
    for Compose). Versions before 2.0 saved `always_apply`: true meant p = 1, false meant nothing.
    """
    from albumentations.core import serialization

    made = dict(described)
    name = str(made["__class_fullname__"])
    options = inspect.signature(serialization.SERIALIZABLE_REGISTRY[_registered(name)].__init__).parameters
    if "always_apply" not in options:
        always = made.pop("always_apply", None)
        if always not in (None, False, True):
            raise FerKitError(f"{file.where}: always_apply of {name} is {str(always)[:40]}, allowed are true and false")
        if always:
            made["p"] = 1.0
    if "p" not in made:
        default = options["p"].default if "p" in options else inspect.Parameter.empty
        if not isinstance(default, int | float):
            raise FerKitError(f"{file.where}: {name} has no p, the probability of its use; add p, from 0 to 1")
        made["p"] = float(default)
    if "transforms" in made:
        made["transforms"] = [_completed(file, inner) for inner in made["transforms"]]
    return made


def _registered(name: str) -> str:
    """The name of a class in the registry of albumentations."""
    from albumentations.core import serialization

    return str(serialization.shorten_class_name(name))


def _written_by(file: AugmentFile) -> str:
    """For messages: the version of albumentations that wrote the file, if another than today's."""
    import albumentations

    version = file.content.get("__version__")
    if not isinstance(version, str) or version == albumentations.__version__:
        return ""
    return f"; albumentations {version[:20]} wrote the file: build the pipeline with today's options and save it again"


def _make_one(file: AugmentFile, content: dict[str, Any]) -> Any:
    """Build what `content` describes: one transform, or the whole pipeline."""
    import albumentations

    name = content["transform"]["__class_fullname__"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # albumentations warns of unknown options; they are an error below
            made = albumentations.from_dict(content)
    except Exception as error:  # pydantic's errors, ValueError, TypeError, or any error of a constructor
        lines = [line.strip() for line in str(error).splitlines() if "errors.pydantic.dev" not in line]
        fault = "; ".join(lines)[:240]
        raise FerKitError(f"{file.where}: {name} cannot be built ({fault}){_written_by(file)}") from None
    if getattr(made, "invalid_args", None):
        manual = _written_by(file) or "; see albumentations' manual"
        raise FerKitError(f"{file.where}: {name} has no option '{made.invalid_args[0]}'{manual}")
    return made


def _described(file: AugmentFile, transform: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the description of a transform and those of all transforms inside it."""
    if not isinstance(transform, Mapping) or "__class_fullname__" not in transform:
        raise FerKitError(f"{file.where}: a transform has no '__class_fullname__': {str(transform)[:80]}")
    yield transform
    inside = transform.get("transforms", [])
    if not isinstance(inside, list):
        raise FerKitError(
            f"{file.where}: 'transforms' of {transform['__class_fullname__']} must be a list: {str(inside)[:80]}"
        )
    for inner in inside:
        yield from _described(file, inner)


def _failed(trace: TracebackType | None) -> str | None:
    """Name of the innermost transform in a traceback; None if there is none."""
    from albumentations import BasicTransform

    name = None
    while trace is not None:
        owner = trace.tb_frame.f_locals.get("self")
        if isinstance(owner, BasicTransform):
            name = type(owner).__name__
        trace = trace.tb_next
    return name
