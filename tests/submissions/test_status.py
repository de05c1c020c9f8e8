"""The ledger brought up to date, shown and drawn."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_kit.runs import ledger
from submissions import gap_plot, status
from tests.helpers.fake_submissions import refused, run, save_entry
from tests.helpers.kaggle_standin import DROP

LEDGER = Path("submissions/ledger.csv")
PICTURE = Path("submissions/ledger.png")
SCORES = [(0.700, 0.745, 0.74), (0.710, 0.752, 0.76), (0.721, 0.750, None), (0.690, None, None)]


@pytest.fixture
def scored(here, kaggle_site, monkeypatch):
    """A ledger of three scored entries and a pending one, 0.7 to 0.72 in cross-validation; Kaggle is a stand-in."""
    kaggle_site.cli_environ(monkeypatch)
    (here / "x.csv").write_text("1\n")
    for number, (cv, public, private) in enumerate(SCORES, start=1):
        file = Path(f"submissions/2030-01-0{number}-blend.csv")
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"{number}\n")
        name = {
            "tag": f"fer-0000000{number}",
            "ref": f"5000000{number}",
            "message": ("a blend of many networks " * number).strip(),
        }
        score = {"cv_accuracy": cv, "public": public, "private": private}
        save_entry(LEDGER, file, **name, **score, status="complete" if public else "pending")
    return here


def listed(entry, **changes):
    """An entry as Kaggle lists it."""
    told = {"ref": 50000009, "fileName": "x.csv", "date": "2030-01-04T18:00:00Z", "description": f"{entry.tag} told"}
    return {**told, "status": "COMPLETE", "publicScore": "0.75123", "privateScore": "", **changes}


@pytest.mark.slow
def test_scores_that_arrived_since(scored, kaggle_site, capsys):
    [*_, pending] = ledger.read(LEDGER)
    found = save_entry(LEDGER, scored / "x.csv", tag="fer-00000005", ref="", status="uploading", public=None)
    lost = save_entry(LEDGER, scored / "x.csv", tag="fer-00000006", ref="", status="uploading", public=None)
    by_hand = listed(lost, ref=1, description="by hand")
    failed = listed(found, ref=50000008, status="ERROR", publicScore="")
    kaggle_site.submissions = [listed(pending, ref=50000004, description="changed by hand"), failed, by_hand]
    code, out, err = run(capsys, "status")
    assert (code, err) == (0, "")
    *before, pending, found, lost = ledger.read(LEDGER)
    assert (pending.status, pending.public, pending.private) == ("complete", 0.75123, None)
    assert (found.status, found.ref) == ("error", "50000008") and lost.status == "uploading"
    assert [entry.public for entry in before] == [public for _, public, _ in SCORES[:3]]
    assert out.splitlines()[:5] == [
        "new: 2030-01-04-blend.csv, entry 50000004, is complete",
        "new: x.csv, entry 50000008, is error",
        "note: the upload of ../x.csv began at 2030-01-01T18:00:00Z, but Kaggle has no such entry; upload it again",
        "note: Kaggle has 1 entry not made with 'python -m submissions upload', so not in the ledger",
        "#  uploaded (UTC)    file                      cv  forecast  public    gap  private    gap  changed  status "
        "    message",
    ]


def test_the_table_and_what_it_says(scored):
    known = ledger.read(LEDGER)
    known[0] = dataclasses.replace(known[0], forecast=0.741)
    rows = [line.split(None, 4)[4] for line in status.table(known)[2:]]
    assert rows[0] == "70.00%    74.10%  74.50%  +4.50   74.00%  +4.00        –  complete  a blend of many networks"
    cut = "a blend of many networks a blend of many networ…"
    assert rows[2] == f"72.10%         –  75.00%  +2.90        –      –        –  complete  {cut}"
    assert rows[3] == f"69.00%         –       –      –        –      –        –  pending   {cut}"
    assert status.gap_lines(known) == [
        "public − cv: +3.87 points on average (+2.90 to +4.50), 3 entries",
        "public − forecast: +0.40 points on average (+0.40 to +0.40), 1 entry",
        "standard error of a public score, which has 3,589 rows: 0.72 points",
        "cross-validation and public score agree on the better entry in 2 of 3 pairs",
    ]
    elsewhere = [dataclasses.replace(entry, competition="another") for entry in known]
    assert not any("3,589" in line for line in status.gap_lines(elsewhere))
    assert status.gap_lines(known[3:]) == []


@pytest.mark.slow
def test_the_picture(scored, capsys):
    code, out, _ = run(capsys, "status")  # Kaggle lists nothing: nothing is forgotten, and the picture is drawn
    assert code == 0 and out.endswith(f"wrote {PICTURE}\n")
    assert [entry.public for entry in ledger.read(LEDGER)] == [public for _, public, _ in SCORES]
    with Image.open(PICTURE) as picture:
        assert (picture.format, picture.size) == ("PNG", gap_plot.SIZE_PX)
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3).astype(int)
    for colour in (gap_plot._PUBLIC, gap_plot._PRIVATE, gap_plot._GREY):  # points and lines are there
        wanted = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
        assert (np.abs(pixels - wanted).max(axis=1) < 40).sum() > 60, colour


def test_two_scores_make_no_picture(scored, monkeypatch, capsys):
    monkeypatch.delenv("KAGGLE_KEY")
    ledger.remove(LEDGER, "fer-00000002")
    run(capsys, "status", "--plot", "gap.png")
    assert not Path("gap.png").exists() and not PICTURE.exists()


def test_without_credentials_the_ledger_is_shown(scored, kaggle_site, monkeypatch, capsys):
    monkeypatch.delenv("KAGGLE_KEY")
    before = LEDGER.read_bytes()
    code, out, err = run(capsys, "status", "--plot", "gap.png")
    assert code == 2 and "2030-01-04-blend.csv" in out and out.endswith("wrote gap.png\n")
    assert err.startswith(f"error: {LEDGER}: the ledger is shown without new scores, ")
    assert err.count("\n") == 1 and LEDGER.read_bytes() == before and not kaggle_site.requests


@pytest.mark.slow
def test_without_a_network_the_ledger_is_shown(scored, kaggle_site, capsys):
    kaggle_site.fail("ListSubmissions", DROP, times=9)
    code, out, err = run(capsys, "status")
    assert code == 2 and "2030-01-04-blend.csv" in out
    assert "without new scores, since the request to Kaggle failed: Kaggle cannot be reached" in err


def test_a_line_that_an_upload_adds_meanwhile_stays(scored, kaggle_site, capsys):
    kaggle_site.submissions = [listed(ledger.read(LEDGER)[3], ref=50000004)]  # news, so that the ledger is written
    answer = kaggle_site._list_submissions

    def meanwhile(sent):
        save_entry(LEDGER, scored / "x.csv", tag="fer-00000007")
        return answer(sent)

    kaggle_site._list_submissions = meanwhile
    assert run(capsys, "status")[0] == 0
    assert [entry.tag[-1] for entry in ledger.read(LEDGER)] == ["1", "2", "3", "4", "7"]


def test_no_ledger_and_a_broken_one(here, capsys):
    assert run(capsys, "status") == (
        0, "no entries in submissions/ledger.csv yet; make one with: python -m submissions upload FILE -m TEXT\n", ""
    )  # fmt: skip
    LEDGER.parent.mkdir()
    LEDGER.write_text(",".join(ledger.COLUMNS) + "\n1,2,3\n")
    refused(capsys, f"{LEDGER}, line 2: 3 cells, allowed are 16; ", "status")
