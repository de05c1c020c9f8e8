"""The drawn competition: its files, its proportions, and that every planted fault is where it says."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from fer_kit.competition import CLASSES
from fer_kit.errors import FerKitError
from fer_kit.synthetic import __main__ as synthetic_command
from fer_kit.synthetic import draw, faces

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def drawn() -> draw.SyntheticCompetition:
    return draw.draw(800, 200, seed=1)


@pytest.fixture(scope="module")
def ordinary() -> draw.SyntheticCompetition:
    """What the command draws when nothing is asked for."""
    return draw.draw()


def read(path: Path) -> tuple[list[str], list[list[str]]]:
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    return header, rows


def pixels(rows: list[list[str]], column: int) -> np.ndarray:
    return np.array([row[column].split(" ") for row in rows], np.uint8).reshape(-1, 48, 48)


# ------------------------------------------------------------------------------------------ draw


def test_same_seed_same_bytes_other_seed_other_faces() -> None:
    first, again, other = draw.draw(100, 20, 7), draw.draw(100, 20, 7), draw.draw(100, 20, 8)
    for name in draw.SyntheticCompetition.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name), err_msg=name)
    assert (first.images != other.images).any(axis=(1, 2)).mean() > 0.9


def test_the_number_of_threads_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    several = draw.draw(150, 20, 0).images
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    np.testing.assert_array_equal(draw.draw(150, 20, 0).images, several)


def test_shapes_types_and_numbering(drawn: draw.SyntheticCompetition) -> None:
    assert drawn.train_images.shape == (800, 48, 48) and drawn.test_images.shape == (200, 48, 48)
    assert drawn.train_images.dtype == drawn.test_images.dtype == np.uint8
    for ints in (drawn.train_labels, drawn.train_truth, drawn.test_labels, drawn.test_truth, drawn.photos, drawn.twins):
        assert ints.dtype == np.int64
    assert len(drawn.images) == len(drawn.labels) == len(drawn.photos) == 1000
    assert len(drawn.twins) == len(drawn.twin_kinds)


@pytest.mark.slow
def test_class_counts_are_the_real_proportions(ordinary: draw.SyntheticCompetition) -> None:
    assert np.bincount(ordinary.train_labels).tolist() == [417, 46, 428, 754, 505, 331, 519]  # 16.4 Happy : Disgust
    assert np.bincount(ordinary.test_labels).tolist() == [104, 11, 107, 189, 126, 83, 130]
    for rows in (100, 137):  # at any size every class is there and every row has a label
        counts = np.bincount(draw.draw(rows, 20).train_labels, minlength=7)
        assert counts.sum() == rows and counts.min() >= 1


def test_a_few_labels_are_wrong_and_class_counts_stay(drawn: draw.SyntheticCompetition) -> None:
    for labels, truth in ((drawn.train_labels, drawn.train_truth), (drawn.test_labels, drawn.test_truth)):
        assert 0.04 < np.mean(labels != truth) < 0.12
        np.testing.assert_array_equal(np.bincount(labels), np.bincount(truth))


# ----------------------------------------------------------------------------------------- twins


def test_twins_are_a_quarter_of_all_rows_in_small_groups_of_one_class(drawn: draw.SyntheticCompetition) -> None:
    truth = np.concatenate([drawn.train_truth, drawn.test_truth])
    source, copy = drawn.twins.T
    assert len(set(copy)) == len(copy) and not set(source) & set(copy)
    np.testing.assert_array_equal(truth[source], truth[copy])
    np.testing.assert_array_equal(drawn.photos[copy], source)
    np.testing.assert_array_equal(drawn.photos[source], source)
    sizes = np.bincount(drawn.photos)
    assert 0.22 < sizes[sizes > 1].sum() / len(truth) < 0.30
    assert sizes.max() == 3


def test_every_kind_of_twin_is_planted_and_some_disagree_and_some_cross_to_the_test_rows(
    ordinary: draw.SyntheticCompetition,
) -> None:
    crossing = (ordinary.twins < 3000).sum(axis=1) == 1
    disagreeing = ordinary.labels[ordinary.twins[:, 0]] != ordinary.labels[ordinary.twins[:, 1]]
    for kind in draw.TWIN_KINDS:
        of_kind = ordinary.twin_kinds == kind
        assert of_kind.sum() >= 50, kind
        assert 0.05 < disagreeing[of_kind].mean() < 0.45, kind
        assert 0.15 < crossing[of_kind].mean() < 0.50, kind


def contrast_normalised(images: np.ndarray) -> np.ndarray:
    """(N, 48, 48) to (N, 2304): local mean 0, local spread 1, whole image of length 1."""
    values = images.astype(np.float64)
    values -= gaussian_filter(values, (0, 3, 3))
    values /= np.sqrt(gaussian_filter(values**2, (0, 3, 3)) + 36)
    flat = values.reshape(len(values), -1)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def test_each_twin_is_what_its_kind_says(drawn: draw.SyntheticCompetition) -> None:
    pairs = {kind: drawn.images[drawn.twins[drawn.twin_kinds == kind]] for kind in draw.TWIN_KINDS}
    np.testing.assert_array_equal(pairs["exact"][:, 0], pairs["exact"][:, 1])
    np.testing.assert_array_equal(pairs["mirror"][:, 0], pairs["mirror"][:, 1, :, ::-1])
    for kind, least in (("contrast", 0.9), ("watermark", 0.8)):
        source, copy = pairs[kind][:, 0], pairs[kind][:, 1]
        alike = np.sum(contrast_normalised(source) * contrast_normalised(copy), axis=1)
        assert (source != copy).any(axis=(1, 2)).all() and alike.min() > least, kind
    watermarked_rows = (pairs["watermark"][:, 0] != pairs["watermark"][:, 1]).any(axis=2)
    assert watermarked_rows.sum(axis=1).max() <= 5


def test_strangers_do_not_pass_for_twins(drawn: draw.SyntheticCompetition) -> None:
    photos = np.setdiff1d(drawn.photos, drawn.flat)[:500]
    crops = ((8, 8), (6, 8), (10, 8), (8, 6), (8, 10))
    views = [contrast_normalised(drawn.images[photos, y : y + 32, x : x + 32]) for y, x in crops]
    alike = max(np.triu(views[0] @ view.T, 1).max() for view in views)
    assert alike < 0.85


def test_flat_images_are_flat_and_nothing_else_is(drawn: draw.SyntheticCompetition) -> None:
    spread = drawn.images.std(axis=(1, 2))
    np.testing.assert_array_equal(np.flatnonzero(spread < 2), drawn.flat)
    assert 0 in spread[drawn.flat] and (spread[drawn.flat] > 0).any()
    assert not set(drawn.flat) & set(drawn.twins.ravel())


# ----------------------------------------------------------------------------------------- faces


def test_expressions_move_the_features_that_carry_them() -> None:
    labels = np.repeat(np.arange(7), 200)
    rolled = faces.traits(labels, np.random.default_rng(0))
    mean = {name: {action: rolled[action][labels == k].mean() for action in rolled} for k, name in enumerate(CLASSES)}
    assert mean["Happy"]["smile"] > 0.5 > -0.4 > mean["Sad"]["smile"]
    assert mean["Surprise"]["mouth_open"] > 0.5 and mean["Surprise"]["brow_raise"] > 0.5
    assert mean["Angry"]["brow_inner"] < -0.4 and mean["Fear"]["brow_inner"] > 0.4
    assert max(mean, key=lambda name: mean[name]["nose_wrinkle"]) == "Disgust"
    assert max(abs(mean["Neutral"][action]) for action in ("smile", "mouth_open", "brow_raise", "squint")) < 0.1
    assert mean["Sad"]["pitch"] > mean["Fear"]["pitch"] + 0.05  # bowed, thrown back


def test_an_expression_can_be_seen_in_the_pixels() -> None:
    labels = np.repeat([CLASSES.index("Surprise"), CLASSES.index("Neutral")], 300)
    images = faces.render(faces.traits(labels, np.random.default_rng(0)), np.random.default_rng(1))
    mouth = images[:, 32:42, 16:32].astype(float).std(axis=(1, 2))
    assert mouth[:300].mean() > 1.3 * mouth[300:].mean()  # an open mouth is dark inside


def test_a_thousand_faces_take_no_time() -> None:
    start = time.perf_counter()
    draw.draw(800, 200)
    assert time.perf_counter() - start < 15  # 0.4 s on two idle cores; a loop over faces would take a minute


# ----------------------------------------------------------------------------------------- files


def test_train_and_test_csv_read_back(tmp_path: Path) -> None:
    drawn = draw.draw(100, 20, 2)
    assert draw.write(tmp_path / "new" / "folder", drawn) == [
        tmp_path / "new/folder/train.csv",
        tmp_path / "new/folder/test.csv",
    ]
    header, rows = read(tmp_path / "new/folder/train.csv")
    assert header == ["emotion", "pixels"]
    np.testing.assert_array_equal([int(row[0]) for row in rows], drawn.train_labels)
    np.testing.assert_array_equal(pixels(rows, 1), drawn.train_images)
    header, rows = read(tmp_path / "new/folder/test.csv")
    assert header == ["pixels"]
    np.testing.assert_array_equal(pixels(rows, 0), drawn.test_images)
    text = (tmp_path / "new/folder/train.csv").read_bytes()
    assert text.startswith(b'emotion,pixels\n%d,"' % drawn.train_labels[0]) and text.endswith(b'"\n')
    assert b"\r" not in text
    assert not (tmp_path / "new/folder/icml_face_data.csv").exists()


def test_icml_face_data_has_its_spaced_header_and_three_contiguous_usages(tmp_path: Path) -> None:
    drawn = draw.draw(100, 21, 2)
    draw.write(tmp_path, drawn, with_labels=True)
    header, rows = read(tmp_path / "icml_face_data.csv")
    assert header == ["emotion", " Usage", " pixels"]
    assert [row[1] for row in rows] == ["Training"] * 100 + ["PublicTest"] * 10 + ["PrivateTest"] * 11
    np.testing.assert_array_equal([int(row[0]) for row in rows], drawn.labels)
    np.testing.assert_array_equal(pixels(rows, 2), drawn.images)


def test_writing_again_gives_the_same_bytes_and_drops_answers_to_other_rows(tmp_path: Path) -> None:
    draw.write(tmp_path, draw.draw(100, 20, 0), with_labels=True)
    first = (tmp_path / "train.csv").read_bytes()
    draw.write(tmp_path, draw.draw(120, 20, 1))
    assert (tmp_path / "train.csv").read_bytes() != first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["synthetic.json", "test.csv", "train.csv"]
    draw.write(tmp_path, draw.draw(100, 20, 0))
    assert (tmp_path / "train.csv").read_bytes() == first
    record = json.loads((tmp_path / "synthetic.json").read_text())
    assert (record["rows"], record["test_rows"], record["seed"]) == (100, 20, 0)


@pytest.mark.parametrize("name", ["train.csv", "test.csv", "train.csv.zip", "fer2013.csv", "icml_face_data.csv"])
def test_the_real_data_is_never_lost(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("the real one")
    with pytest.raises(FerKitError, match=f"{name}: .* may be the real data; give another folder, or"):
        draw.write(tmp_path, draw.draw(100, 20))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "the real one"


def test_a_drawn_file_that_was_replaced_is_foreign_too(tmp_path: Path) -> None:
    drawn = draw.draw(100, 20)
    draw.write(tmp_path, drawn)
    (tmp_path / "train.csv").write_text("the real one, unpacked over the drawn one")
    with pytest.raises(FerKitError, match="train.csv: .* may be the real data; .* --force"):
        draw.write(tmp_path, drawn)
    draw.write(tmp_path, drawn, force=True)
    assert len(read(tmp_path / "train.csv")[1]) == 100


def test_force_writes_over_but_neither_deletes_nor_mixes(tmp_path: Path) -> None:
    (tmp_path / "icml_face_data.csv").write_text("the real one")
    with pytest.raises(FerKitError, match="icml_face_data.csv: .* may be the real data; .* or move the file away"):
        draw.write(tmp_path, draw.draw(100, 20), force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["icml_face_data.csv"]


# --------------------------------------------------------------------------------------- command


def test_command_says_what_it_wrote_and_what_comes_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, sheet = tmp_path / "my data", tmp_path / "sheet.png"
    argv = [str(folder), "--rows", "200", "--test-rows", "40", "--seed", "4", "--with-labels", "--sheet", str(sheet)]
    assert synthetic_command.main(argv) == 0
    out = capsys.readouterr().out
    assert "drew 200 train faces: 28 Angry, 3 Disgust" in out and "and 40 test faces" in out
    for name in ("train.csv", "test.csv", "icml_face_data.csv"):
        assert f"wrote {folder / name}\n" in out
    assert out.endswith(f"next: python -m fer_kit.folds --data '{folder}'\n")
    with Image.open(sheet) as picture:
        assert picture.format == "PNG" and picture.width > 7 * 48
    assert synthetic_command.main(argv) == 0  # its own files are replaced without a word


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["--rows", "99"], "error: --rows 99 is out of range; allowed are 100 to 200,000\n"),
        (["--rows", "200001"], "error: --rows 200001 is out of range; allowed are 100 to 200,000\n"),
        (["--test-rows", "3"], "error: --test-rows 3 is out of range; allowed are 20 to 200,000\n"),
        (["--seed", "-1"], "error: --seed -1 is out of range; allowed are 0 to"),
        (["--sheet", "faces.jpg"], "error: --sheet faces.jpg: the sheet is a PNG; give a name that ends in .png\n"),
        (["--row", "200"], "unrecognized arguments: --row 200"),
        (["--rows", "many"], "invalid int value: 'many'"),
    ],
)
def test_command_refuses_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], argv: list[str], text: str
) -> None:
    assert synthetic_command.main([str(tmp_path / "data"), *argv]) == 2
    assert text in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_command_refuses_the_real_data_and_a_folder_that_is_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--rows", "100", "--test-rows", "20"]
    (tmp_path / "train.csv").write_text("the real one")
    assert synthetic_command.main([str(tmp_path), *small]) == 2
    assert "train.csv: was not written by this command and may be the real data" in capsys.readouterr().err
    assert synthetic_command.main([str(tmp_path), *small, "--force"]) == 0
    assert synthetic_command.main([str(tmp_path / "train.csv"), *small]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_the_picture_in_the_docs_shows_these_faces(tmp_path: Path, ordinary: draw.SyntheticCompetition) -> None:
    kept = REPOSITORY / "docs" / "pictures" / "faces.png"
    draw.write_sheet(tmp_path / "sheet.png", ordinary)
    with Image.open(kept) as old, Image.open(tmp_path / "sheet.png") as new:
        below_the_title = (0, 22, *new.size)  # whose letters depend on the version of the font
        np.testing.assert_array_equal(*(np.asarray(image.crop(below_the_title)) for image in (old, new)))
    assert kept.stat().st_size < 150_000
