"""Photos of every form become upright 8-bit RGB, or a line that says why not."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from fer_kit.classify import image_file
from fer_kit.errors import FerKitError


def fault(path) -> str:
    with pytest.raises(FerKitError) as caught:
        image_file.read(path)
    return str(caught.value)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.webp", "a.tif", "a.ppm"])
def test_common_forms(name, photo, tmp_path):
    photo.save(tmp_path / name)
    read = image_file.read(tmp_path / name)
    assert read.pixels.shape == (120, 160, 3) and read.pixels.dtype == np.uint8 and read.notes == ()
    assert abs(read.pixels.astype(int) - np.asarray(photo)).mean() < 6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_as_exif_says(orientation, photo, tmp_path):
    way = Image.Transpose
    undo = [None, way.FLIP_LEFT_RIGHT, way.ROTATE_180, way.FLIP_TOP_BOTTOM, way.TRANSPOSE, way.ROTATE_90]
    undo += [way.TRANSVERSE, way.ROTATE_270]
    how = undo[orientation - 1]
    exif = Image.Exif()
    exif[0x0112] = orientation
    (photo if how is None else photo.transpose(how)).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(image_file.read(tmp_path / "a.png").pixels, np.asarray(photo))


def test_other_modes_of_colour(photo, tmp_path):
    photo.convert("CMYK").save(tmp_path / "cmyk.tif")
    assert np.array_equal(image_file.read(tmp_path / "cmyk.tif").pixels, np.asarray(photo))
    grey = np.asarray(photo.convert("L"))
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "sixteen.png")
    sixteen = image_file.read(tmp_path / "sixteen.png")
    assert np.array_equal(sixteen.pixels[:, :, 1], grey) and sixteen.notes == ("16 bits reduced to 8",)
    clear = photo.convert("RGBA")
    clear.putalpha(0)
    clear.save(tmp_path / "clear.png")
    transparent = image_file.read(tmp_path / "clear.png")
    assert (transparent.pixels == 255).all() and "on white" in transparent.notes[0]
    photo.save(tmp_path / "moving.gif", save_all=True, append_images=[photo.rotate(180), photo.rotate(90)])
    moving = image_file.read(tmp_path / "moving.gif")
    assert moving.pixels.shape == (120, 160, 3) and moving.notes == ("first of 3 frames",)
    photo.convert("1").save(tmp_path / "bits.png")
    assert set(np.unique(image_file.read(tmp_path / "bits.png").pixels)) <= {0, 255}


def test_images_that_are_refused(photo, tmp_path, monkeypatch):
    Image.fromarray(np.zeros((9, 9), np.float32)).save(tmp_path / "float.tif")
    assert "floating-point" in fault(tmp_path / "float.tif")
    Image.fromarray(np.full((9, 9), 1 << 20, np.int32)).save(tmp_path / "wide.tif")
    assert "8 or 16 bits" in fault(tmp_path / "wide.tif")
    (tmp_path / "text.jpg").write_text("hello")
    assert "not an image" in fault(tmp_path / "text.jpg")
    (tmp_path / "empty.png").touch()
    assert "empty" in fault(tmp_path / "empty.png")
    photo.save(tmp_path / "whole.jpg")
    (tmp_path / "part.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:900])
    assert "damaged" in fault(tmp_path / "part.jpg")
    assert "no such file" in fault(tmp_path / "none.jpg") and "not a regular file" in fault(tmp_path)
    monkeypatch.setattr(image_file, "MOST_BYTES", 100)
    assert "at most 100" in fault(tmp_path / "whole.jpg")


def test_huge_images_are_refused_by_their_header(tmp_path):
    for side in (10_001, 20_000):
        parts = b""
        for kind, body in (
            (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)),
            (b"IDAT", zlib.compress(b"")),
        ):
            parts += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        (tmp_path / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
        assert "more than 100 megapixels" in fault(tmp_path / "huge.png")
