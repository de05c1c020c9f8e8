"""Where a network looks: maps against networks whose answer is known, and the command on a small trained run."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from ensembles import blend
from fer_kit import models
from fer_kit.competition import CLASSES
from fer_kit.config import recipes
from fer_kit.config.networks import NETWORKS
from fer_kit.explain import __main__ as explain
from fer_kit.explain import maps as explain_maps
from fer_kit.explain import overlay, sheets
from fer_kit.folds import __main__ as folds_command
from fer_kit.runs import predictions
from fer_kit.train import __main__ as train
from tests.helpers import fake_runs

CORNER_PX = 12


class Planted(nn.Module):
    """Answers class 3 by the light in the top left corner of the map alone; every channel is the face itself."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Sequential(nn.Conv2d(1, 4, 1), nn.MaxPool2d(4))
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(4 * 12 * 12, 7))
        weights = torch.zeros(7, 4, 12, 12)
        weights[3, :, : CORNER_PX // 4, : CORNER_PX // 4] = 1.0
        with torch.no_grad():
            self.map[0].weight.fill_(1.0)
            self.map[0].bias.fill_(3.0)  # above every pixel's distance from the mean: activations are positive
            self.head[1].weight.copy_(weights.flatten(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.map(x))


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 48, 48)).astype(np.uint8)


def corner_share(maps: np.ndarray, columns: slice = slice(None, CORNER_PX + 4)) -> np.ndarray:
    """Share of the light in the top left corner, with half a field of blur around it."""
    return maps[:, : CORNER_PX + 4, columns].sum(axis=(1, 2)) / maps.sum(axis=(1, 2))


def test_a_planted_corner_detector_lights_up_that_corner(faces):
    net = Planted().eval()
    layer = explain_maps.choose_layer(net)
    assert layer == explain_maps.Layer("map", (12, 12))
    classes = np.full(len(faces), 3)
    maps = explain_maps.class_maps(net, layer, faces, classes)
    assert maps.shape == (5, 48, 48) and maps.dtype == np.float32
    assert (corner_share(maps) > 0.999).all()
    assert not explain_maps.class_maps(net, layer, faces, np.zeros(5, np.int64)).any()  # nothing speaks for Angry
    # the mean gradient forgets the place: this is why it is not the default
    assert (corner_share(explain_maps.class_maps(net, layer, faces, classes, method="gradcam")) < 0.3).all()


def test_views_are_turned_back(faces):
    net = Planted().eval()
    maps = explain_maps.class_maps(net, explain_maps.choose_layer(net), faces, np.full(5, 3), views="flip")
    left, right = corner_share(maps), corner_share(maps, slice(-CORNER_PX - 4, None))
    assert np.allclose(left + right, 1, atol=1e-3) and (left > 0.3).all() and (right > 0.3).all()
    mirrored = explain_maps.class_maps(
        net, explain_maps.choose_layer(net), faces[:, :, ::-1], np.full(5, 3), views="flip"
    )
    assert np.allclose(mirrored, maps[:, :, ::-1], atol=1e-5)


def test_both_methods_agree_behind_a_global_average(faces):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 8, 5, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 7)).eval()
    layer = explain_maps.choose_layer(net)
    assert layer.name == "1"
    one, other = (explain_maps.class_maps(net, layer, faces, np.arange(5), method=method) for method in explain.METHODS)
    assert one.any() and np.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_has_a_layer_that_is_still_a_map(name, faces):
    net = models.build(dataclasses.replace(recipes.get("residual"), model=name)).eval()
    layer = explain_maps.choose_layer(net)
    assert min(layer.side) >= explain_maps.SMALLEST_PX
    maps = explain_maps.class_maps(net, layer, faces[:2], np.array([0, 6]))
    assert maps.shape == (2, 48, 48) and np.isfinite(maps).all() and (maps >= 0).all()


def test_layers_are_those_before_place_is_lost():
    found = {
        name: explain_maps.choose_layer(models.build(recipes.get(name)))
        for name in ("baseline_v1", "residual", "attention")
    }
    assert {name: (layer.name, layer.side) for name, layer in found.items()} == {
        "baseline_v1": ("features", (12, 12)),
        "residual": ("features", (6, 6)),  # not the depthwise head
        "attention": ("stages", (6, 6)),
    }


def test_a_network_without_maps_is_refused():
    from fer_kit.errors import FerKitError

    with pytest.raises(FerKitError, match="Sequential: no layer gives a map of the face, so there is nothing to show"):
        explain_maps.choose_layer(nn.Sequential(nn.Flatten(), nn.Linear(48 * 48, 7)))


