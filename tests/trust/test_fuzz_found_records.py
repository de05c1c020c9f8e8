"""Each fault that broken and hostile files have brought to light, by itself: JSON, records and tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ensembles.fit import methods
from fer_kit.config import recipes, train_config
from fer_kit.errors import MOST_CHARACTERS, FerKitError
from fer_kit.files import atomic
from fer_kit.folds import table as fold_files
from fer_kit.runs import folders, ledger
from kernels import push_log
from kernels.inside import manifest
from submissions import source_record as submission_record
from submissions import sources
from tests.fuzz.records import PARTS, PUSH, _blend, _blend_record, _ledger
from tests.helpers import fake_runs
from tests.helpers.small_competition import refusal


def put(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# --- errors and JSON -------------------------------------------------------------------------------------------------


def test_no_file_can_break_the_one_line_of_an_error():
    assert str(FerKitError("a\nb\r\n\tc \x1b[2J \ud800 é × –")) == "a b c \\x1b[2J \\ud800 é × –"
    for text in ("x" * 10**6, "\ud800" * 3_900):  # the second grows when it is spelt out
        assert len(str(FerKitError(text))) <= MOST_CHARACTERS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": NaN}', "NaN is not a finite number"),
        ("[1e999]", "1e999 is not a finite number"),
        ('{"a": 1, "b": 2, "a": 3}', "duplicate key 'a'"),
        ("[" * 150 + "]" * 150, "nested deeper than 100"),
        ("[" * 100_000, "recursion"),
        ('{"\\ud800": 1}', "surrogates not allowed"),
        ("9" * 5000, "Exceeds the limit"),
        (" " * (9 << 20) + "1", "larger than 8,388,608 bytes"),
    ],
)
def test_json_that_standards_leave_open_is_refused(tmp_path, text, message):
    assert message in refusal(atomic.read_json, put(tmp_path / "x.json", text))


def test_a_number_too_large_for_a_float_in_a_config():
    record = recipes.get("residual").to_json() | {"epochs": 10**400}
    assert "epochs=1000" in refusal(train_config.from_json, record, "config.json")


# --- records ---------------------------------------------------------------------------------------------------------


def test_a_manifest_that_would_steer_a_terminal_or_a_path(tmp_path):
    from dataclasses import asdict

    for key, value in (("device", "\x1b[2J"), ("run", "../x"), ("asked", [10**9]), ("written", "x" * 300)):
        put(tmp_path / manifest.NAME, json.dumps({"schema": 1, **asdict(PARTS[0]), key: value}))
        assert f"'{key}' is " in refusal(manifest.read, tmp_path)


@pytest.mark.parametrize(
    "change", [{"utc": "soon"}, {"run_id": []}, {"folds": ["a"]}, {"version": "1"}, {"url": "\x1b"}]
)
def test_a_record_of_pushes_with_values_of_another_kind(tmp_path, change):
    put(tmp_path / push_log.FILE, json.dumps({"schema": 1, "pushes": [{**PUSH, **change}]}))
    assert "not a log of pushes" in refusal(push_log.read, tmp_path)


def test_a_run_that_claims_a_million_million_folds(tmp_path):
    fake_runs.save_run(tmp_path, "a", seed=1)
    for fold in range(3):
        path = tmp_path / f"a/fold{fold}/result.json"
        put(path, json.dumps(atomic.read_json(path) | {"folds": 10**12}))
    assert "says 1000000000000 folds, allowed are 1 to 10,000" in refusal(folders.status, tmp_path, "a")


def test_an_env_json_that_is_no_object(tmp_path):
    fake_runs.save_run(tmp_path, "a", seed=1)
    fake_runs.unfinish(tmp_path, "a", 1)
    put(tmp_path / "a/fold1/env.json", "[1]")
    assert "fold 1 of 3 not finished" in refusal(folders.load, tmp_path, "a")


@pytest.mark.parametrize(
    "change",
    [
        {"members": 3},
        {"members": [{}]},
        {"fold_accuracies": None},
        {"twins": {"mode": 1}},
        {"forecast": [1]},
        {"pool": 1},
        {"members": [{"run": "a", "sources": []}]},
    ],
)
def test_a_blend_json_with_parts_of_another_kind(tmp_path, change):
    _blend(tmp_path)
    place = tmp_path / "blends/x"
    put(place / "blend.json", json.dumps({**atomic.read_json(place / "result.json"), **_blend_record(), **change}))
    assert "is missing or has the wrong type; make this blend again" in refusal(sources.resolve, tmp_path, "x")


def test_a_given_weight_too_large_for_a_float(tmp_path):
    path = put(tmp_path / "w.json", '{"a": 1' + "0" * 400 + "}")
    assert "allowed are numbers from 0 to 1" in refusal(methods.read, path, ["a"])


def test_the_source_of_a_submission_with_a_folder_that_no_system_has(tmp_path):
    record = {"schema": 1, "sha256": "x", "source": "", "kind": "run", "folder": "a\0b", "accuracy": None}
    record |= {"accuracy_text": "", "members": {}, "predictions": {}}
    put(tmp_path / "s.csv.source.json", json.dumps(record))
    assert "damaged (" in refusal(submission_record.read, tmp_path / "s.csv", "x")


def test_a_ledger_of_the_last_day_of_all(tmp_path):
    text = _ledger().replace(b"2030-01-02T03:04:05Z", b"9999-12-31T23:59:59Z")
    assert "utc is '9999-12-31T23:59:59Z', allowed is a time" in refusal(ledger.read, put(tmp_path / "l.csv", text))


@pytest.mark.slow
def test_a_long_ledger_is_read_in_no_time_and_an_endless_one_not(tmp_path):
    head, line, *_ = _ledger().decode().splitlines()
    lines = [line.replace("fer-00000001", f"fer-{number}") for number in range(30_000)]
    assert len(ledger.read(put(tmp_path / "l.csv", "\n".join([head, *lines])))) == 30_000
    assert "larger than" in refusal(ledger.read, put(tmp_path / "l.csv", bytes(17 << 20)))


def test_folds_with_line_ends_of_other_kinds(tmp_path):
    table = fake_runs.TABLE.decode()
    assert fold_files.read(put(tmp_path / "folds.csv", table.replace("\n", "\r\n"))).count == 3
    for end in ("\x0b", "\x1c", "\u2028", "\r"):
        assert "line 2" in refusal(
            fold_files.read, put(tmp_path / "folds.csv", table.replace("\n0,", f"\n0,0,0,0{end}0,", 1))
        )
