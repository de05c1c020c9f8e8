from __future__ import annotations

import zipfile

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from fer_kit.errors import FerKitError
from submissions import build, check, file_format
from submissions.file_format import FileFormat
from tests.helpers import fake_runs
from tests.helpers.fake_runs import TEST_ROWS
from tests.helpers.fake_submissions import ORGANISERS, expected, numbers, refused, run

QUICK = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80, deadline=None)


@pytest.fixture
def example(digest, here):
    """Write data/example_submission.csv."""
    return (here / "data/example_submission.csv").write_text


ROWS = range(TEST_ROWS)
EXAMPLES = {
    "no header": ("".join("0\n" for _ in ROWS), "{0}", "no header, one integer per line"),
    "emotion": ("emotion\n" + "3\n" * TEST_ROWS, "{0}", "header 'emotion', one integer per line"),
    "id,emotion": (
        "id,emotion\n" + "".join(f"{row},0\n" for row in ROWS),
        "{1},{0}",
        "header 'id,emotion', an id and one integer per line",
    ),
    "no end of line": ("id,label\n" + "\n".join(f"{row},0" for row in ROWS), "{1},{0}", "header 'id,label'"),
    "CR LF": ("Id,Emotion\r\n" + "".join(f"{row},0\r\n" for row in ROWS), "{1},{0}", "header 'Id,Emotion'"),
    "byte order mark": ("\ufeffid,emotion\n" + "".join(f"{row},\n" for row in ROWS), "{1},{0}", "header 'id,emotion'"),
    "from 1": ("id,emotion\n" + "".join(f"{row + 1},0\n" for row in ROWS), "{2},{0}", "header 'id,emotion'"),
    "prediction first": ("Class,Id\n" + "".join(f"0,{row}\n" for row in ROWS), "{0},{1}", "header 'Class,Id'"),
    "quoted": ('"id","whatever"\n' + "".join(f'"{row}",0\n' for row in ROWS), "{1},{0}", 'header \'"id","whatever"\''),
    "two, no header": ("".join(f"{row},0\n" for row in ROWS), "{1},{0}", "no header, an id and one integer per line"),
    "names": ("file,y\n" + "".join(f"im{row:04}.png,1\n" for row in ROWS), "im{1:04}.png,{0}", "header 'file,y'"),
    "with gaps": ("id,emotion\n" + "".join(f"{row * 3},0\n" for row in ROWS), "{3},{0}", "header 'id,emotion'"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("text", "line", "shape"), EXAMPLES.values(), ids=EXAMPLES.keys())
def test_the_form_of_an_example(here, capsys, digest, example, text, line, shape):
    example(text)
    fake_runs.save_run(here / "runs", "a", seed=1, data_digest=digest)
    code, out, error = run(capsys, "build", "a", "--out", "x.csv")
    assert (code, error) == (0, "")
    assert f"format     that of data/example_submission.csv: {shape}" in out
    wrote = (here / "x.csv").read_text().splitlines()
    header = text.lstrip("\ufeff").splitlines()[0]
    if not header[0].isdigit():
        assert wrote.pop(0) == header
    assert wrote == [line.format(value, row, row + 1, row * 3) for row, value in enumerate(expected())]
    assert run(capsys, "check", "x.csv")[0] == 0


def test_shuffled_row_numbers_are_joined_by_id(here, capsys, digest, example):
    order = np.random.default_rng(0).permutation(TEST_ROWS)
    example("id,emotion\n" + "".join(f"{row + 1},0\n" for row in order))
    fake_runs.save_run(here / "runs", "a", seed=1, data_digest=digest)
    run(capsys, "build", "a", "--out", "x.csv")
    values = expected()
    assert (here / "x.csv").read_text().splitlines()[1:] == [f"{row + 1},{values[row]}" for row in order]


def test_an_example_in_a_zip_and_plain_all_the_same(here, capsys, digest):
    fake_runs.save_run(here / "runs", "a", seed=1, data_digest=digest)
    with zipfile.ZipFile(here / "data/all.zip", "w") as archive:
        archive.writestr("inner/example_submission.csv", EXAMPLES["emotion"][0])
    out = run(capsys, "build", "a", "--out", "x.csv")[1]
    assert "that of data/all.zip:inner/example_submission.csv: header 'emotion'" in out
    out = run(capsys, "build", "a", "--out", "y.csv", "--plain")[1]
    assert f"format     {ORGANISERS} (--plain)\n" in out
    assert numbers(here / "y.csv") == expected()
    refused(capsys, "y.csv, line 1: '", "check", "y.csv")
    assert run(capsys, "check", "y.csv", "--plain")[0] == 0


def test_an_example_of_other_length(here, capsys, digest, example):
    fake_runs.save_run(here / "runs", "a", seed=1, data_digest=digest)
    example("0\n" * 7)
    message = "example_submission.csv has 7 rows, but the test rows of data are 40; "
    refused(capsys, message, "build", "a")
    (here / "x.csv").write_text("0\n" * 7)
    refused(capsys, message, "check", "x.csv")


NOT_UNDERSTOOD = {
    "empty": (b"", "line 1 has 0 columns, allowed are 1 or 2, the same in every line"),
    "header only": (b"id,emotion\n", "it has no rows"),
    "three columns": (b"id,emotion,Usage\n0,1,Public\n", "line 1 has 3 columns, allowed are 1 or 2"),
    "uneven": (b"id,emotion\n0,1\n2\n", "line 3 has 1 columns, allowed are 1 or 2"),
    "blank line": (b"emotion\n1\n\n1\n", "line 3 has 0 columns"),
    "class names": (b"id,emotion\n0,Happy\n", "line 2 has 'Happy' where an integer 0 to 6 was expected"),
    "seven": (b"7\n", "line 1 has '7' where an integer 0 to 6 was expected"),
    "probabilities": (b"id,emotion\n0,0.5\n", "line 2 has '0.5'"),
    "unknown names": (b"a,b\n0,1\n", "which of its columns 'a', 'b' is the prediction"),
    "two predictions": (b"label,emotion\n0,1\n", "which of its columns 'label', 'emotion' is the prediction"),
    "id alone": (b"id\n0\n", "which of its columns 'id' is the prediction"),
    "two, no header": (b"0,1\n1,2\n", "it has no header, and either of its two columns"),
    "repeated id": (b"id,emotion\n4,1\n4,1\n", "id '4' "),
    "empty id": (b"id,emotion\n,1\n", "an id is empty or holds a quote, comma or space"),
    "random ids": (b"id,emotion\n9,1\n2,1\n", "its ids are unordered numbers with gaps"),
    "latin 1": (b"id,\xe9motion\n9,1\n2,1\n", "it is not UTF-8"),
}


@pytest.mark.parametrize(("content", "message"), NOT_UNDERSTOOD.values(), ids=NOT_UNDERSTOOD.keys())
def test_forms_that_cannot_be_understood(content, message):
    with pytest.raises(FerKitError) as error:
        file_format.parse_example("example", content)
    assert str(error.value).startswith("example: unclear format: ") and message in str(error.value)
    assert "--plain" in str(error.value)


@QUICK
@given(st.binary(max_size=40) | st.text('0123456,xd"i\n\r', max_size=40).map(str.encode))
def test_any_example_gives_a_form_or_one_clear_error(content):
    try:
        shape = file_format.parse_example("example", content)
    except FerKitError as error:
        assert "\n" not in str(error)
    else:
        assert shape.rows and (shape.ids is None or len(shape.ids) == shape.rows)


@QUICK
@given(st.data())
def test_what_is_built_is_valid_and_every_row_finds_its_prediction(tmp_path, data):
    rows = data.draw(st.integers(1, 30))
    lines = "".join(f"{row},0\n" for row in data.draw(st.permutations(range(rows))))
    shape = data.draw(
        st.sampled_from([FileFormat(), file_format.parse_example("example", f"id,emotion\n{lines}".encode())])
    )
    classes = np.array(data.draw(st.lists(st.integers(0, 6), min_size=rows, max_size=rows)))
    (tmp_path / "x.csv").write_text(build.render(shape, classes))
    checked = check.check_file(tmp_path / "x.csv", shape, rows, "test.csv")
    assert checked.counts == tuple(np.bincount(classes, minlength=7))
    wrote = (tmp_path / "x.csv").read_text().splitlines()
    if shape.ids is None:
        assert wrote == [f"{value}" for value in classes]
    else:
        assert sorted(wrote[1:]) == sorted(f"{row},{value}" for row, value in enumerate(classes))
