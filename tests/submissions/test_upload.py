"""Uploading, through the real client, to a stand-in for Kaggle."""

from __future__ import annotations

import datetime
import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.runs import ledger
from submissions import source_record, upload
from tests.helpers import fake_runs
from tests.helpers.fake_runs import TEST_ROWS
from tests.helpers.fake_submissions import refused, run, save_entry
from tests.helpers.kaggle_standin import Dropped, StandIn, error, reply_json

FILE = "submissions/2030-01-02-a.csv"
LEDGER = "submissions/ledger.csv"


def test_of_several_files_the_newest_and_by_the_name_of_the_blend(here, capsys):
    Path("submissions").mkdir()
    for number, day in enumerate(("01", "03", "02")):
        file = Path(f"submissions/2030-01-{day}-first.csv")
        file.write_text("3\n")
        os.utime(file, (number, number))
    files = sorted(map(str, Path("submissions").iterdir()))
    assert (
        source_record.find_written(files)
        == source_record.find_written(["first"])
        == Path("submissions/2030-01-02-first.csv")
    )
    assert "of 3 files" in capsys.readouterr().out
    assert source_record.find_written(files[:1]) == Path(files[0])
    assert capsys.readouterr().out == ""
    with pytest.raises(FerKitError, match=r"other: no such file, .*submissions build other"):
        source_record.find_written(["other"])


def test_check_takes_names_and_several_files_too(here, capsys):
    fake_runs.save_run(here / "runs", "a", seed=1)
    assert run(capsys, "build", "a")[0] == 0
    for words in (["a"], [FILE, FILE]):
        code, out, error = run(capsys, "check", *words)
        assert (code, error) == (0, "") and f"{FILE}: OK" in out


def test_a_missing_file_is_told_before_the_missing_terminal(here, capsys):
    refused(capsys, "nosuch: no such file, and no submissions/DATE-nosuch.csv", "upload", "nosuch", "-m", "x")


@pytest.fixture
def pauses(monkeypatch):
    """The pauses that uploading asked for; nobody waits for them."""
    noted = []
    monkeypatch.setattr(upload, "_sleep", noted.append)
    return noted


@pytest.fixture
def site(kaggle_site, here, capsys, monkeypatch, pauses):
    """A stand-in that this process' commands talk to, and a file built from run 'a'. No secret may reach a file."""
    kaggle_site.cli_environ(monkeypatch)
    fake_runs.save_run(here / "runs", "a", seed=1)
    assert run(capsys, "build", "a")[0] == 0
    yield kaggle_site
    kept = [path for path in here.rglob("*") if path.is_file() and kaggle_site.key.encode() in path.read_bytes()]
    assert not kept


def send(capsys, *options, file=FILE):
    code, out, err = run(capsys, "upload", file, "-m", "a first try", "--yes", *options)
    assert StandIn().key not in out + err
    return code, out, err


def not_sent(capsys, message, *options, file=FILE):
    code, _, err = send(capsys, *options, file=file)
    assert code == 2 and err.count("\n") == 1
    assert re.match("error: " + message, err), err


def let_time_pass(monkeypatch, minutes):
    later = ledger.now() + datetime.timedelta(minutes=minutes)
    monkeypatch.setattr(ledger, "now", lambda: later)


@pytest.mark.slow
def test_an_upload_and_its_line_in_the_ledger(site, here, capsys):
    site.limits = {"numToday": 1, "numTotal": 1, "numAllowedNow": 2}
    code, out, err = send(capsys, "--wait")
    assert (code, err) == (0, "")
    [entry] = ledger.read(here / LEDGER)
    accuracy = source_record.read(here / FILE, entry.sha256).accuracy
    [told] = site.submissions
    assert told["description"] == f"{entry.tag} a first try" and re.fullmatch("fer-[0-9a-f]{8}", entry.tag)
    assert site.uploads[told["ref"]] == (here / FILE).read_bytes()
    assert (entry.file, entry.sha256) == ("2030-01-02-a.csv", atomic.sha256_of(FILE))
    assert (entry.source, entry.members, entry.cv_accuracy) == ("run a", "a 1", pytest.approx(accuracy, abs=1e-6))
    assert (entry.ref, entry.status, entry.public, entry.private) == ("50000001", "complete", 0.71161, 0.70882)
    assert sum(map(int, entry.class_counts.split())) == TEST_ROWS and entry.rows_changed is None
    lines = out.splitlines()
    assert lines[0] == f"file      {FILE}: OK, 40 rows" and lines[1] == "source    run a"
    assert lines[-6:] == [
        "changed   unknown: the ledger has no previous entry, or its file is missing",
        f"message   {entry.tag} a first try",
        "entries   1 made today, 2 left",
        "uploaded  entry 50000001",
        "ledger    submissions/ledger.csv",
        "score     public 0.71161, private 0.70882",
    ]