def test_attention_is_what_the_gates_say(faces):
    net = models.build(recipes.get("attention")).eval()
    with torch.no_grad():
        net.stages[0][-1].conv.weight.zero_()
        net.stages[0][-1].conv.bias.fill_(1.0)
        net.stages[1][-2].fc2.weight.zero_()
    assert explain_maps.has_attention(net) and not explain_maps.has_attention(models.build(recipes.get("residual")))
    stages = explain_maps.attention(net, faces)
    assert [stage.spatial.shape for stage in stages] == [(5, 24, 24), (5, 12, 12), (5, 6, 6)]
    assert [stage.channel.shape for stage in stages] == [(5, 32), (5, 64), (5, 128)]
    assert [stage.strongest.shape for stage in stages] == [(5, 24, 24), (5, 12, 12), (5, 6, 6)]
    assert np.allclose(stages[0].spatial, 1 / (1 + np.exp(-1)))
    assert np.allclose(stages[1].channel, 0.5)
    assert all((part > 0).all() and (part < 1).all() for stage in stages for part in (stage.spatial, stage.channel))


def test_light_falls_where_the_map_is(faces):
    maps = np.zeros((5, 6, 6))
    maps[:, 1, 4] = 2.0
    lit = overlay.lit(faces, maps).astype(int)
    change = np.abs(lit - np.rint(overlay.bare(faces) * 0.9)).sum(axis=-1)
    assert lit.shape == (5, 96, 96, 3)
    assert (change[:, 24, 72] > 50).all()  # the middle of field (1, 4)
    assert change[:, 48:].max() <= 3 and change[:, :, :48].max() <= 3
    light = overlay.shares(np.eye(48)[16:17].repeat(48, 0))
    assert sum(overlay.even_shares()[band] for band in overlay.BANDS) < 1
    assert light["brows and eyes"] == pytest.approx(15 / 48)


@pytest.fixture(scope="module")
def trained(competition_dir, tmp_path_factory):
    """Runs folder with fold 1 of `attention`, trained for a moment."""
    runs_dir = tmp_path_factory.mktemp("explained") / "runs"
    place = ["--data", str(competition_dir), "--runs", str(runs_dir)]
    assert folds_command.main([*place, "--folds", "3", "--method", "exact"]) == 0
    small = ["--set", "epochs=2", "limit_rows=96", "batch_size=16", "--tag", "t", "--device", "cpu"]
    assert train.main(["--recipe", "attention", *small, *place, "--fold", "1"]) == 0
    return runs_dir


def command(runs_dir, competition_dir, *more: str) -> list[str]:
    return ["attention-t", "--runs", str(runs_dir), "--data", str(competition_dir), "--fold", "1", *more]


@pytest.mark.slow
def test_the_command_writes_sheets_of_held_out_faces(trained, competition_dir, tmp_path, capsys):
    folder = trained / "attention-t" / "fold1"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    oof = predictions.read(folder / "oof.npz")
    row = str(oof.ids[7])
    more = ["--faces", "1", "--average", "2", "--rows", row, "--out", str(tmp_path)]
    assert explain.main(command(trained, competition_dir, *more)) == 0
    out = capsys.readouterr().out
    assert "attention-t fold 1: hirescam at layer 'stages', a map of 6×6" in out
    wanted = {"right.png", "wrong.png", "rows.png", "classes.png", "attention-spatial.png", "attention-channel.png"}
    assert wanted <= {path.name for path in tmp_path.iterdir()}
    for name in wanted:
        assert f"wrote {tmp_path / name}" in out
        with Image.open(tmp_path / name) as picture:
            assert picture.width > 200 and picture.height > 150
    about = json.loads((tmp_path / "explain.json").read_text())
    said = dict(zip(oof.ids.tolist(), oof.logits.argmax(axis=1).tolist(), strict=True))
    truth = dict(zip(oof.ids.tolist(), oof.labels.tolist(), strict=True))
    for sheet, right in (("right.png", True), ("wrong.png", False)):
        shown = [(name, row) for name, rows in about[sheet].items() for row in rows]
        assert shown
        for name, at in shown:
            assert CLASSES[truth[at]] == name and (said[at] == truth[at]) is right
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    (tmp_path / "mine.png").write_bytes(b"")
    again = command(trained, competition_dir, "--faces", "1", "--average", "2", "--out", str(tmp_path))
    assert explain.main([*again, "--layer", "nowhere"]) == 2 and (tmp_path / "rows.png").exists()
    assert explain.main([*again, "--method", "gradcam"]) == 0
    assert {path.name for path in tmp_path.iterdir()} >= (wanted - {"rows.png"}) | {"mine.png"}
    assert not (tmp_path / "rows.png").exists()  # it showed the maps of the other method


