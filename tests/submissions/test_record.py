"""What build writes beside a submission file, and what upload refuses by it (no network: refused before)."""

from __future__ import annotations

import json
import shutil

import pytest

from ensembles import blend
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from submissions import source_record
from tests.helpers import fake_runs
from tests.helpers.fake_submissions import refused, run

FILE = "submissions/2030-01-02-a.csv"
PLAIN = ["--method", "mean", "--temperatures", "none", "--no-pictures"]


@pytest.fixture
def built(here, capsys):
    """The submission of run 'a'."""
    fake_runs.save_run(here / "runs", "a", seed=1)
    assert run(capsys, "build", "a")[0] == 0
    return here / FILE


def not_uploaded(capsys, message, *options):
    refused(capsys, message, "upload", FILE, "-m", "first", "--yes", *options)


def read(file):
    made_from = source_record.read(file, atomic.sha256_of(file))
    source_record.refuse_unfinished(file, made_from)
    return made_from


def test_the_record_of_a_run(here, built):
    made_from = read(built)
    assert (made_from.source, made_from.members) == ("run a", {"a": 1.0})
    assert str(made_from.folder) == "runs/a"
    assert made_from.text.startswith(f"{made_from.accuracy:.2%} out-of-fold on 90 rows ± ")
    assert made_from.sha256.keys() == {f"fold{fold}/{part}.npz" for fold in range(3) for part in ("oof", "test")}
    text = source_record.path_of(built).read_text()
    assert str(here) not in text  # can be published


def test_the_record_of_a_blend_and_of_a_fold(here, built, capsys):
    fake_runs.save_run(here / "runs", "b", seed=2)
    assert blend.main(["all", *PLAIN]) == 0
    run(capsys, "build", "all", "--out", "all.csv")
    made_from = read(here / "all.csv")
    assert (made_from.source, made_from.members) == ("blend all", {"a": 0.5, "b": 0.5})
    run(capsys, "build", "runs/a/fold1", "--out", "one.csv")
    assert read(here / "one.csv").source == "fold a-fold1"


def test_a_blend_without_weights_and_with_a_forecast(here, built, capsys):
    assert blend.main(["all", *PLAIN]) == 0
    path = here / "runs/blends/all/blend.json"
    told = json.loads(path.read_text())
    told["method"], told["members"][0]["weight"] = "stack", None  # a stack has no weights
    path.write_text(json.dumps({**told, "forecast": {"accuracy": 0.75}}))
    run(capsys, "build", "all", "--out", "all.csv")
    assert (read(here / "all.csv").members, read(here / "all.csv").forecast) == ({"a": None}, 0.75)
    assert read(here / "all.csv").forecast_record.accuracy == 0.75


def test_building_again_renews_the_record(built, capsys):
    source_record.path_of(built).unlink()
    assert "unchanged" in run(capsys, "build", "a")[1]
    assert read(built).source == "run a"


def test_a_file_of_unknown_making(built, capsys):
    source_record.path_of(built).unlink()
    not_uploaded(
        capsys,
        f"{FILE}: its source is unknown, because 2030-01-02-a.csv.source.json is missing; build the file with 'python "
        f"-m submissions build SOURCE --out {FILE}', or upload it nevertheless with --any-source\n",
    )


def test_a_file_changed_by_hand(built, capsys):
    lines = built.read_text().splitlines()
    lines[0] = f"{(int(lines[0]) + 1) % 7}"
    built.write_text("\n".join([*lines, ""]))
    not_uploaded(capsys, f"{FILE}: changed since it was built with 2030-01-02-a.csv.source.json")


def test_a_source_that_is_not_finished_any_more(here, built, capsys):
    fake_runs.unfinish(here / "runs", "a", 1)
    not_uploaded(capsys, f"{FILE}: its source is not finished: runs/a: fold 1 of 3 not finished")


def test_a_source_that_is_another_one_now(here, built, capsys):
    fake_runs.save_run(here / "runs", "a", seed=9)
    message = f"{FILE}: runs/a/fold0/oof.npz has changed since the file was built; build it again"
    not_uploaded(capsys, message)


def test_a_source_that_is_elsewhere_was_finished(here, built):
    shutil.rmtree(here / "runs")
    assert read(built).source == "run a"


def test_a_blend_whose_mark_is_gone(here, built, capsys):
    assert blend.main(["all", *PLAIN]) == 0
    run(capsys, "build", "all", "--out", FILE, "--force")
    (here / "runs/blends/all/blend.json").unlink()
    not_uploaded(capsys, f"{FILE}: its source runs/blends/all is not finished; finish it and build ")


def test_predictions_that_nothing_marks_as_finished(here, built, capsys):
    fake_runs.unfinish(here / "runs", "a", 1)
    run(capsys, "build", "runs/a/fold1/test.npz", "--out", FILE, "--force")
    not_uploaded(capsys, f"{FILE}: built from file a-fold1, which no result.json or blend.json marks as finished")


DAMAGE = {
    "not JSON": (lambda value: "{", "source.json: not a readable JSON file ("),
    "a list": (lambda value: "[]", "source.json: damaged (TypeError("),
    "no source": (lambda value: with_(value, source=None), "source.json: damaged (TypeError('None is no str')); build"),
    "no members": (lambda value: with_(value, members=None), "source.json: damaged (AttributeError("),
    "no accuracy": (lambda value: json.dumps({"schema": 1, **value["members"]}), "source.json: damaged (KeyError("),
    "odd weight": (lambda value: with_(value, members={"a": "all"}), "source.json: damaged (TypeError("),
    "newer": (lambda value: with_(value, schema=2), "source.json: schema 2, allowed is 1; "),
}


def with_(value, **changes):
    return json.dumps({**value, **changes})


@pytest.mark.parametrize(("spoil", "message"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_record(built, spoil, message):
    path = source_record.path_of(built)
    path.write_text(spoil(json.loads(path.read_text())))
    with pytest.raises(FerKitError) as error:
        read(built)
    assert message in str(error.value) and "\n" not in str(error.value)
