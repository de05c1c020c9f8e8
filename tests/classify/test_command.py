"""`fer-kit classify`: everything that can be answered is answered, the rest gets a line and an exit code."""

from __future__ import annotations

import csv
import json
import os

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import fer_kit
from fer_kit.classify import __main__ as classify
from fer_kit.classify import draw, output
from fer_kit.competition import CLASSES
from tests.classify.conftest import BY, FIRST_VERSION


@pytest.fixture
def mixed(here, photo, face):
    """Photos, crops and files of faces, good and bad."""
    photo.save(here / "one.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.rotate(90, expand=True).save(here / "turned.png", exif=exif)
    Image.fromarray(face).save(here / "crop.png")
    (here / "folder" / "in").mkdir(parents=True)
    photo.save(here / "folder" / "in" / "Deep.JPG", "JPEG", quality=95)
    (here / "folder" / "notes.txt").write_text("no image")
    (here / "nothing").mkdir()
    Image.new("RGB", (90, 90), "white").save(here / "noface.png")
    (here / "text.jpg").write_text("hello")
    np.savez(here / "faces.npz", faces=np.stack([face, face]))
    np.savez(here / "wrong.npz", faces=np.zeros((2, 48, 48)))
    (here / "faces.csv").write_text("pixels\n" + " ".join(map(str, face.ravel())) + "\n")
    (here / "bad.csv").write_text("pixels\n1 2 3\n")
    return here


GOOD = ["one.png", "turned.png", "crop.png", "folder", "faces.npz", "faces.csv"]
BAD = ["nothing", "noface.png", "text.jpg", "wrong.npz", "bad.csv", "missing.jpg"]


@pytest.mark.slow
def test_answers_and_lines(mixed, capsys):
    order = [word for pair in zip(BAD, GOOD, strict=True) for word in pair]
    assert classify.main([*order, *BY, "--out", "out.csv", "--pictures", "pictures"]) == 1
    shown, told = capsys.readouterr()
    for name in ["one.png", "folder/in/Deep.JPG", "faces.npz"]:
        assert name in shown
    for name, word in [
        ("nothing", "no images"),
        ("noface.png", "no face found"),
        ("text.jpg", "not an image"),
        ("wrong.npz", "float64"),
        ("bad.csv", "row 1"),
        ("missing.jpg", "no such file"),
    ]:
        [line] = [line for line in told.splitlines() if line.startswith(f"{name}: ")]
        assert word in line
    assert "7 faces in 6 files" in shown and "6 files not answered" in shown
    rows = list(csv.DictReader((mixed / "out.csv").read_text().splitlines()))
    assert [row["file"] for row in rows] == [
        "one.png", "turned.png", "crop.png", "folder/in/Deep.JPG", "faces.npz", "faces.npz", "faces.csv"
    ]  # fmt: skip
    assert [row["face"] for row in rows] == ["0"] * 5 + ["1", "0"]
    boxes = [[row[name] for name in ("left", "top", "width", "height")] for row in rows]
    assert boxes[0] == boxes[1] == ["40", "20", "48", "48"] and boxes[2] == [""] * 4
    probabilities = np.array([[float(row[name]) for name in CLASSES] for row in rows])
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    exact = [0, 1, 2, 4, 5, 6]  # the same face; a JPEG differs a little
    np.testing.assert_allclose(probabilities[exact], probabilities[[0] * len(exact)], atol=2e-6)
    assert [row["label"] for row in rows] == [CLASSES[k] for k in probabilities.argmax(1)]
    assert len(os.listdir(mixed / "pictures")) == 4


@pytest.mark.slow
def test_json_and_exit_code(mixed, capsys):
    assert classify.main(["one.png", "faces.npz", *BY, "--json", "--out", "out.json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((mixed / "out.json").read_text())
    assert printed["classes"] == list(CLASSES) and printed["network"] == "residual-small/fold0"
    assert printed["faces"][0]["box"] == {"left": 40, "top": 20, "width": 48, "height": 48}
    assert printed["faces"][1]["box"] is None and printed["not_answered"] == [] and printed["detector"] == "dark"
    assert classify.main(["text.jpg", *BY, "--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed["faces"] == [] and printed["not_answered"][0]["file"] == "text.jpg"


@pytest.mark.slow
def test_python_gives_a_frame(mixed):
    model = fer_kit.load_model("residual-small/fold0", runs=FIRST_VERSION, device="cpu")
    frame = fer_kit.classify_photos([*GOOD, "text.jpg"], model)
    assert isinstance(frame, pd.DataFrame) and list(frame.columns) == list(output.COLUMNS) and len(frame) == 7
    assert frame["file"].tolist()[0] == "one.png" and frame["left"].isna().tolist()[:3] == [False, False, True]
    assert list(frame.attrs["not_answered"]) == ["text.jpg"]
    whole = fer_kit.classify_photos("crop.png", model, faces="whole")
    assert whole[list(CLASSES)].to_numpy() == pytest.approx(frame[list(CLASSES)].to_numpy()[2:3], abs=2e-6)
    with pytest.raises(fer_kit.FerKitError, match="faces='all'"):
        fer_kit.classify_photos("crop.png", model, faces="all")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a.png", "--out", "a.xlsx"], "--out a.xlsx"),
        (["a.png", "--faces", "whole", "--detector", "a.onnx"], "--detector a.onnx has no effect"),
        (["a.png", "--by", "none"], "no run or blend 'none'"),
        (["a.png", "--by", "none.safetensors"], "none.safetensors: no such file"),
        ([], "FILE"),
    ],
)
def test_usage_errors(words, said, here, capsys):
    (here / "runs").mkdir()
    assert classify.main(words) == 2
    assert said in capsys.readouterr().err


def test_without_a_shipped_network_the_line_names_the_option(here, monkeypatch, capsys):
    monkeypatch.setattr("fer_kit.predict.named.SHIPPED", here / "none.safetensors")
    assert classify.main(["a.png"]) == 2
    assert "--by" in capsys.readouterr().err


def test_long_tables_are_cut():
    from fer_kit.classify.answers import Answer

    one = Answer("x" * 90 + "\n.png", 0, None, np.full(7, 1 / 7))
    lines = output.table([one] * 50)
    assert len(lines) == output.MOST_LINES + 4 and "10 more faces" in lines[-2] and "50 Angry" in lines[-1]
    assert all(len(line) < 130 and line.isprintable() for line in lines)


@pytest.mark.parametrize(
    ("size", "faces"), [((160, 120), 1), ((3000, 900), 14), ((900, 3000), 3), ((48, 48), 1), ((1, 900), 1)]
)
def test_pictures_of_any_size(size, faces, tmp_path):
    from fer_kit.classify.answers import Answer
    from fer_kit.classify.detect import Box

    boxes = [Box(-20.0 + 40 * n, 10.0, 60.0) for n in range(faces)]
    answers = [Answer("a", n, box, np.full(7, 1 / 7)) for n, box in enumerate(boxes)]
    image = draw.picture(np.zeros((size[1], size[0], 3), np.uint8), answers)
    assert max(image.size) <= draw.MOST_PX + 12 * draw.PANEL_PX and min(image.size) >= 100
    draw.save(image, tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as saved:
        assert saved.size == image.size
    assert draw.file_name(tmp_path / "a" / "é b.png") != draw.file_name(tmp_path / "c" / "é b.png")
