"""The space of a search: what a file can hold, and what is refused."""

from __future__ import annotations

import pytest

from fer_kit.errors import FerKitError
from fer_kit.sweep.search import space

YAML = """
lr: {low: 1e-4, high: 1e-2, log: true}
weight_decay: {low: 0, high: 0.1, step: 0.02}
batch_size: {low: 32, high: 128, step: 32}
optimizer: [adamw, nmuon]
decay_norms: [true, false]
label_smoothing: {choices: [0, 0.1]}
"""
TOML = """
lr = {low = 1e-4, high = 1e-2, log = true}
weight_decay = {low = 0, high = 0.1, step = 0.02}
batch_size = {low = 32, high = 128, step = 32}
optimizer = ["adamw", "nmuon"]
decay_norms = [true, false]
label_smoothing = {choices = [0, 0.1]}
"""


@pytest.mark.parametrize(("name", "text"), [("s.yaml", YAML), ("s.toml", TOML)])
def test_ranges_and_choices(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    found = space.read(tmp_path / name)
    assert found["lr"] == space.Dimension("lr", 1e-4, 1e-2, log=True)
    assert found["batch_size"].ends() == (32, 128) and type(found["batch_size"].ends()[0]) is int
    assert found["decay_norms"].choices == (True, False) and found["label_smoothing"].choices == (0.0, 0.1)
    assert space.from_record({key: one.to_json() for key, one in found.items()}, "again") == found
    assert found["lr"].rounded(0.00312345678) == 0.003123 and found["lr"].rounded(0.009999999) == 0.01
    assert found["weight_decay"].rounded(0.1 + 0.2 - 0.22) == 0.08
    pytest.importorskip("optuna")
    assert all(type(one.distribution()).__name__.endswith("Distribution") for one in found.values())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds NoneType"),
        ("{}", "holds no setting"),
        ("learning_rate: [1, 2]", "unknown setting 'learning_rate'.*'lr'"),
        ("epochs: [1, 2]", "epochs cannot be searched: .*--set epochs="),
        ("seed: [1, 2]", "seed cannot be searched"),
        ("lr: {low: 0.1, high: 0.01}", "lr: low 0.1 is not below high 0.01"),
        ("lr: {low: 0.1, high: 0.1}", "lr: low 0.1 is not below high 0.1; .*--set lr="),
        ("lr: {low: a, high: 0.1}", "lr: low = 'a' is not of type float"),
        ("lr: {low: 0.01}", "lr: high is missing"),
        ("lr: {low: 0.01, hight: 1}", "lr: unknown key 'hight'; allowed are low, high"),
        ("lr: {low: 0.0, high: 1, log: true}", "lr: low 0 with log: true"),
        ("lr: {low: 0.1, high: 1, log: maybe}", "lr: log = 'maybe'"),
        ("lr: {low: 0.1, high: 1, step: 2}", "lr: step 2: .*at most 0.9"),
        ("lr: {low: 0.1, high: 1, log: true, step: 0.1}", "log: true takes no step"),
        ("lr: {low: 0.1, high: 1000}", "lr: high: lr=1000.0 is out of range; give a float from 0.0 to 100.0"),
        ("lr: 0.1", "lr = 0.1: give a list of two or more choices"),
        ("lr: [0.1]", r"lr = \[0.1\]: give a list of two or more"),
        ("lr: [0.1, 0.1]", "given twice"),
        ("lr: [0.1, fast]", "lr = 'fast' is not of type float"),
        ("lr: {choices: [0.1, 1], low: 1}", "choices with low"),
        ("batch_size: {low: 32.5, high: 64}", "batch_size: low = 32.5 is not of type int"),
        ("batch_size: {low: true, high: 64}", "batch_size: low = True is not of type int"),
        ("optimizer: {low: 1, high: 2}", r"optimizer: is one of adam.* no range; .*\[adam, adamw\]"),
        ("optimizer: [adamw, adan]", "optimizer='adan' is not one of adam"),
        ("decay_norms: [true, 1]", "decay_norms = 1 is not of type bool"),
        ("lr: {low: .nan, high: 1}", "lr"),
        ("lr: {low: 0.1, high: .inf}", "lr: high: lr=inf is out of range"),
        ("lr: [[1], [2]]", r"lr = \[1\] is not of type float"),
        ("1: [2, 3]", "unknown setting '1'"),
    ],
)
def test_what_is_refused_in_one_line(text, words, tmp_path):
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(FerKitError, match=words) as caught:
        space.read(tmp_path / "s.yaml")
    assert "\n" not in str(caught.value) and str(caught.value).startswith("--search ")


def test_a_setting_that_is_searched_and_fixed(tmp_path):
    found = space.from_record({"lr": [0.1, 0.2]}, "--search s.yaml")
    with pytest.raises(FerKitError, match="--set lr=3: --search s.yaml searches lr, too"):
        space.refuse_fixed(found, ["epochs=3", "lr=3"], "--search s.yaml")
