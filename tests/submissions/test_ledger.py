from __future__ import annotations

import csv
import dataclasses
import multiprocessing
import os
import re
import signal
import time

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from fer_kit.errors import FerKitError
from fer_kit.runs import ledger
from fer_kit.runs.ledger import COLUMNS, Entry

ENTRY = Entry(
    utc="2030-01-02T18:05:00Z",
    file="2030-01-02-best.csv",
    sha256="ab" * 32,
    source="blend best",
    members="a 0.25; b 0.75",
    cv_accuracy=0.712345,
    forecast=None,
    message="two, \"quoted\"; and ünïcode",
    tag="fer-00000001",
    ref="",
    status="uploading",
    public=None,
    private=None,
    class_counts="1 2 3 4 5 6 7",
    rows_changed=None,
    competition="some-slug",
)  # fmt: skip
SCORED = dataclasses.replace(
    ENTRY, tag="fer-00000002", ref="50000002", status="complete", public=0.75, private=0.5, rows_changed=0
)


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "ledger.csv"
    assert ledger.read(path) == []
    ledger.write(path, [ENTRY, SCORED])
    assert ledger.read(path) == [ENTRY, SCORED]
    assert path.read_text().splitlines()[0] == ",".join(COLUMNS)
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.csv"]


ANY = st.text(st.characters(codec="utf-8"), max_size=30) | st.sampled_from(
    ["=cmd|' /C calc'!A0", "'=1", "''", "@x", "-1"]
)
ANY_NUMBER = st.none() | st.floats()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(st.data())
def test_what_the_writer_takes_the_reader_reads(tmp_path, data):
    """Any entry at all: either it comes back unchanged, or it is refused and the ledger stays as it was."""
    path = tmp_path / "ledger.csv"
    ledger.write(path, [SCORED])
    fields = dict.fromkeys(("file", "source", "members", "message", "ref", "class_counts"), ANY)
    fields |= dict.fromkeys(("cv_accuracy", "forecast", "public", "private"), ANY_NUMBER)
    fields |= {
        "rows_changed": st.none() | st.integers(),
        "status": ANY | st.just("complete"),
        "tag": ANY | st.just("t"),
    }
    chosen = data.draw(st.sets(st.sampled_from(sorted(fields)), max_size=4))
    entry = dataclasses.replace(ENTRY, **{name: data.draw(fields[name]) for name in sorted(chosen)})
    try:
        ledger.change(path, entry)
    except FerKitError:
        assert ledger.read(path) == [SCORED]
    else:
        assert ledger.read(path) == [SCORED, entry]


def test_a_text_that_spreadsheets_take_for_a_formula(tmp_path):
    path = tmp_path / "ledger.csv"
    entries = [
        dataclasses.replace(ENTRY, tag=f"fer-{number}", source=text, message=text, file=text)
        for number, text in enumerate(["=cmd|' /C calc'!A0", "+1+1", "-1", "@SUM(A1)", "\t=1", "'=1", "'quoted'"])
    ]
    ledger.write(path, entries)
    assert ledger.read(path) == entries
    with path.open(newline="") as file:
        cells = [cell for line in csv.reader(file) for cell in line]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in cells)


def test_a_score_that_is_no_number_is_refused_before_it_is_written(tmp_path):
    path = tmp_path / "ledger.csv"
    ledger.write(path, [ENTRY])
    with pytest.raises(FerKitError, match="public is 'nan'"):
        ledger.change(path, dataclasses.replace(SCORED, public=float("nan")))
    with pytest.raises(FerKitError, match="not UTF-8"):
        ledger.change(path, dataclasses.replace(SCORED, file="\udcff.csv"))
    assert ledger.read(path) == [ENTRY]


PRINTABLE = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(PRINTABLE, PRINTABLE, st.none() | st.floats(0, 1), st.none() | st.integers(0, 7178))
def test_any_words_and_numbers_come_back(tmp_path, file, message, score, changed):
    entry = dataclasses.replace(ENTRY, file=file, message=message, public=score, rows_changed=changed)
    ledger.write(tmp_path / "ledger.csv", [entry])
    assert ledger.read(tmp_path / "ledger.csv") == [entry]