def written(trained, competition_dir, out, monkeypatch, said):
    """What `write` tells and draws, as (title, names of the lines), where the network had answered `said(labels)`."""
    subject = sheets.load(trained, "attention-t", 1, str(competition_dir))
    subject = dataclasses.replace(subject, predicted=said(subject.labels))
    drawn, sheet = [], overlay.sheet
    monkeypatch.setattr(
        overlay,
        "sheet",
        lambda rows, title: drawn.append((title, [one for one, _ in rows])) or sheet(rows, title),
    )
    return list(sheets.write(subject, out, sheets.ExplainOptions(faces=1, average=2))), drawn


@pytest.mark.slow
def test_classes_that_are_never_answered_right_are_named_and_the_others_shown(
    trained, competition_dir, tmp_path, monkeypatch
):
    def said(labels):
        return np.where(labels < 2, 6, labels)

    lines, drawn = written(trained, competition_dir, tmp_path, monkeypatch, said)
    right, wrong = drawn[:2]
    assert right == ("attention-t fold 1, correct predictions; none of Angry, Disgust", list(CLASSES[2:]))
    assert wrong[0].endswith("true class; none of Fear, Happy, Sad, Surprise, Neutral")
    assert wrong[1] == ["Angry", "Disgust"]
    assert f"wrote {tmp_path / 'attention-channels-by-class.png'}" in lines


@pytest.mark.slow
def test_without_one_right_answer_it_says_so(trained, competition_dir, tmp_path, monkeypatch):
    lines, _ = written(trained, competition_dir, tmp_path, monkeypatch, lambda labels: (labels + 1) % 7)
    assert "no right.png: there are no correct predictions" in lines and not (tmp_path / "right.png").exists()
    assert "no average maps: no held-out row is predicted correctly" in lines and (tmp_path / "wrong.png").exists()


def test_a_face_without_light_says_why(trained, competition_dir, monkeypatch):
    subject = sheets.load(trained, "attention-t", 1, str(competition_dir))
    maker = sheets.Maker(subject, explain_maps.choose_layer(subject.net), "hirescam")
    monkeypatch.setattr(
        maker, "maps", lambda rows, classes: np.eye(48)[None] * np.arange(1, -1, -1)[: len(rows), None, None]
    )
    wrong = int(np.flatnonzero(subject.predicted != subject.labels)[0])
    _, predicted, truth = (words.split("\n")[1] for _, words in maker.cells(wrong))
    assert (predicted, truth) == ("predicted class", "empty map")


@pytest.mark.parametrize(
    "more, told",
    [
        (["--rows", "999999"], "--rows 999999: not a held-out row of attention-t fold 1; allowed are"),
        (
            ["--layer", "stage"],
            "--layer stage: no layer of Attention of that name gives a map of the face (did you mean",
        ),
        (["--fold", "2"], "fold2 is not a finished fold; finished are: fold1"),
        (["--fold", "all"], "foldall is not a finished fold; finished are: fold1"),
        (["--rows", "1", "--rows", "2"], "argument --rows: given twice"),
        (["--faces", "0"], "--faces 0: give a number of 1 or more"),
    ],
)
def test_refusals(more, told, trained, competition_dir, tmp_path, capsys):
    assert explain.main(command(trained, competition_dir, *more, "--out", str(tmp_path / "out"))) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_unknown_run_is_refused(trained, capsys):
    assert explain.main(["atention", "--runs", str(trained)]) == 2
    told = f"{trained}: no run 'atention' (did you mean 'attention-t'?); there are: attention-t"
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("name", ["both", "blends/both"])
def test_a_blend_has_no_network(name, tmp_path, capsys):
    fake_runs.save_run(tmp_path, "one", seed=1)
    assert blend.main(["both", "--runs", str(tmp_path), "--method", "mean", "--no-pictures"]) == 0
    capsys.readouterr()
    assert explain.main([name, "--runs", str(tmp_path)]) == 2
    told = f"{tmp_path}: '{name}' is a blend and has no network of its own; name a run; there are: one"
    assert told in capsys.readouterr().err
