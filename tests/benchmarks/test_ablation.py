"""The ablation harness: rounds, pairs, noise, and going on after a cut."""

from __future__ import annotations

import json
import statistics

import pytest
import torch

from fer_kit import models, revision
from fer_kit.config import recipes
from fer_kit.config.train_config import override
from fer_kit.models import cost
from fer_kit.models.networks.air import Air
from tests.benchmarks import ablation, ablation_table, start_networks

IDENTITY = {"folds_digest": "f", "data_digest": "d", "device": "a machine", "scored_rows": 100, "log_loss": 1.0}
ACCURACY = {
    ("base", 0): 0.50,
    ("base", 1): 0.52,
    ("sam", 0): 0.53,
    ("sam", 1): 0.53,
    ("clip", 0): 0.50,
    ("clip", 1): 0.5,
}
ASKED = ["--rows", "100", "--epochs", "4", "--seeds", "2", "--only", "sam", "clip"]


@pytest.fixture
def trained(monkeypatch):
    """The trainings asked for, in order; each takes a second (SAM two) and scores as the table above says."""
    calls = []

    def train(config, args, folder):
        row, seed = folder.name.rsplit("-seed", 1)
        assert config.seed == int(seed) and (config.limit_rows, config.epochs) == (100, 4)
        folder.mkdir(parents=True)
        calls.append((row, int(seed)))
        seconds = 2.0 if row == "sam" else 1.0
        return {**IDENTITY, "accuracy": ACCURACY[calls[-1]], "train_seconds": seconds, "config_digest": config.digest}

    monkeypatch.setattr(ablation, "train", train)
    return calls


def run(out, *words):
    return ablation.cli.run(ablation.build_parser, ablation.body, [*ASKED, "--out", str(out), *words])


def test_rounds_of_the_whole_table_pairs_by_seed_and_noise(trained, tmp_path, capsys):
    assert run(tmp_path / "a.json") == 0
    assert trained == [(row, seed) for seed in (0, 1) for row in ("base", "sam", "clip")]
    record = json.loads((tmp_path / "a.json").read_text())
    assert {"commit", "versions", "machine", "date", "base"} <= set(record) and record["device"] == "a machine"
    base, sam, clip = record["table"]
    assert base["difference"] == 0 and base["standard_error"] is None and sam["seeds"] == [0, 1]
    assert sam["difference"] == pytest.approx(0.02)  # of 3 and 1 points
    assert sam["standard_error"] == pytest.approx(statistics.stdev([0.03, 0.01]) / 2**0.5)
    assert clip["difference"] == pytest.approx(-0.01)
    pooled = (statistics.mean([statistics.variance([0.03, 0.01]), statistics.variance([0, -0.02])]) / 2) ** 0.5
    assert sam["pooled_error"] == clip["pooled_error"] == pytest.approx(pooled)
    assert sam["seconds_over_base"] == 2.0
    assert "| sam | sam_rho=0.05 | 53.00% | +2.00 | 1.00 | 1.00 | 2 | 2.00 |" in capsys.readouterr().out


def test_a_cut_off_run_goes_on_and_tells_of_whole_pairs(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ablation.time, "monotonic", lambda: 60.0 * len(trained))
    assert run(tmp_path / "a.json", "--minutes", "3.5") == 0
    assert "3.5 minutes are over; the same command goes on" in capsys.readouterr().out
    assert len(trained) == 4  # a round and the base of the next
    record = json.loads((tmp_path / "a.json").read_text())
    assert [row["seeds"] for row in record["table"]] == [[0, 1], [0], [0]]
    assert run(tmp_path / "a.json") == 0 and len(trained) == 6
    assert run(tmp_path / "a.json") == 0 and len(trained) == 6
    assert not (tmp_path / "a.work").exists()


@pytest.mark.slow
def test_trainings_side_by_side_fill_the_same_record(tmp_path, competition_dir, runs_dir, capfd):
    """Real trainings in processes of their own."""
    few = ["--recipe", "baseline_v1", "--rows", "64", "--epochs", "2", "--seeds", "1", "--only", "clip"]
    place = ["--data", str(competition_dir), "--runs", str(runs_dir), "--device", "cpu"]
    words = [*few, *place, "--out", str(tmp_path / "a.json")]
    assert ablation.cli.run(ablation.build_parser, ablation.body, [*words, "--at-once", "2"]) == 0
    told = capfd.readouterr().out
    assert "epoch" not in told and told.count("rows out of fold") == 2
    record = json.loads((tmp_path / "a.json").read_text())
    assert [(row["row"], row["seeds"]) for row in record["table"]] == [("base", [0]), ("clip", [0])]
    assert not (tmp_path / "a.work").exists()
    assert ablation.cli.run(ablation.build_parser, ablation.body, [*words, "--at-once", "0"]) == 2
    assert capfd.readouterr().err == "error: --at-once 0: no training would ever begin; give 1 or more\n"