BROKEN = {
    "header": ("utc,file,", "when,file,", "line 1: 'when,file,sha256"),
    "utc": ("2030-01-02T18", "2030-02-31T18", "line 2: utc is '2030-02-31T18:05:00Z', allowed is a time such as "),
    "sha256": ("ab" * 32, "ab" * 31, f"line 2: sha256 is '{'ab' * 31}', allowed is 64 hex digits;"),
    "accuracy": ("0.712345", "71%", "line 2: cv_accuracy is '71%', allowed is empty or a number;"),
    "nan": ("0.75,0.5", "nan,0.5", "line 3: public is 'nan', allowed is empty or a number;"),
    "status": ("complete", "done", "line 3: status is 'done', allowed is one of uploading, pending, complete, error, "),
    "tag": ("fer-00000001", "", "line 2: tag is '', allowed is the tag of the entry's description;"),
    "changed": (",0,some-slug", ",-1,some-slug", "line 3: rows_changed is '-1', allowed is empty or a whole number"),
    "short": (",some-slug\n", "\n", "line 2: 15 cells, allowed are 16;"),
    "blank": ("\n2030", "\n\n2030", "line 2: 0 cells, allowed are 16;"),
    "merge": ("\n2030", "\n<<<<<<< HEAD\n2030", "line 2: 1 cells, allowed are 16;"),
    "quote": ('""quoted""', '"quoted"', "line 2: not CSV ("),
    "twice": ("fer-00000002", "fer-00000001", "line 3: tag 'fer-00000001' occurs twice; "),
}


@pytest.mark.parametrize(("old", "new", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_line_is_named(tmp_path, old, new, message):
    path = tmp_path / "ledger.csv"
    ledger.write(path, [ENTRY, SCORED])
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(FerKitError, match="^" + re.escape(f"{path}, {message}")) as error:
        ledger.read(path)
    assert "\n" not in str(error.value)


def test_a_ledger_that_is_no_text(tmp_path):
    (tmp_path / "ledger.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(FerKitError, match="ledger.csv: cannot be read .*; restore "):
        ledger.read(tmp_path / "ledger.csv")


def test_changes_go_by_tag(tmp_path):
    path = tmp_path / "ledger.csv"
    for entry in (ENTRY, SCORED, dataclasses.replace(ENTRY, status="pending")):
        ledger.change(path, entry)
    assert [(entry.tag, entry.status) for entry in ledger.read(path)] == [
        ("fer-00000001", "pending"),
        ("fer-00000002", "complete"),
    ]
    ledger.remove(path, "fer-00000001")
    assert ledger.read(path) == [SCORED]


def hold(path, ready):
    with ledger.locked(path):
        ready.set()
        time.sleep(60)


@pytest.mark.slow
def test_a_lock_keeps_others_out_until_its_process_is_killed(tmp_path):
    path = tmp_path / "ledger.csv"
    with ledger.locked(path):
        pass  # and is free again
    processes = multiprocessing.get_context("spawn")
    ready = processes.Event()
    other = processes.Process(target=hold, args=(path, ready))
    other.start()
    try:
        assert ready.wait(30)
        with pytest.raises(FerKitError, match="another upload is under way and holds the ledger; try again when"):
            ledger.locked(path, patience_seconds=0.2).__enter__()
    finally:
        os.kill(other.pid, signal.SIGKILL)
        other.join()
    with ledger.locked(path, patience_seconds=5):
        assert not path.exists()


def write_lines(path, number):
    for line in range(10):
        with ledger.locked(path):
            ledger.change(path, dataclasses.replace(ENTRY, tag=f"fer-{number}-{line}"))


@pytest.mark.slow
def test_no_line_is_lost_between_processes(tmp_path):
    processes = multiprocessing.get_context("spawn")
    workers = [processes.Process(target=write_lines, args=(tmp_path / "ledger.csv", number)) for number in (1, 2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(ledger.read(tmp_path / "ledger.csv")) == 20


@pytest.mark.parametrize("separator", [",", ";"])
def test_a_ledger_saved_by_a_spreadsheet_program_is_read(tmp_path, separator):
    path = tmp_path / "ledger.csv"
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, delimiter=separator).writerows([COLUMNS, ledger.cells(ENTRY).values()])
    assert path.read_bytes().startswith(b"\xef\xbb\xbf") and b"\r\n" in path.read_bytes()
    assert ledger.read(path) == [ENTRY]
    ledger.write(path, ledger.read(path))
    assert not path.read_bytes().startswith(b"\xef") and ledger.read(path) == [ENTRY]
