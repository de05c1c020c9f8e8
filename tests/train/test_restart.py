"""`--restart` throws an unfinished run away, but not before the new one has all that it needs."""

from __future__ import annotations

import pytest
import torch

from fer_kit.train import __main__ as train
from tests.helpers.trained import FILES, products


@pytest.mark.slow
@pytest.mark.parametrize(
    ("slip", "message"),
    [
        (["--data", "nowhere"], "nowhere"),
        (["--weights", "none.pth"], "--weights none.pth: no such file or folder"),
        (["--augment", "v3", "--data", "nowhere"], "nowhere"),
        (["--device", "cuda:7"], "--device cuda:7: this machine has cpu"),
    ],
)
def test_a_slip_beside_restart_throws_nothing_away(command, runs_dir, monkeypatch, capsys, slip, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert train.main([*command, "--limit-minutes", "0.0001"]) == 0
    folder = runs_dir / "deep_v3-t" / "fold1"
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert train.main([*command, *slip, "--restart"]) == 2
    assert message in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == kept


@pytest.mark.slow
def test_restart_begins_anew(command, runs_dir, uninterrupted):
    assert train.main([*command, "--limit-minutes", "0.0001"]) == 0
    folder = runs_dir / "deep_v3-t" / "fold1"
    (folder / "other.txt").write_text("of the run that is thrown away")
    assert train.main([*command, "--restart"]) == 0
    assert {path.name for path in folder.iterdir()} == FILES and products(folder) == uninterrupted
