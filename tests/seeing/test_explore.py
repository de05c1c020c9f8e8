"""The data exploration: counts by hand on a small set, the page and pictures, and the numbers of the real faces."""

from __future__ import annotations

import io
import json
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from fer_kit.competition import CLASSES
from fer_kit.data import loading
from fer_kit.drawing import pictures
from fer_kit.explore import __main__ as explore
from fer_kit.explore import facts as explore_facts
from fer_kit.explore import pictures as explore_pictures
from fer_kit.folds import table
from tests.helpers.page import Page
from tests.helpers.small_competition import refusal

PNG = b"\x89PNG\r\n\x1a\n"


def competition(train: np.ndarray, labels: list[int], test: np.ndarray) -> loading.Competition:
    ids = np.arange(len(train)), np.arange(len(test))
    return loading.Competition(
        Path("data"), loading.TrainSet(ids[0], train, np.array(labels)), loading.TestSet(ids[1], test), "d" * 64
    )


@pytest.fixture
def small() -> loading.Competition:
    """Six train rows: 0, 2, 5 the same face under two labels, 1 constant, 4 black; test row 0 a copy of row 3."""
    faces = np.random.default_rng(0).integers(0, 256, (5, 48, 48), dtype=np.uint8)
    flat = np.full((48, 48), 7, np.uint8)
    train = np.stack([faces[0], flat, faces[0], faces[1], np.zeros_like(flat), faces[0]])
    return competition(train, [3, 1, 3, 3, 3, 5], np.stack([faces[1], faces[2], faces[2]]))


def test_counts_by_hand(small, tmp_path):
    found = explore_facts.facts(small, explore_facts.groups_of(small, tmp_path))
    assert found["rows"] == {"train": 6, "test": 3} and found["image_px"] == [48, 48]
    assert found["classes"] == {**dict.fromkeys(CLASSES, 0), "Disgust": 1, "Happy": 4, "Surprise": 1}
    assert found["imbalance"] == {"ratio": 4.0, "most": "Happy", "least": "Disgust"}  # of classes that are there
    assert found["constant_images"] == {"train": 2, "test": 0}
    assert found["pixels"]["train"]["mean"] == pytest.approx(small.train.images.mean())
    assert found["pixels"]["train"]["std"] == pytest.approx(small.train.images.std())
    assert found["pixels"]["test"]["std_0_to_1"] == pytest.approx(small.test.images.std() / 255)
    assert found["copies"] == {
        "redundant_train_rows": 2,
        "train_rows_with_a_copy": 3,
        "redundant_test_rows": 1,
        "test_rows_with_a_train_copy": 1,
        "sets_with_different_labels": 1,
        "rows_in_them": 3,
    }
    assert found["twins"]["train_rows_in_them"] == 3 and found["twins"]["test_rows_with_a_train_twin"] == 1
    assert found["twins"]["groups_with_different_labels"] == 1 and not found["twins"]["from_folds"]
    assert found["folds"] is None


def test_twins_and_folds_come_from_the_files_where_they_are(small, tmp_path):
    values = small.train.ids, small.train.labels, np.array([0, 1, 0, 2, 2, 0]), np.array([0, 0, 0, 1, 1, 0])
    (tmp_path / "folds.csv").write_bytes(table.table_of(table.COLUMNS, *values))
    test_table = table.table_of(table.TEST_COLUMNS, small.test.ids, np.array([2, 3, 1]))
    (tmp_path / "folds-test.csv").write_bytes(test_table)
    found = explore_facts.facts(small, explore_facts.groups_of(small, tmp_path))
    assert found["twins"]["train_rows_in_them"] == 5 and found["twins"]["test_rows_with_a_train_twin"] == 2
    assert found["folds"]["train_rows"] == [2, 4] and found["folds"]["held_out_rows"] == [4, 2]
    assert found["folds"]["held_out_classes"][0]["Surprise"] == 1
    (tmp_path / "folds-test.csv").write_bytes(b"\n".join(test_table.splitlines()[:-1]) + b"\n")
    message = refusal(explore_facts.groups_of, small, tmp_path)
    assert re.search(r"folds-test\.csv: 2 rows.* 3 test rows.*--data", message)


def test_the_twin_sheet_never_cuts_the_second_label_off():
    labels = np.array([3, 3, 3, 3, 0, 0, 6])
    assert explore_pictures._one_of_each_first(labels)[:3].tolist() == [0, 4, 6]


@pytest.mark.slow
def test_the_command(competition_dir, runs_dir, tmp_path, capsys):
    argv = ["--data", str(competition_dir), "--runs", str(runs_dir), "--out", str(tmp_path / "out")]
    assert explore.main(argv) == 0
    shown = capsys.readouterr().out
    assert "360 train rows with labels, 90 test rows without" in shown and "as in folds.csv" in shown
    assert re.search(r"^Happy +\d+ +[\d.]+% ", shown, re.MULTILINE)
    assert re.search(r"^0 +240 +120 ", shown, re.MULTILINE)  # three folds of 120
    out = tmp_path / "out"
    facts = json.loads((out / "explore.json").read_text())
    assert sum(facts["classes"].values()) == facts["rows"]["train"] == 360
    for name in ("classes.png", "samples.png", "mean-faces.png", "grey-levels.png"):
        assert (out / name).read_bytes().startswith(PNG)
    text = (out / "explore.html").read_text()
    page = Page(text)
    assert not page.open and all(image["alt"] for image in page.images) and len(page.images) >= 3
    assert all(address.startswith("data:") for address in page.addresses)  # no network
    assert "prefers-color-scheme: dark" in text and 'name="viewport"' in text
    assert "360" in text and "<script" not in text


