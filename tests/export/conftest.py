"""The run and blend of the first version, with weights in every fold."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import safetensors.torch

from tests.classify.conftest import FIRST_VERSION


@pytest.fixture(scope="session")
def old_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`residual-small`, its second seed, and their blend `old`; all folds have the weights of one."""
    runs = tmp_path_factory.mktemp("export") / "runs"
    shutil.copytree(FIRST_VERSION, runs)
    weights = safetensors.torch.load_file(runs / "residual-small/fold0/model.safetensors")
    weights = {name: value.clone() for name, value in weights.items()}  # of a file that is written again below
    for fold in runs.glob("residual*/fold*"):
        safetensors.torch.save_file(weights, fold / "model.safetensors")
    return runs
