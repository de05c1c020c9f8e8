from __future__ import annotations

import hashlib
import re

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from fer_kit.errors import FerKitError
from submissions import check
from submissions.file_format import FileFormat
from tests.helpers.fake_runs import TEST_ROWS as ROWS
from tests.helpers.fake_submissions import ORGANISERS, refused, run

QUICK = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80, deadline=None)
GOOD = "".join(f"{row % 7}\n" for row in range(ROWS))


def test_a_good_file(here, capsys):
    (here / "x.csv").write_text(GOOD)
    code, out, error = run(capsys, "check", "x.csv")
    assert (code, error) == (0, "")
    assert out.splitlines()[0].startswith("note: no competition files found; tried --data (not given)")
    assert out.splitlines()[1:] == [
        f"format    {ORGANISERS} (no data found, so no example_submission.csv)",
        "rows      40, as in the competition's test.csv (no data found)",
        "classes   Angry 6  Disgust 6  Fear 6  Happy 6  Sad 6  Surprise 5  Neutral 5",
        f"sha256    {hashlib.sha256(GOOD.encode()).hexdigest()}",
        "x.csv: OK",
    ]


def test_odd_but_valid(here, capsys):
    (here / "x.csv").write_text("3\n" * ROWS)
    assert "warning   all rows have the same prediction, Happy\n" in run(capsys, "check", "x.csv")[1]
    (here / "x.csv").write_bytes(GOOD.replace("\n", "\r\n").encode())
    assert " CR LF" in run(capsys, "check", "x.csv")[1]
    (here / "x.csv").write_text(GOOD.rstrip("\n"))
    assert run(capsys, "check", "x.csv")[0] == 0


def test_no_such_file(here, capsys):
    refused(capsys, "x.csv: no such file; write one with python -m submissions build SOURCE", "check", "x.csv")


def test_against_the_rows_of_the_data(here, capsys, digest, monkeypatch):
    monkeypatch.setattr(check, "COMPETITION_ROWS", 7_178)
    (here / "x.csv").write_text(GOOD)
    assert "rows      40, the test rows of data\n" in run(capsys, "check", "x.csv", "--data", "data")[1]
    (here / "x.csv").write_text(GOOD[:-2])
    message = "x.csv, line 39: the file ends after 39 rows, allowed are 40 (the test rows of data)"
    refused(capsys, message, "check", "x.csv")


def test_against_the_form_of_the_example(here, capsys, digest):
    (here / "data/example_submission.csv").write_text("id,emotion\n" + "".join(f"{row},0\n" for row in range(ROWS)))
    good = "id,emotion\n" + "".join(f"{row},{row % 7}\n" for row in range(ROWS))
    for text, message in (
        (GOOD, "line 1: '0', allowed is the header 'id,emotion'"),
        (good.replace("5,5", "6,5"), "line 7: '6,5', allowed is '5,N' with N an integer 0 to 6"),
        (good.replace("5,5", "5,7"), "line 7: '5,7', allowed is '5,N' with N an integer 0 to 6"),
        (good.replace("5,5", "5,"), "line 7: '5,', allowed is '5,N' with N an integer 0 to 6"),
        (good.replace("5,5", "5,5,5"), "line 7: '5,5,5', allowed is '5,N' with N an integer 0 to 6"),
    ):
        (here / "x.csv").write_text(text)
        refused(capsys, f"x.csv, {message}", "check", "x.csv")


INTEGER = "allowed is an integer 0 to 6 and nothing else"
ROWS_SAY = "(test.csv)"
FAULTS = {
    "empty": (b"", "line 1: the file is empty"),
    "header": (b"emotion\n" + GOOD.encode(), "line 1: 'emotion' is a header"),
    "byte order mark": (b"\xef\xbb\xbf" + GOOD.encode(), "line 1: begins with a byte order mark"),
    "UTF-16": (GOOD.encode("utf-16"), "line 1: not UTF-8"),
    "latin 1": (b"1\n2\n\xe9\n", "line 3: not UTF-8"),
    "seven": (b"1\n7\n", f"line 2: '7', {INTEGER}"),
    "negative": (b"-1\n", f"line 1: '-1', {INTEGER}"),
    "float": (b"1\n2.0\n", f"line 2: '2.0', {INTEGER}"),
    "space": (b"1\n2 \n", f"line 2: '2 ', {INTEGER}"),
    "Arabic three": ("1\n\u0663\n".encode(), f"line 2: '\u0663', {INTEGER}"),
    "id": (b"0,1\n", f"line 1: '0,1', {INTEGER}"),
    "NUL": (b"1\n\0\n", f"line 2: '\\x00', {INTEGER}"),
    "some CR": (b"1\n2\r\n3\n", f"line 2: '2\\r', {INTEGER}"),
    "long": (b"1\n" + b"9" * 99, f"line 2: '{'9' * 40}…', {INTEGER}"),
    "blank": (b"1\n\n2\n", "line 2: blank; "),
    "blank at the end": (GOOD.encode() + b"\n", f"line 41: '' is one row too many, allowed are 40 {ROWS_SAY}"),
    "one row more": (GOOD.encode() + b"1\n", f"line 41: '1' is one row too many, allowed are 40 {ROWS_SAY}"),
    "junk": (GOOD.encode() + b"\x1a", f"line 41: '\\x1a' is one row too many, allowed are 40 {ROWS_SAY}"),
    "short": (b"1\n2\n", f"line 2: the file ends after 2 rows, allowed are 40 {ROWS_SAY}"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_the_first_fault_and_its_line(tmp_path, content, message):
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(FerKitError, match="^" + re.escape(f"{tmp_path / 'x.csv'}, {message}")) as error:
        check.check_file(tmp_path / "x.csv", FileFormat(), ROWS, "test.csv")
    assert "\n" not in str(error.value)


@QUICK
@given(st.binary(max_size=30) | st.text("0123456,x\n\r", max_size=30).map(str.encode))
def test_any_bytes_are_valid_or_one_clear_error(tmp_path, content):
    (tmp_path / "x.csv").write_bytes(content)
    for shape in (FileFormat(), FileFormat(header="0", rows=3), FileFormat(ids=("a", "b", "c"))):
        try:
            assert check.check_file(tmp_path / "x.csv", shape, 3, "test.csv").rows == 3
        except FerKitError as error:
            assert re.match(r"\S+/x\.csv, line [0-9]+: [^\n]+$", str(error))
