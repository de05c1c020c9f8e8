"""The suite of benchmarks works at a tiny size, says what it compares, and starting up stays cheap."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time

import pytest
import torch

from tests.benchmarks import __main__ as suite
from tests.benchmarks import bench_training, loaders, topic_startup, topic_training, topics
from tests.benchmarks.rows import CPU_SECONDS, QUICK, RATE, SECONDS, Found, Plan, Row, ratio, table

GENEROUS_SECONDS = 3.0  # 0.15 on a machine that does nothing else


def test_seconds_and_rates_are_set_beside_their_limits():
    slow = Row("a", 2.0, SECONDS, "them", 5.0, 2.5, "physics", 0.5, 12.3)
    fast = Row("b", 300.0, RATE, "others", 100.0, 3.0, "physics", 1000.0)
    alone = Row("c", 120.0, CPU_SECONDS)
    assert (slow.of_limit, fast.of_limit, alone.of_limit) == (0.25, 0.3, None)
    lines = table([slow, fast, alone])
    assert lines[0].split() == ["what", "ours", "other", "ratio", "limit", "of", "limit", "peak"]
    assert lines[2].split() == ["a", "2.00", "s", "5.00", "s", "[1]", "2.50×", "0.500", "s", "[2]", "25%", "12", "MB"]
    assert lines[3].split() == ["b", "300", "/s", "100", "/s", "[3]", "3.00×", "1,000", "/s", "[2]", "30%", "–"]
    assert lines[4].split() == ["c", "120", "s", "cpu", "–", "–", "–", "–", "–"]
    assert lines[5:] == ["[1] them", "[2] physics", "[3] others"]


def test_ratios_are_taken_within_rounds():
    assert ratio([2.0, 20.0, 6.0], [1.0, 10.0, 2.0]) == 2.0


@pytest.fixture
def tiny(monkeypatch):
    """One round of few rows, in this process: the imports of a process for each topic would cost more than all else."""
    monkeypatch.setattr(topics, "measured", in_this_process)


def in_this_process(topic: str, plan: Plan) -> dict[str, object]:
    assert topic == "training"
    return topic_training.measure(plan).to_json()


@pytest.mark.slow
def test_one_table_and_one_record(tmp_path, tiny, monkeypatch, capsys):
    monkeypatch.setitem(QUICK, "recipe", "baseline_v1")
    monkeypatch.setattr(topic_training, "WORKERS", 0)
    monkeypatch.setattr(loaders, "has_lightning", lambda: False)
    words = ["--quick", "--only", "training", "--device", "cpu", "--record", str(tmp_path / "r.json"), "--note", "x"]
    assert suite.cli.run(suite.build_parser, suite.body, words) == 0
    shown = capsys.readouterr().out
    assert "training baseline_v1, cpu" in shown and "left out: Lightning's Trainer: lightning is not installed" in shown
    record = json.loads((tmp_path / "r.json").read_text())
    assert {"versions", "machine", "system"} <= set(record)
    training = record["topics"]["training"]
    assert {"commit", "date", "load_average", "threads"} <= set(training)
    assert training["note"] == "x" and "data" not in training["plan"] and "device" in training["details"]
    assert [row["ratio"] for row in training["rows"]] == [
        training["details"][f"loop_over_{other}"] for other in ("bare", "plain", "timm")
    ]
    assert all(row["of_limit"] > 0 for row in training["rows"])


def test_a_part_is_added_to_a_record_of_the_same_machine_alone(tmp_path, monkeypatch, capsys):
    line = Row("start", 1.0, SECONDS)
    monkeypatch.setattr(
        topics, "measured", lambda topic, plan: Found([dataclasses.replace(line, what=topic)]).to_json()
    )
    words = ["--quick", "--record", str(tmp_path / "r.json"), "--only"]
    assert suite.cli.run(suite.build_parser, suite.body, [*words, "folds"]) == 0
    assert suite.cli.run(suite.build_parser, suite.body, [*words, "startup"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [text.split()[0] for text in shown if text.endswith("–")] == ["folds", "startup", "folds"]
    record = json.loads((tmp_path / "r.json").read_text())
    (tmp_path / "r.json").write_text(json.dumps({**record, "machine": {"cpu": "abacus"}}))
    assert suite.cli.run(suite.build_parser, suite.body, [*words, "startup"]) == 2
    assert "r.json: holds other machine ({'cpu': 'abacus'}) than here; give another --record" in capsys.readouterr().err


def test_what_was_measured_stays_when_a_later_part_fails(tmp_path, monkeypatch):
    def measured(topic, plan):
        if topic == "startup":
            return Found([Row("start", 1.0, SECONDS)]).to_json()
        raise KeyboardInterrupt

    monkeypatch.setattr(topics, "measured", measured)
    words = ["--quick", "--record", str(tmp_path / "r.json"), "--only", "startup", "folds"]
    assert suite.cli.run(suite.build_parser, suite.body, words) == 130
    assert list(json.loads((tmp_path / "r.json").read_text())["topics"]) == ["startup"]


def test_lightning_trains_the_same_network(monkeypatch):
    pytest.importorskip("lightning")
    run = bench_training.arms("baseline_v1", 64, torch.device("cpu"), 0)
    assert run["lightning"]() > 0 and run["trainer"]() > 0


def test_what_cannot_be_measured_is_refused(tmp_path, capsys):
    assert suite.cli.run(suite.build_parser, suite.body, ["--data", str(tmp_path), "--only", "reading"]) == 2
    assert f"--data {tmp_path}: torchvision needs a plain train.csv here" in capsys.readouterr().err


@pytest.mark.slow
def test_a_topic_of_its_own_process():
    found = topics.measured("folds", Plan("", **QUICK))
    assert found["rows"][0]["what"] == "folds with twins, 400 images" and found["rows"][0]["ours"] > 0
    stages = found["details"]["runs"][0]["stages"]
    assert {"describe", "candidates", "align", "deal"} <= set(stages)


def test_importing_fer_kit_and_asking_for_help_cost_little():
    spent = []
    for _ in range(3):
        began = time.perf_counter()
        loaded = "import sys, fer_kit; print(*[name for name in sys.modules if name in ('torch', 'numpy')])"
        done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
        spent.append(time.perf_counter() - began)
        assert not done.stdout.split()
    assert min(spent) < GENEROUS_SECONDS
    assert topic_startup.heavy("fer_kit.train") == []
    assert "fer_kit.train" in topic_startup.modules() and "kernels" in topic_startup.modules()