def test_the_same_content_goes_out_once(site, here, capsys):
    save_entry(here / LEDGER, here / FILE)
    run(capsys, "build", "a", "--out", "copy.csv")
    for file in (FILE, "copy.csv"):
        message = f"{file}: uploaded already, at 2030-01-01T18:00:00Z as entry 49999999 \\(complete, public 0.5"
        not_sent(capsys, message, file=file)
    assert not site.requests


@pytest.mark.slow
def test_a_second_file_of_unknown_making(site, here, capsys):
    save_entry(here / LEDGER, here / FILE)
    lines = (here / FILE).read_text().splitlines()
    changed = ["3" if line != "3" else "4" for line in lines[:7]]
    (here / "b.csv").write_text("\n".join([*changed, *lines[7:], ""]))
    code, out, _ = send(capsys, "--any-source", file="b.csv")
    assert code == 0 and "changed   7 rows differ from the previous entry\n" in out
    assert "note: b.csv: its source is unknown" in out and "source    unknown\n" in out
    entry = ledger.read(here / LEDGER)[1]
    assert (entry.file, entry.rows_changed) == ("../b.csv", 7)
    assert (entry.source, entry.members, entry.cv_accuracy) == ("", "", None)


@pytest.mark.slow
def test_a_person_is_asked(site, here, capsys, monkeypatch):
    refused(
        capsys,
        "no terminal to ask for confirmation; to upload without asking, add --yes",
        "upload",
        FILE,
        "-m",
        "a first try",
    )
    for answer, code in (("", 130), ("y\n", 0)):
        terminal = io.StringIO(answer)
        terminal.isatty = lambda: True
        monkeypatch.setattr(sys, "stdin", terminal)
        assert not (here / LEDGER).exists()
        done, out, _ = run(capsys, "upload", FILE, "-m", "a first try")
        assert done == code and "Upload it to challenges-in-representation-learning" in out
        assert ("not uploaded\n" in out) == (code == 130)
    assert len(site.uploads) == 1


@pytest.mark.parametrize(("answer", "agreed"), [("y", 1), ("YES ", 1), ("", 0), ("n", 0), ("yeah", 0)])
def test_what_counts_as_a_yes(monkeypatch, answer, agreed):
    monkeypatch.setattr("builtins.input", lambda question: answer)
    assert upload._agreed("some-slug") == bool(agreed)


def test_no_entries_left(site, here, capsys, monkeypatch):
    site.limits = {"numToday": 5, "numTotal": 12, "numAllowedNow": 0}
    at = datetime.datetime(2030, 1, 2, 20, 30, 30, tzinfo=datetime.UTC)
    monkeypatch.setattr(ledger, "now", lambda: at)
    message = r"no entries are left today \(5 made today, 12 in all, none left\); .* 00:00 UTC, in 3 h"
    not_sent(capsys, message)
    assert not (here / LEDGER).exists() and not site.calls("StartSubmissionUpload")


@pytest.mark.slow
def test_nobody_who_never_entered_is_locked_out(site, capsys):
    """To somebody without an entry Kaggle says zero three times, and the client prints none of them."""
    site.fail("GetSubmissionLimits", reply_json({"numToday": 0, "numTotal": 0, "numAllowedNow": 0}))
    code, out, _ = send(capsys)
    assert code == 0 and re.search(r"\nentries   .*unknown", out)


