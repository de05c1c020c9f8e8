"""Find faces in a photo with OpenCV: the Haar cascade of its 4.x packages, or a detector file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fer_kit.errors import FerKitError, first_line

INSTALL = "pip install 'opencv-python-headless<5'"
CASCADE = "haarcascade_frontalface_alt2.xml"
SEARCH_PX = 1280  # larger photos are reduced to this longer side; faces below 1/40 of it are not searched
SMALLEST_PX = 32
SCALE_STEP, NEIGHBOURS = 1.1, 4  # of the cascade
CONFIDENCE, MOST_OVERLAP, MOST_FACES = 0.6, 0.3, 500  # of YuNet
MOST_DETECTOR_BYTES = 64 << 20

# Side of FER2013's frame in sides of the detected box, medians over real faces with a border around them; for YuNet,
# whose boxes are upright rectangles, in geometric means of width and height. The centres coincide. See
# tests/benchmarks/bench_classify.py and docs/classify.md.
HAAR_FRAME, YUNET_FRAME = 1.05, 1.11

Pixels = NDArray[np.uint8]  # (H, W, 3), RGB


@dataclass(frozen=True)
class Box:
    """A square in a photo, in pixels: the part that FER2013 would show. It can reach beyond the photo."""

    left: float
    top: float
    side: float

    def rounded(self) -> tuple[int, int, int, int]:
        """Left, top, width and height in whole pixels."""
        return round(self.left), round(self.top), round(self.side), round(self.side)


class Detector(Protocol):
    """Finds faces. name: for records, such as the file of the detector."""

    name: str

    def find(self, pixels: Pixels) -> list[Box]:
        """The faces in a photo, from left to right."""


def make(file: Path | None) -> Detector:
    """The detector in `file`: YuNet (.onnx) or a cascade (.xml); the Haar cascade of OpenCV's package if None.

    Raises:
        FerKitError: OpenCV is not installed or has no cascades, or the file is not a detector.
    """
    try:
        import cv2
    except ImportError:
        raise FerKitError(f"faces are found with OpenCV, which is not installed; {INSTALL}") from None
    has_cascades = hasattr(cv2, "CascadeClassifier")
    if file is None:
        path = Path(getattr(getattr(cv2, "data", None), "haarcascades", "")) / CASCADE
        if not has_cascades or not path.is_file():
            raise FerKitError(
                f"OpenCV {cv2.__version__} has no Haar cascades (removed in 5.0); {INSTALL}, or name a YuNet model "
                "with --detector FILE.onnx, or give images that show only a face with --faces whole"
            )
        return Haar(path)
    if not file.is_file():
        raise FerKitError(f"--detector {file}: no such file")
    if file.stat().st_size > MOST_DETECTOR_BYTES:
        raise FerKitError(f"--detector {file}: {file.stat().st_size:,} bytes, allowed are {MOST_DETECTOR_BYTES:,}")
    if file.suffix == ".xml":
        if not has_cascades:
            raise FerKitError(f"--detector {file}: OpenCV {cv2.__version__} has no cascades; {INSTALL}, or give .onnx")
        return Haar(file)
    if file.suffix == ".onnx":
        return YuNet(file)
    raise FerKitError(f"--detector {file}: give a YuNet model (.onnx) or a cascade (.xml)")


def reduced(pixels: Pixels) -> tuple[Pixels, float]:
    """The photo with its longer side at most `SEARCH_PX`, and the factor back to the photo's pixels."""
    import cv2

    height, width = pixels.shape[:2]
    factor = max(1.0, max(height, width) / SEARCH_PX)
    if factor == 1.0:
        return pixels, factor
    size = max(1, round(width / factor)), max(1, round(height / factor))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8), factor


def frame(found: Sequence[float], factor: float, times: float) -> Box:
    """The square that FER2013 would show around a detected box: left, top, width and height, times `factor`."""
    left, top, width, height = (float(value) * factor for value in found[:4])
    side = times * float(np.sqrt(width * height))
    return Box(left + width / 2 - side / 2, top + height / 2 - side / 2, side)


class Haar:
    """Viola and Jones's cascade (CVPR 2001), which cropped FER2013 itself."""

    def __init__(self, path: Path) -> None:
        import cv2

        self.name = path.name
        try:
            self.cascade: Any = vars(cv2)["CascadeClassifier"](
                str(path)
            )  # mypy knows only the OpenCV that is installed
            empty = self.cascade.empty()
        except (cv2.error, SystemError):  # OpenCV's reader raises for text that is not XML
            empty = True
        if empty:
            raise FerKitError(f"--detector {path}: not a cascade that OpenCV can read")

    def find(self, pixels: Pixels) -> list[Box]:
        """The faces in a photo, from left to right."""
        import cv2

        small, factor = reduced(pixels)
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        found = self.cascade.detectMultiScale(grey, SCALE_STEP, NEIGHBOURS, minSize=(SMALLEST_PX, SMALLEST_PX))
        boxes = [frame(one, factor, HAAR_FRAME) for one in found]
        return sorted(boxes, key=lambda box: (box.left, box.top))


class YuNet:
    """YuNet (Wu et al. 2023), a small network that also finds turned and partly covered faces."""

    def __init__(self, path: Path) -> None:
        import cv2

        self.name = path.name
        if logging := getattr(cv2.utils, "logging", None):  # OpenCV 5 warns at every load; 4.10 has no such module
            logging.setLogLevel(logging.LOG_LEVEL_ERROR)
        try:
            self.network: Any = cv2.FaceDetectorYN.create(
                str(path), "", (320, 320), CONFIDENCE, MOST_OVERLAP, MOST_FACES
            )
            self.find(np.zeros((96, 128, 3), np.uint8))
        except (cv2.error, SystemError, FerKitError) as error:
            raise FerKitError(
                f"--detector {path}: not a YuNet model that OpenCV {cv2.__version__} can run ({first_line(error)})"
            ) from None

    def find(self, pixels: Pixels) -> list[Box]:
        """The faces in a photo, from left to right.

        Raises:
            FerKitError: OpenCV fails on this photo.
        """
        import cv2

        small, factor = reduced(pixels)
        self.network.setInputSize((small.shape[1], small.shape[0]))
        try:
            _, found = self.network.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        except cv2.error as error:
            raise FerKitError(f"the detector fails on this photo ({first_line(error)})") from None
        rows = [] if found is None else [one for one in found if np.isfinite(one[:4]).all() and min(one[2:4]) >= 1]
        boxes = [frame(one, factor, YUNET_FRAME) for one in rows]
        return sorted(boxes, key=lambda box: (box.left, box.top))