def test_rows_left_out_the_next_time_stay_in_the_table(trained, tmp_path, capsys):
    assert run(tmp_path / "a.json") == 0
    few = [*ASKED[:4], "--seeds", "3", "--only", "sam", "--out", str(tmp_path / "a.json"), "--minutes", "0"]
    assert ablation.cli.run(ablation.build_parser, ablation.body, few) == 0
    assert trained[6:] == []
    assert "| clip | grad_clip_norm=1 | 50.00% | -1.00 |" in capsys.readouterr().out


def test_what_does_not_belong_together_is_refused(trained, tmp_path, monkeypatch, capsys):
    assert run(tmp_path / "a.json") == 0
    assert run(tmp_path / "a.json", "--epochs", "5") == 2
    assert "a.json: holds runs of another base (recipe, settings, rows or epochs)" in capsys.readouterr().err
    assert run(tmp_path / "a.json", "--set", "lr=0.1") == 2
    assert "a.json: holds runs of another base" in capsys.readouterr().err
    only_sma = [*ASKED[: ASKED.index("--only")], "--only", "sma", "--out", str(tmp_path / "b.json")]
    assert ablation.cli.run(ablation.build_parser, ablation.body, only_sma) == 2
    assert "--only sma: no such row (did you mean 'sam'?); there are: no-mixup, cutmix" in capsys.readouterr().err


def test_every_row_changes_the_base_and_only_what_it_names():
    base = override(recipes.get("residual"), ["epochs=8"])
    table = ablation_table.table_of(base)
    assert len(table) >= 15
    digests = {override(base, settings).digest for settings in table.values()}
    assert len(digests) == len(table) and base.digest not in digests
    of_study = ablation_table.table_of(recipes.get("deep_v1"))
    assert "drop-path" not in of_study and "vgg" not in of_study  # it has no residual branch, and comes in one width


@pytest.mark.slow
@pytest.mark.parametrize("name", ablation_table.EQUAL_WORK)
def test_networks_are_compared_at_about_equal_work(name):
    base = override(recipes.get(name), ["width_mult=0.5", "drop_path_prob=0"])  # which vgg has no branch for
    table = ablation_table.table_of(base)
    assert name not in table
    work = cost.measure(base).flops
    for other in ablation_table.EQUAL_WORK.keys() - {name}:
        config = override(base, table[other])
        assert config.model == other
        assert 0.66 < cost.measure(config).flops / work < 1.5, other


def test_a_base_at_a_quarter_of_its_width_still_meets_the_narrowest_network():
    quarter = override(recipes.get("residual"), ["width_mult=0.25"])
    assert ablation_table.table_of(quarter)["vgg"] == ("model=vgg", "width_mult=0.125")


def test_the_ideas_of_airbench_are_rows_of_air_at_about_equal_time():
    base = override(recipes.get("air"), ["epochs=12", "progressive_px=0"])
    table = ablation_table.table_of(base)
    ideas = (
        "growing-faces",
        "random-flip",
        "muon",
        "whitened",
        "identity",
        "fast-bias",
        "scaled-logits",
        "whole-start",
    )
    assert set(ideas) <= set(table) and "whitened" not in ablation_table.table_of(recipes.get("residual"))
    assert len({override(base, table[idea]).digest for idea in ideas} - {base.digest}) == len(ideas)
    for idea in ideas[-5:]:
        models.build(override(base, table[idea]))  # also takes a step on three faces


def test_networks_with_the_ideas_of_airbench_begin_as_described():
    whitened = start_networks.Whitened().features[0]
    assert not whitened.weight.requires_grad and whitened.bias.requires_grad
    directions = torch.tensor(start_networks.DIRECTIONS) / 2.0
    strengths = torch.randn(20_000, 4) * torch.tensor(start_networks.EIGENVALUES).sqrt()
    patches = whitened((strengths @ directions).reshape(-1, 1, 2, 2)).flatten(1)[:, :4]
    assert torch.allclose(patches.T.cov(), torch.eye(4), atol=0.05)
    features = start_networks.Identity().features
    first = [module for module in features if isinstance(module, torch.nn.Conv2d)][1]
    values = torch.randn(2, first.in_channels, 6, 6)
    assert torch.equal(first(values)[:, : first.in_channels], values)
    faces = torch.randn(4, 1, 48, 48)
    plain, scaled = Air().eval(), start_networks.ScaledLogits().eval()
    scaled.load_state_dict(plain.state_dict())
    assert torch.allclose(9 * scaled(faces), plain(faces), atol=1e-5)
    norm = start_networks.FastBiasNorm(3)
    with torch.no_grad():
        norm.bias.fill_(0.1)
    normal = norm(torch.randn(50, 3, 4, 4))
    assert normal.mean().item() == pytest.approx(1.0, abs=1e-4) and normal.std().item() == pytest.approx(1, abs=0.01)


def test_without_a_repository_a_record_says_what_it_can(monkeypatch):
    """Code that travelled to a machine without git must not lose its record after all the training."""

    def no_git(*_, **__):
        raise FileNotFoundError("git")

    monkeypatch.setattr(revision.subprocess, "run", no_git)
    monkeypatch.delenv("FER_KIT_COMMIT", raising=False)
    assert revision.commit(["*.py"]) == "unknown (git is not installed)"
    monkeypatch.setenv("FER_KIT_COMMIT", "abc")
    assert revision.commit(["*.py"]) == "abc"
