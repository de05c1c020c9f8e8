"""What is answered about faces, and the files that are not answered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fer_kit.classify import crop, detect, image_file, pixel_files
from fer_kit.classify.detect import Box, Detector
from fer_kit.classify.sources import Source
from fer_kit.competition import CLASSES, SIDE_PX
from fer_kit.errors import FerKitError

Faces = NDArray[np.uint8]  # (N, 48, 48)
BATCH_FACES = 256  # of photos are predicted together


class Classifier(Protocol):
    """Gives probabilities (N, 7) of faces uint8 (N, 48, 48)."""

    def __call__(self, faces: Any) -> Any:
        """Probabilities of faces."""


@dataclass(frozen=True, eq=False)
class Answer:
    """One face. face: its number in the file, from 0. box: None if the whole file is this face.

    probabilities: float64 (7,), in the order of `CLASSES`.
    """

    file: str
    face: int
    box: Box | None
    probabilities: NDArray[np.float64]

    @property
    def label(self) -> str:
        """The most probable class."""
        return CLASSES[int(self.probabilities.argmax())]


@dataclass(frozen=True)
class Note:
    """A line about a file. answered: whether the file has answers all the same."""

    file: str
    text: str
    answered: bool


@dataclass(frozen=True, eq=False)
class PhotoAnswers:
    """The answers about one photo, with its pixels for a picture; pixels are None for files of faces."""

    source: Source
    pixels: NDArray[np.uint8] | None
    answers: list[Answer]
    notes: list[Note] = field(default_factory=list)


@dataclass(eq=False)
class _Pending:
    """A photo whose faces wait for a full batch."""

    source: Source
    pixels: NDArray[np.uint8] | None
    boxes: Sequence[Box | None]
    faces: Faces
    notes: list[Note]


def answer(
    sources: Iterable[Source], model: Classifier, detector: Detector | None, keep_pixels: bool = False
) -> Iterator[PhotoAnswers]:
    """Answer one file after the other; the faces of several photos are predicted together.

    A file that cannot be read, or has no face, gives a note with `answered=False` and no answer.

    Args:
        sources: the files.
        model: the classifier.
        detector: finds faces in photos; None takes each photo as one face. Photos of 48×48 pixels are always taken so.
        keep_pixels: keep the photos, to draw on them; they are then predicted one by one, to save memory.
    """
    waiting: list[_Pending] = []
    count = 0
    for source in sources:
        waiting.append(_prepare(source, detector, keep_pixels))
        count += len(waiting[-1].faces)
        if count >= BATCH_FACES or keep_pixels:
            yield from _predict(waiting, model)
            waiting, count = [], 0
    yield from _predict(waiting, model)


def detector_for(sources: Iterable[Source], file: Path | None) -> Detector | None:
    """The detector in `file` or of OpenCV, if a photo among `sources` needs one; else None.

    Raises:
        FerKitError: there is no detector, see `detect.make`.
    """
    if file is None and all(
        one.holds_faces or one.fault or image_file.size(one.path) == (SIDE_PX, SIDE_PX) for one in sources
    ):
        return None
    return detect.make(file)


def _prepare(source: Source, detector: Detector | None, keep_pixels: bool) -> _Pending:
    """Read a file and cut out its faces."""
    nothing = np.empty((0, SIDE_PX, SIDE_PX), np.uint8)
    try:
        if source.fault:
            raise FerKitError(source.fault)
        if source.holds_faces:
            faces = pixel_files.read(source.path)
            return _Pending(source, None, [None] * len(faces), faces, [])
        photo = image_file.read(source.path)
        notes = [Note(source.name, note, answered=True) for note in photo.notes]
        if detector is None or photo.pixels.shape[:2] == (SIDE_PX, SIDE_PX):
            boxes: list[Box | None] = [None]
            faces = crop.whole(photo.pixels)[None]
        else:
            found = detector.find(photo.pixels)
            if not found:
                raise FerKitError("no face found")
            boxes = list(found)
            faces = np.stack([crop.crop(photo.pixels, box) for box in found])
    except FerKitError as error:
        return _Pending(source, None, [], nothing, [Note(source.name, str(error), answered=False)])
    return _Pending(source, photo.pixels if keep_pixels else None, boxes, faces, notes)


def _predict(waiting: Sequence[_Pending], model: Classifier) -> Iterator[PhotoAnswers]:
    """The answers of photos, with one call of the model."""
    faces = [one.faces for one in waiting if len(one.faces)]
    probabilities = np.asarray(model(np.concatenate(faces)), np.float64) if faces else np.empty((0, len(CLASSES)))
    done = 0
    for one in waiting:
        rows = probabilities[done : done + len(one.faces)]
        done += len(one.faces)
        answers = [
            Answer(one.source.name, n, box, row) for n, (box, row) in enumerate(zip(one.boxes, rows, strict=True))
        ]
        yield PhotoAnswers(one.source, one.pixels, answers, one.notes)
