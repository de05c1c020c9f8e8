"""blend.json is read, checked and written again to the byte, and what older versions left out is None."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fer_kit.errors import FerKitError
from fer_kit.runs import blend_record

TESTS = Path(__file__).resolve().parents[1]
FIRST = TESTS / "fixtures" / "first_version" / "runs" / "blends"
REAL = TESTS / "benchmarks" / "records" / "real_faces"
COMPLETE = [FIRST / "old/blend.json", FIRST / "old-twins/blend.json", REAL / "blend-tiny.json"]
COMPLETE += [REAL / "blend-tiny-twins.json"]
LEAST = {
    "members": [{"run": "a", "weight": None}],
    "oof_accuracy": 0.5,
    "fold_accuracies": [0.4, 0.6],
    "oof_sha256": "x",
    "test_sha256": "y",
}


@pytest.mark.parametrize("path", COMPLETE, ids=lambda path: path.parent.name + path.stem)
def test_what_was_read_is_written_to_the_byte(path, tmp_path):
    blend_record.write(tmp_path / "blend.json", blend_record.read(path))
    assert (tmp_path / "blend.json").read_bytes() == path.read_bytes()


def test_an_older_blend_lacks_forecasts_of_its_methods():
    record = blend_record.read(REAL / "blend-three.json")
    assert record.learned and record.asked == "auto"
    assert {method.forecast for method in record.methods} == {None}


def test_the_least_that_a_blend_must_say():
    record = blend_record.from_json(Path("blend.json"), LEAST)
    assert record.files == {"oof.npz": "x", "test.npz": "y"}
    assert (record.learned, record.method, record.members[0].sources, record.twins) == (None, None, (), None)


@pytest.mark.parametrize("key", ["members", "oof_accuracy", "fold_accuracies"])
def test_what_is_required(key):
    value = {name: one for name, one in LEAST.items() if name != key}
    with pytest.raises(FerKitError, match=f"^blend.json: '{key}' is missing or has the wrong type; make .* --force$"):
        blend_record.from_json(Path("blend.json"), value)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"members": [{"run": "a"}]}, "weight"),
        ({"members": [{"run": 1, "weight": 1.0}]}, "run"),
        ({"members": [{"run": "a", "weight": True}]}, "weight"),
        ({"members": [{"run": "a", "weight": 1.0, "sources": [{"kind": "run"}]}]}, "path"),
        ({"members": {"a": 1.0}}, "members"),
        ({"fold_accuracies": [0.5, "0.5"]}, "fold_accuracies"),
        ({"interval": 0.5}, "interval"),
        ({"learned": "yes"}, "learned"),
        ({"learned": True, "pool": "logmean", "tempered": True}, "asked"),
        ({"learned": True, "asked": "auto", "pool": "logmean", "tempered": True}, "sources"),
        ({"twins": {"mode": "near"}}, "blend"),
        ({"forecast": {"accuracy": None}}, "accuracy"),
        ({"full_fit": {"how": "instead", "sha256": {"a": 1}}}, "sha256"),
    ],
)
def test_values_of_the_wrong_type(changes, key):
    with pytest.raises(FerKitError, match=f"^blend.json: '{key}' is missing or has the wrong type; make"):
        blend_record.from_json(Path("blend.json"), json.loads(json.dumps(LEAST | changes)))


def test_no_object():
    with pytest.raises(FerKitError, match="^blend.json: not a JSON object"):
        blend_record.from_json(Path("blend.json"), [])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": 99}, "'schema' is 99, allowed is 1 to 2"),
        ({"method": "median"}, "'method' is 'median', allowed are single, mean, .*stack"),
        ({"pool": "median"}, "'pool' is 'median', allowed are mean, logmean"),
        ({"sharpness": 0.0}, "'sharpness' is 0.0, allowed are finite numbers above 0"),
        ({"members": []}, r"'members' is \[\], allowed is one"),
        ({"members": [{"run": "a", "weight": -1.0}]}, r"'members\[0\].weight' is -1.0, allowed .* from 0"),
        ({"members": [{"run": "a", "weight": float("nan")}]}, r"'members\[0\].weight' is nan"),
        ({"members": [{"run": "a", "weight": float("inf")}]}, r"'members\[0\].weight' is inf"),
        ({"members": [{"run": "a", "weight": 0.0}]}, r"'members.weight' is \[0.0\]"),
        ({"method": "mean"}, r"'members\[0\].weight' is None, allowed are numbers for method 'mean'"),
        *[
            ({"members": [{"run": "a", "weight": 1.0, "temperature": one}]}, r"'members\[0\].temperature' is .*1000")
            for one in (0, -1.0, float("nan"), float("inf"))
        ],
        (
            {"members": [{"run": "a", "weight": 1.0, "sources": [{"kind": "blend", "path": "blends/x"}]}]},
            r"'members\[0\].sources' is 'blends/x', allowed are other blends",
        ),
    ],
)
def test_values_out_of_range(changes, words):
    with pytest.raises(FerKitError, match=f"^runs/blends/x/blend.json: {words}.*; make this blend again with --force$"):
        blend_record.from_json(Path("runs/blends/x/blend.json"), LEAST | changes)


def test_a_stacked_blend_has_no_weights():
    assert blend_record.from_json(Path("blend.json"), LEAST | {"method": "stack"}).method == "stack"
