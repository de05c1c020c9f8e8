"""The report: what stands on the page, what becomes of missing and broken parts, and what is refused."""

from __future__ import annotations

import contextlib
import html
import io
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from fer_kit import metrics
from fer_kit.drawing import svg_charts
from fer_kit.drawing.svg_charts import Axis, Line
from fer_kit.evaluate import sources
from fer_kit.report import __main__ as report
from fer_kit.report.sections import blends
from fer_kit.runs import blend_record, folders
from tests.helpers import fake_runs, report_world
from tests.helpers.page import Page

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return report_world.make(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def written(made, tmp_path_factory):
    """What the command printed, the page, report.json and the names of the files beside, with all there is."""
    before = listing(made.runs)
    out = tmp_path_factory.mktemp("page") / "all.html"
    argv = ["--runs", str(made.runs), "--out", str(out), "--data", str(made.data), "--ledger", str(made.ledger)]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert report.main(argv) == 0
    assert listing(made.runs) == before, "the run folder is only read"
    return printed.getvalue(), out, json.loads((out.parent / "all-files" / "report.json").read_text())


@pytest.fixture
def world(made, tmp_path, monkeypatch):
    """A copy of the world to break; no data in reach but where it is named."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FER_KIT_DATA", raising=False)
    shutil.copytree(made.folder, tmp_path / "copy")
    here = tmp_path / "copy"
    return report_world.World(here, here / "runs", here / "data", here / "submissions/ledger.csv")


def run(capsys, world, *argv, data=True):
    """Exit code, stdout, stderr, the page and report.json."""
    out = world.folder / "page" / "all.html"
    faces = ["--data", str(world.data)] if data else ["--no-faces"]
    ledger = ["--ledger", str(world.ledger)]
    code = report.main(["--runs", str(world.runs), "--out", str(out), "--no-pictures", *ledger, *faces, *argv])
    found = [json.loads((out.parent / "all-files/report.json").read_text()), out.read_text()] if code == 0 else [{}, ""]
    return code, *capsys.readouterr(), found[1], found[0]


def listing(folder):
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()}


def plain(page):
    """The words of the page."""
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)))


@pytest.mark.slow
def test_the_whole_page(written):
    printed, out, told = written
    page = out.read_text()
    names = [one["name"] for one in told["sources"]]
    assert set(names) == {"strong", "middle", "weak", "blends/first"} and names[-1] == "weak"
    assert [one["accuracy"] for one in told["sources"]] == sorted(one["accuracy"] for one in told["sources"])[::-1]
    shown = re.findall(r'<th scope="row" data-value="([^"]+)"', page)
    assert shown[:4] == names  # the table comes sorted
    parsed = Page(re.sub("<script>.*?</script>", "", page, flags=re.DOTALL))
    assert not parsed.open
    assert all(address.startswith(("data:", "#")) for address in parsed.addresses)
    assert all(image["alt"] for image in parsed.images)
    assert all('aria-label="' in tag and 'role="img"' in tag for tag in re.findall('<svg class="chart[^>]*>', page))
    strong = next(one for one in told["sources"] if one["name"] == "strong")
    for fold, share in strong["fold_accuracies"].items():
        assert f"<title>fold {fold}: {share:.2%}</title>" in page  # a dot for each fold
    words = plain(page)
    for wanted in (
        "hirescam at layer 'stages'",
        "c0ffee123456",
        "NVIDIA H200",
        "public score",
        "Correlation of errors",
    ):
        assert wanted in words
    assert "&lt;best&gt; &amp; last" in page and "<best>" not in page
    assert strong["config_digest"][:12] in words or strong["config_digest"] in words
    assert f" --out {out} --data " in words  # the command that made it
    assert len(page) < 5_000_000 and f"wrote {out}" in printed


@pytest.mark.slow
def test_every_chart_is_a_file_of_its_own(written):
    _, out, told = written
    folder = out.parent / "all-files"
    there = {path.name for path in folder.iterdir()}
    for name in report_world.RUNS:
        parts = ("accuracy.svg", "loss.svg", "learning-rate.svg", "confusion.png", "reliability.png")
        assert {f"{name}-{part}" for part in parts} <= there
    best = {f"{one['name'].replace('/', '_')}-mistakes.png" for one in told["sources"][:3]}
    assert {name for name in there if name.endswith("mistakes.png")} == best
    assert {"ledger.svg", "accuracies.png"} <= there
    assert {"blends_first-weights.png", "blends_first-correlation.png"} <= there
    for path in folder.glob("*.svg"):
        drawn = ElementTree.parse(path).getroot()
        assert drawn.tag == "{http://www.w3.org/2000/svg}svg" and drawn.get("aria-label")


def test_only_the_best_show_faces_and_none_on_request(world, capsys):
    few = run(capsys, world, "--sheets", "1")[3]
    assert 0 < few.count('<ul class="faces">') <= 7 and "Its mistakes as faces: fer-kit evaluate" in few
    none = run(capsys, world, data=False)
    assert none[0] == 0 and "<img" not in none[3] and "Faces were left out on request." in none[3]
    assert not (world.folder / "page/all-files/strong-confusion.png").exists()  # --no-pictures


def test_without_data_the_page_says_why_there_are_no_faces(world, capsys):
    argv = ["--runs", str(world.runs), "--out", "page.html", "--ledger", "none.csv", "--no-pictures"]
    code = report.main(argv)
    out, page = capsys.readouterr().out, Path("page.html").read_text()
    assert code == 0 and "note: No faces: no competition files" in out and "No faces: no competition files" in page
    assert "No entries in none.csv yet; fer-kit submissions upload" in plain(page)


def test_broken_and_missing_parts_are_named_and_the_rest_stands(world, capsys):
    fake_runs.unfinish(world.runs, "middle", 0, 1, 2)  # an unfinished run: curves, and no line on the leaderboard
    (world.runs / "weak/fold1/oof.npz").write_bytes(b"not an archive")
    (world.runs / "strong/fold2/metrics.jsonl").write_text('{"epoch": 1, "lr": 0.1}\n{"epoch": 2, "lr"\n')
    (world.runs / "strong/fold1/env.json").write_text("[]")
    (world.runs / "blends/half").mkdir()
    shutil.copytree(world.runs / "blends/first", world.runs / "blends/broken")
    (world.runs / "blends/broken/blend.json").write_text("{")
    (world.runs / "explain/strong-fold0/classes.png").write_bytes(b"no picture")
    shutil.copytree(world.runs / "explain/strong-fold0", world.runs / "explain/strong-fold1")
    (world.runs / "explain/strong-fold1/explain.json").write_text("{")
    world.ledger.write_text("a,b\n1,2\n")
    fake_runs.save_run(world.runs, "<b>other", seed=9)  # other folds and data; a name to be escaped
    code, out, error, page, told = run(capsys, world)
    assert code == 0 and error == ""
    assert {one["name"] for one in told["sources"]} == {"strong", "blends/first"}
    why = told["left_out"]
    assert "middle: folds 0, 1, 2 not finished; finish with: python -m fer_kit.train" in why["middle"]
    assert "weak/fold1/oof.npz: changed since result.json was written" in why["weak"]
    assert why["blends/half"] == "not finished: blend.json is missing; blend it again"
    assert "blend.json: not a readable JSON file" in why["blends/broken"]
    assert why["<b>other"].startswith("made with other folds or other data")
    assert "&lt;b&gt;other" in page and "<b>other" not in page
    words = plain(page)
    assert "middle: accuracy over the epochs, 3 folds" in page  # its curves are there all the same
    assert "fold2: metrics.jsonl is damaged" in words and "fold1: env.json: not a JSON object" in words
    assert "the correlation of members cannot be computed" in words.lower()
    assert "strong-fold0/classes.png: no readable picture" in words
    for note in (
        r"ledger\.csv, line 1: .*utc,file",
        r"strong-fold1/explain\.json: not a readable JSON file",
    ):
        assert any(re.search(note, one) for one in told["notes"]) and re.search(note, words)
    assert "not in the table: middle" in out


def test_nothing_finished_yet(world, capsys):
    for name in ("middle", "weak", "blends"):
        shutil.rmtree(world.runs / name)
    fake_runs.unfinish(world.runs, "strong", 0, 1, 2)
    code, out, _, page, told = run(capsys, world)
    assert code == 0 and told["sources"] == [] and "no fold is finished yet" in out
    assert "No fold is finished yet, so there is nothing to rank." in page and "No blend yet" in page
    assert "strong: loss over the epochs" in page


def test_without_folds_csv_or_with_another_the_page_says_what_that_means(world, capsys):
    head, *lines = (world.runs / "folds.csv").read_text().splitlines()
    (world.runs / "folds.csv").unlink()
    assert any("folds.csv is not there, so the intervals" in note for note in run(capsys, world)[4]["notes"])
    (world.runs / "folds.csv").write_text("\n".join([head, *reversed(lines), ""]))
    assert any("put that file back. Until then the intervals" in note for note in run(capsys, world)[4]["notes"])


def test_correlation_is_that_of_the_blend_and_changed_members_are_named(world):
    (blend,) = sources.load(world.runs, ["first"])
    record = blend_record.read(world.runs / "blends/first/blend.json")
    found = blends.alike(world.runs, blend, record)
    members = [folders.load(world.runs, name).oof for name in found.names]
    answers = np.array([metrics.predicted(member.logits) for member in members])
    np.testing.assert_allclose(found.correlation, np.corrcoef(answers != members[0].labels), atol=1e-12)
    np.testing.assert_allclose(found.disagreement, metrics.disagreement(answers))
    shutil.rmtree(world.runs / "weak")
    assert re.search("cannot be computed: .*weak is gone", blends.alike(world.runs, blend, record))


def test_maps_older_than_the_fold_are_flagged(world, capsys):
    result = world.runs / "strong/fold0/result.json"
    newer = (world.runs / "explain/strong-fold0/explain.json").stat().st_mtime + 60
    os.utime(result, (newer, newer))
    words = plain(run(capsys, world)[3])
    assert "older than the fold's result; make them again with fer-kit explain strong --fold 0" in words


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--runs", "nowhere"], r"nowhere: no such folder; train a run first"),
        (["--runs", "."], r"\.: no run and no blend yet; train one with"),
        (["--sheets", "-1"], r"--sheets -1: give a number of 0 or more"),
        (["--out", "."], r"--out \.: is a folder; give the file to write, e\.g\. report\.html"),
        (["--data", "nowhere"], r"nowhere"),
    ],
)
def test_refusals(world, capsys, monkeypatch, argv, message):
    (world.folder / "empty").mkdir()
    monkeypatch.chdir(world.folder / "empty")
    assert report.main(["--runs", str(world.runs), "--out", "page.html", *argv]) == 2
    error = capsys.readouterr().err
    assert re.match(f"error: .*{message}", error) and error.count("\n") == 1
    assert not Path("page.html").exists()


def test_other_data_is_refused_where_it_was_asked_for(world, capsys):
    text = (world.data / "train.csv").read_text()
    (world.data / "train.csv").write_text(text.replace("\n0,", "\n1,", 1))
    code, _, error, _, _ = run(capsys, world)
    assert code == 2 and re.search(r"data: other data \(digest .*name the folder of that data with --data", error)


@pytest.mark.slow
def test_no_torch_for_a_page(world):
    out = str(world.folder / "page.html")
    argv = ["--runs", str(world.runs), "--out", out, "--data", str(world.data), "--no-pictures"]
    program = "import sys; from fer_kit.report import __main__ as report; "
    program += f"print(report.main({argv!r}), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "0 False", done.stderr


def test_a_chart_reads_out_the_mean_of_a_group():
    series = [Line("train", [(1, 0.2), (2, 0.4)]), Line("train", [(1, 0.4)]), Line("watched", [(2, 0.5)], "c2")]
    drawn = svg_charts.lines(series, Axis("epoch", 1, 2), Axis("accuracy", 0, 1, share=True), "a <chart>")
    assert "epoch 1: train 30.00%" in drawn and "epoch 2: train 40.00% · watched 50.00%" in drawn
    assert 'aria-label="a &lt;chart&gt;"' in drawn
    ElementTree.fromstring(svg_charts.alone(drawn))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (0.51, 0.63, [0.525, 0.55, 0.575, 0.6, 0.625]), (7, 7, [7])],
)
def test_ticks_are_round(low, high, expected):
    assert Axis("", low, high).ticks(5) == pytest.approx(expected)


def test_there_is_no_half_epoch():
    for last, expected in ((2, [1, 2]), (3, [1, 2, 3]), (14, [3, 6, 9, 12]), (40, [10, 20, 30, 40])):
        assert Axis("epoch", 1, last, whole=True).ticks(6) == expected


def test_folds_that_were_never_begun_count_as_not_finished(world, capsys):
    shutil.rmtree(world.runs / "weak/fold2")
    shutil.copytree(world.runs / "weak/fold1", world.runs / "weak/foldall")  # is no fold that a score is made of
    words = plain(run(capsys, world)[3])
    assert "8 of 9 folds finished" in words


def test_an_axis_holds_its_values_and_small_ones_are_readable():
    axis = svg_charts.axis_of("lr", [0.00025, 0.001], from_zero=True)
    assert axis.low == 0 and axis.high > 0.001 and axis.shown(0.00025) == "2.5e-4"
    assert svg_charts.axis_of("", []).high > 0