@pytest.mark.slow
def test_at_a_terminal_it_tells_what_it_does(competition_dir, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert explore.main(["--data", str(competition_dir), "--runs", str(tmp_path)]) == 0
    error = capsys.readouterr().err
    assert error.startswith(f"reading {competition_dir} …\n") and "drawing" in error


@pytest.mark.slow
def test_without_folds_it_says_so(competition_dir, tmp_path, capsys):
    assert explore.main(["--data", str(competition_dir), "--runs", str(tmp_path)]) == 0
    assert "note: no folds yet, so twins are exact copies only; python -m fer_kit.folds" in capsys.readouterr().out
    assert "There are no folds yet" in (tmp_path / "explore" / "explore.html").read_text()


def test_nothing_to_look_at(tmp_path, capsys):
    assert explore.main(["--data", str(tmp_path)]) == 2
    assert "holds no competition files (from --data)" in capsys.readouterr().err


def test_the_bars_of_the_classes_are_their_counts(small):
    [axes] = explore_pictures.class_counts(small).draw(pictures.LIGHT).axes
    assert [round(bar.get_width()) for bar in axes.patches] == [0, 1, 0, 4, 0, 1, 0]
    texts = [text.get_text() for text in axes.texts]
    assert texts[3] == "4 (66.7%)" and len(texts) == 7
    assert [label.get_text() for label in axes.get_yticklabels()] == list(CLASSES)


@pytest.mark.parametrize("colours", [pictures.LIGHT, pictures.DARK])
def test_numbers_on_heat_can_be_read(colours):
    from matplotlib import colormaps
    from matplotlib.colors import to_rgb

    def light(rgb):  # WCAG 2.2, relative luminance
        parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in rgb[:3]]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2] + 0.05

    counts = np.array([[share] + [0] * 5 + [100 - share] for share in (0, 35, 45, 52, 58, 66, 100)])
    for figure in (
        pictures.confusion(counts, "", colours),
        pictures.alike(list("abcdefg"), counts / 100, counts / 100, "", colours),
    ):
        for text in figure.axes[-1].texts:
            column, row = text.get_position()
            pair = light(colormaps[colours.heat](counts[row, column] / 100)), light(to_rgb(text.get_color()))
            assert max(pair) / min(pair) > 4, text.get_text()


def test_a_sheet_draws_faces_where_they_belong():
    from PIL import Image

    white = np.full((3, 48, 48), 255, np.uint8)
    images, captions = pictures.padded([(white[:2], ["a", "b"]), (white[:1], ["c"])], 3)
    drawn = pictures.png(pictures.face_sheet(images, captions, 3, colours=pictures.DARK))
    grey = np.asarray(Image.open(io.BytesIO(drawn)).convert("L"))
    half = grey.shape[0] // 2
    assert (grey[:half] > 250).mean() > 1.8 * (grey[half:] > 250).mean() > 0.5  # two faces above, one below
    assert grey.shape[1] < 2.5 * pictures.FACE_DOTS  # an empty last column takes no room


@pytest.mark.slow
@pytest.mark.parametrize(
    "title", ["short", "a run, wrong answers: what spoke for the answer, and what for the truth", "w" * 80]
)
@pytest.mark.parametrize("columns", [1, 2, 8])
def test_all_of_a_sheets_title_is_on_it(title, columns):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    sheet = pictures.face_sheet(np.full((columns, 48, 48), 255, np.uint8), ["x"] * columns, columns, title)
    shown = FigureCanvasAgg(sheet).get_renderer()
    lines = [text for text in sheet.axes[0].texts if text.get_text() != "x"]
    assert " ".join(line.get_text() for line in lines) == title
    boxes = [line.get_window_extent(shown) for line in lines]
    assert all(sheet.bbox.x0 <= box.x0 and box.x1 <= sheet.bbox.x1 and box.y1 <= sheet.bbox.y1 for box in boxes)
    below = [*boxes[1:], sheet.axes[0].images[0].get_window_extent(shown)]
    assert all(under.y1 <= box.y0 + 1 for box, under in zip(boxes, below, strict=True))


@pytest.mark.slow
def test_real_faces(real_faces, tmp_path):
    unpack = runpy.run_path(str(real_faces / "unpack.py"))
    pool, train, test = unpack["faces"](), unpack["index"]("train"), unpack["index"]("test")
    real = competition(pool[train["face"]], train["emotion"], pool[test["face"]])
    found = explore_facts.facts(real, explore_facts.groups_of(real, tmp_path))
    assert found["rows"] == {"train": 28_709, "test": 7_178} and found["missing_values"] == 0
    assert list(found["classes"].values()) == [3995, 436, 4097, 7215, 4830, 3171, 4965]
    assert round(found["imbalance"]["ratio"], 2) == 16.55
    assert found["copies"]["redundant_train_rows"] == 1_235  # 1,236 in the genuine files
    assert found["copies"]["train_rows_with_a_copy"] == 2_268
    assert found["copies"]["test_rows_with_a_train_copy"] == 567
    assert found["copies"]["sets_with_different_labels"] == 38
    assert found["constant_images"] == {"train": 12, "test": 0} and found["flat_images"] == {"train": 13, "test": 1}
    assert found["twins"]["train_rows_in_them"] == 2_256  # exact copies, flat images aside
    assert found["pixels"]["train"]["mean"] == pytest.approx(129.47, abs=0.01)
    assert found["pixels"]["train"]["std"] == pytest.approx(65.02, abs=0.01)
