"""Detectors of OpenCV: boxes become FER2013's frames in pixels of the photo; what is missing is said in one line."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from fer_kit.classify import crop, detect
from fer_kit.classify.detect import Box
from fer_kit.errors import FerKitError

HAS_CASCADES = hasattr(cv2, "CascadeClassifier")


def fault(*words) -> str:
    with pytest.raises(FerKitError) as caught:
        detect.make(*words)
    return str(caught.value)


def test_opencv_5_has_no_cascades_and_the_line_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.delattr(cv2, "CascadeClassifier", raising=False)
    said = fault(None)
    assert cv2.__version__ in said and "opencv-python-headless<5" in said and "--detector" in said
    (tmp_path / "a.xml").write_text("<a/>")
    assert "has no cascades" in fault(tmp_path / "a.xml")


@pytest.mark.skipif(not HAS_CASCADES, reason="OpenCV 5 has no cascades")
def test_the_cascade_of_opencv_4():
    cascade = detect.make(None)
    assert cascade.name == detect.CASCADE and cascade.find(np.full((90, 120, 3), 128, np.uint8)) == []


def test_files_that_are_no_detectors(tmp_path):
    assert "no such file" in fault(tmp_path / "none.onnx")
    for name in ("a.onnx", "a.xml", "a.pt"):
        (tmp_path / name).write_bytes(b"something else")
        assert f"--detector {tmp_path / name}" in fault(tmp_path / name)


class Found:
    """A cascade that always finds one box."""

    def detectMultiScale(self, grey, step, neighbours, minSize):  # noqa: N802, N803 (OpenCV's names)
        assert max(grey.shape) <= detect.SEARCH_PX and grey.ndim == 2
        return np.array([[100, 50, 80, 80]])


def test_boxes_are_in_pixels_of_the_photo_with_the_margin_of_fer2013():
    cascade = object.__new__(detect.Haar)
    cascade.cascade = Found()
    [small] = cascade.find(np.zeros((400, 640, 3), np.uint8))
    side = 80 * detect.HAAR_FRAME
    assert (small.left, small.top, small.side) == pytest.approx((140 - side / 2, 90 - side / 2, side))
    [large] = cascade.find(np.zeros((1600, 2560, 3), np.uint8))  # searched at half its size
    assert (large.left, large.top, large.side) == pytest.approx((2 * small.left, 2 * small.top, 2 * small.side))


def test_crops_are_48_px_and_repeat_the_edge():
    pixels = np.zeros((60, 80, 3), np.uint8)
    pixels[:, :40] = 100
    face = crop.crop(pixels, Box(16, 6, 48))
    assert face.shape == (48, 48) and face.dtype == np.uint8
    assert (face[:, :24] == 100).all() and (face[:, 24:] == 0).all()
    beyond = crop.crop(pixels, Box(-56, -48, 96))
    assert (beyond == 100).all()
    assert crop.crop(pixels, Box(500, 500, 0.2)).shape == (48, 48)
    noise = np.random.default_rng(0).integers(0, 256, (192, 192, 1), np.uint8).repeat(3, 2)
    means = noise[:, :, 0].reshape(48, 4, 48, 4).mean((1, 3))
    assert abs(crop.crop(noise, Box(0, 0, 192)) - means).max() <= 1  # the mean of each area
    assert crop.whole(noise[:100]).shape == (48, 48)
