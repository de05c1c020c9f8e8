"""Texts of other people (names, records, Kaggle's answers, logs) reach a terminal without control characters."""

from __future__ import annotations

import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_kit import output
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.kaggle import answers
from fer_kit.listing import runs as runs_command
from submissions import __main__ as submissions
from submissions import source_record
from tests.helpers import fake_runs

EVIL = "x\x1b[2J\x1b]0;title\x07\u202egpj\r\x9b1A"
ALLOWED = re.compile(r"[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]*")


def harmless(text: str) -> bool:
    return ALLOWED.fullmatch(text) is not None and re.search(r"(?<!^)\r(?!\n)", text) is None


def streams() -> tuple[io.StringIO, io.StringIO, output.Stream, output.Stream]:
    out, err, shared = io.StringIO(), io.StringIO(), output.Streams()
    return out, err, output.Stream(out, shared, keep_fault=True), output.Stream(err, shared, keep_fault=False)


@given(st.text())
def test_no_text_controls_the_terminal(text):
    out, err, stdout, stderr = streams()
    stdout.write(f"a run {text} in a line\n")
    stderr.write(f"a run {text} in a line\n")
    assert harmless(out.getvalue()) and harmless(re.sub(r"\x1b\[(?:A|[0-9;]*m)", "", err.getvalue()))
    assert out.getvalue() == text or not text.isprintable() or f"a run {text} in" in out.getvalue()


def test_the_instance():
    out, _, stdout, _ = streams()
    stdout.write(f"{EVIL}\n")
    assert out.getvalue() == "x\\x1b[2J\\x1b]0;title\\x07\\u202egpj\\r\\x9b1A\n"


def test_lines_and_progress_bars_stay():
    out, err, stdout, stderr = streams()
    stdout.write("\r50%\tdone – ±\r\nnext\n")
    stderr.write("\r50% |█████     |\x1b[A")
    assert out.getvalue() == "\r50%\tdone – ±\r\nnext\n" and err.getvalue() == "\r50% |█████     |\x1b[A"


def test_names_of_run_folders(here, capfd):
    fake_runs.save_run(here / "runs", "honest", seed=1)
    (here / "runs" / "bad\x1b[2Jname").mkdir()
    (here / "runs/honest").rename(here / "runs/bad\x1b[2J\x07name/")
    runs_command.main([])
    out, err = capfd.readouterr()
    assert "bad" in out + err and harmless(out) and harmless(err)


def test_errors():
    assert str(FerKitError(f"a {EVIL}")).isprintable()


def test_answers_of_kaggle():
    row = {"ref": f"1{EVIL}", "fileName": EVIL, "date": EVIL, "description": EVIL, "status": "COMPLETE"}
    [found] = answers.submissions(json.dumps([row | {"publicScore": "nan", "privateScore": "inf"}]), "slug")
    for text in (found.ref, found.file_name, found.date, found.description):
        assert text.isprintable() and "\\x1b" in text
    assert found.public is None and found.private is None  # no score, where a ledger line could not be read again
    state = answers.kernel_state(f'a/b has status "KernelWorkerStatus.ERROR"\nFailure message: "{EVIL}"')
    assert state.failure.isprintable()
    pushed = "Kernel version 3 successfully pushed.  Please check progress at https://www.kaggle.com/code/a/b{}"
    assert answers.pushed(pushed.format("\x1b[2J")).url == "https://www.kaggle.com/code/a/b"


@pytest.mark.parametrize("value", ["many", None, -1, 1.5, True, [1]])
def test_limits_that_are_no_numbers(value):
    text = json.dumps({"numToday": 0, "numTotal": 0, "numAllowedNow": value})
    with pytest.raises(FerKitError, match="numAllowedNow is "):
        answers.limits(text)


@pytest.fixture
def built(here, capsys):
    fake_runs.save_run(here / "runs", "a", seed=1)
    assert submissions.main(["build", "a", "--out", "a.csv"]) == 0
    capsys.readouterr()
    return here / "a.csv"


def test_the_record_of_a_submission_file(built):
    path = source_record.path_of(built)
    record = atomic.read_json(path)
    atomic.write_json(path, record | {"source": EVIL, "accuracy_text": EVIL, "members": {EVIL: 1.0}})
    found = source_record.read(built, record["sha256"])
    assert all(text.isprintable() for text in (found.source, found.text, *found.members))
    for accuracy in (1.5, -0.1):
        atomic.write_json(path, record | {"accuracy": accuracy})
        with pytest.raises(FerKitError, match="is not from 0 to 1"):
            source_record.read(built, record["sha256"])
