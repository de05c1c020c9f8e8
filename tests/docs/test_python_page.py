"""The code of docs/python.md runs, block after block, on a small drawn competition with short recipes."""

from __future__ import annotations

import dataclasses
import re
import sys

import pytest

from fer_kit.config import recipes
from fer_kit.synthetic import draw
from tests.docs.pages import ROOT

PAGE = ROOT / "docs/python.md"
BLOCK = re.compile(r"^```python(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHORT = {"epochs": 1, "limit_rows": 64, "batch_size": 32, "warmup_epochs": 0.5}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with data in ./data, and the recipes of the page shortened."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])
    monkeypatch.delenv("FER_KIT_DATA", raising=False)
    draw.write(tmp_path / "data", draw.draw(300, 40, seed=5), with_labels=False)
    short = dataclasses.replace(recipes.get("residual_tiny"), width_mult=0.125, **SHORT)
    for name, model in (("air", "residual"), ("vgg_medium", "vgg"), ("vgg_small", "vgg")):
        monkeypatch.setitem(recipes.RECIPES, name, dataclasses.replace(short, recipe=name, model=model))
    yield tmp_path
    sys.modules.pop("my_net", None)


@pytest.mark.slow
def test_every_block_runs(folder, capsys):
    blocks = BLOCK.findall(PAGE.read_text())
    assert len(blocks) >= 8
    names: dict[str, object] = {}
    for file, code in blocks:
        if file:
            (folder / file).write_text(code)
        else:
            exec(compile(code, f"{PAGE}", "exec"), names)
    assert names["probabilities"].shape == (40, 7)
    assert list(names["rows"].columns[:3]) == ["id", "label", "fold"] and len(names["rows"]) == 300
    assert names["trained"].config.model.startswith("my_net:MyNet@")


def test_the_first_block_has_ten_lines():
    code = BLOCK.findall(PAGE.read_text())[0][1]
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