REFUSED = {
    "upload refused": ("upload", error(400, "bad"), f"{FILE}: the upload failed, and nothing was submitted"),
    "rules": ("StartSubmissionUpload", error(403, "You must accept this competition's rules"), ".*rules are not accep"),
    "closed": ("CreateSubmission", error(400, "The competition has ended"), "the competition does not accept sub"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("method", "answer", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_refused_upload_leaves_the_ledger_as_it_was(site, here, capsys, method, answer, message):
    entry = save_entry(here / LEDGER, here / "runs/a/fold0/test.npz")
    site.fail(method, answer, times=20)
    not_sent(capsys, message)
    assert ledger.read(here / LEDGER) == [entry] and not site.submissions


@pytest.mark.slow
def test_a_lost_answer_with_the_entry_there(site, here, capsys):
    site.fail("CreateSubmission", Dropped(after=True))
    code, out, err = send(capsys)
    assert (code, err) == (0, "") and "note: the answer was lost, but Kaggle lists the entry tagged fer-" in out
    assert len(site.submissions) == 1 and ledger.read(here / LEDGER)[0].ref == "50000001"


@pytest.mark.slow
def test_a_lost_answer_without_an_entry_is_not_sent_again(site, here, capsys, pauses):
    site.fail("CreateSubmission", error(500, f"internal error, your key is {site.key}"))
    not_sent(capsys, f"{FILE}: may have been submitted, .*; Kaggle lists no entry with the tag fer-.*sent again:")
    assert pauses == [10] and ledger.read(here / LEDGER)[0].status == "uploading"
    assert len(site.calls("CreateSubmission")) == 1


def killed_while_uploading(site, before):
    """Run the upload in a process that is killed just before, or just after, it reaches Kaggle."""
    program = f"""
import os, signal
from fer_kit.kaggle import client
from submissions import __main__, check
check.COMPETITION_ROWS = {TEST_ROWS}
submit = client.Client.submit
def killed(*args):
    {"pass" if before else "submit(*args)"}
    os.kill(os.getpid(), signal.SIGKILL)
client.Client.submit = killed
__main__.main(["upload", {FILE!r}, "-m", "a first try", "--yes"])
"""
    environ = {**site.environ, "PYTHONPATH": str(Path(upload.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", program], env=environ, check=False)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_a_kill_before_the_upload(site, here, capsys, monkeypatch):
    killed_while_uploading(site, before=True)
    [entry] = ledger.read(here / LEDGER)
    assert entry.status == "uploading" and not site.submissions
    let_time_pass(monkeypatch, 9)
    not_sent(capsys, f"2030-01-02-a.csv: its upload began at {entry.utc} and may still arrive, though Kaggle")
    let_time_pass(monkeypatch, 2)
    assert send(capsys)[0] == 0
    [again] = ledger.read(here / LEDGER)
    assert (again.tag, again.ref, again.status) == (entry.tag, "50000001", "complete") and again.utc > entry.utc
    assert len(site.submissions) == 1


@pytest.mark.slow
def test_a_kill_after_the_upload(site, here, capsys):
    killed_while_uploading(site, before=False)
    code, out, _ = send(capsys)
    assert code == 0 and re.match(r"arrived   the upload of this file that began at \S+, as entry 50000001; not", out)
    assert [one.status for one in ledger.read(here / LEDGER)] == ["complete"] and len(site.submissions) == 1


@pytest.mark.slow
def test_pending_then_error(site, here, capsys, pauses):
    site.pending_polls, site.judge = 1, lambda content: {"status": "ERROR", "publicScore": "", "privateScore": ""}
    message = "2030-01-02-a.csv: Kaggle could not score entry 50000001; see why on https://www.kaggle.com/competitions/"
    not_sent(capsys, message, "--wait")
    assert pauses == [30] and ledger.read(here / LEDGER)[0].status == "error"
    not_sent(capsys, f"{FILE}: uploaded already, at ")


@pytest.mark.slow
def test_no_score_in_time(site, here, capsys, pauses):
    site.pending_polls = 9
    not_sent(capsys, "no score after 0.5 minutes; .* python -m submissions status", "--wait", "0.5")
    assert pauses == [30] and ledger.read(here / LEDGER)[0].status == "pending"


@pytest.mark.slow
def test_kaggle_cannot_be_asked_while_waiting(site, here, capsys, pauses, monkeypatch):
    site.pending_polls = 9
    gone = reply_json({"code": 403, "message": f"Forbidden to {site.key}"}, 403)
    monkeypatch.setattr(upload, "_sleep", lambda seconds: site.fail("ListSubmissions", gone, times=9))
    not_sent(capsys, "entry 50000001 is uploaded, but asking for its score failed: ", "--wait")
    assert ledger.read(here / LEDGER)[0].ref == "50000001"


@pytest.mark.slow
def test_uploaded_but_not_listed_yet(site, here, capsys):
    site.fail("ListSubmissions", error(403, f"Forbidden to {site.key}"), times=9)
    code, out, _ = send(capsys)
    assert code == 0 and "note: uploaded, but the list of entries could not be read (" in out
    [entry] = ledger.read(here / LEDGER)
    assert (entry.ref, entry.status) == ("", "pending") and f"uploaded  the entry tagged {entry.tag}\n" in out
    not_sent(capsys, f"{FILE}: uploaded already, at ")


def test_what_is_refused_before_kaggle_is_asked(site, here, capsys, monkeypatch):
    refused(capsys, "message '' has 0 characters; allowed are 1 to 300 on one line", "upload", FILE, "-m", " ")
    refused(capsys, "message 'a\\nb' has 3 characters; allowed are 1 to 300", "upload", FILE, "-m", "a\nb")
    for wrong in ("-1", "0", "nan", "soon"):
        told = run(capsys, "upload", FILE, "-m", "a", "--wait", wrong)[2]
        assert f"argument --wait: '{wrong}', allowed is a number of minutes above 0; see python -m" in told
    monkeypatch.setattr("submissions.check.COMPETITION_ROWS", 41)
    not_sent(capsys, f"{FILE}, line 40: the file ends after 40 rows, allowed are 41")
    (here / LEDGER).write_text("utc\n")
    monkeypatch.setattr("submissions.check.COMPETITION_ROWS", 40)
    not_sent(capsys, f"{LEDGER}, line 1: 'utc', allowed is 'utc,file,")
    assert not site.requests
