"""Two evenings on Kaggle: push, train there, go on in a second kernel, fetch, blend, build the submission.

The unmodified kaggle program talks to the stand-in, which runs each pushed script in a clean `python -I`.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from ensembles import blend
from fer_kit.files import atomic
from fer_kit.folds import __main__ as folds_command
from fer_kit.folds import deal
from fer_kit.runs import finished_folder, folders
from fer_kit.train import __main__ as train
from kernels import __main__ as commands
from kernels import push, push_log
from kernels.inside import archive, manifest
from submissions.__main__ import main as submissions
from tests.helpers.kaggle_fixture import Site
from tests.helpers.kaggle_standin import KernelVersion
from tests.helpers.pushed_kernels import RUN, SLUG, SMALL, constants, files_of, mount, run_script


@pytest.fixture
def evening(kaggle_site: Site, competition_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A folder with two local folds, and a Kaggle that runs what is pushed, mounting in another layout each time."""
    monkeypatch.chdir(tmp_path)
    kaggle_site.cli_environ(monkeypatch)
    monkeypatch.setattr(push, "_sleep", kaggle_site.sleeps.append)
    assert folds_command.main(["--data", str(competition_dir), "--folds", "2", "--method", "exact"]) == 0
    kaggle_site.ran = []  # type: ignore[attr-defined]

    def on_push(version: KernelVersion) -> None:
        number = len(kaggle_site.ran) + 1  # type: ignore[attr-defined]
        inputs = tmp_path / f"kaggle{number}" / "input"
        mount(inputs, SLUG if number % 2 else f"competitions/{SLUG}", competition_dir)
        for source in version.request.get("kernelDataSources", []):
            earlier = kaggle_site.kernels[source][-1].files
            mount(inputs, f"notebooks/{source}" if number % 2 else source.split("/")[1], earlier)
        before = files_of(inputs)
        kaggle_site.ran.append(run_script(version, tmp_path / f"kaggle{number}", inputs))  # type: ignore[attr-defined]
        assert files_of(inputs) == before

    kaggle_site.on_push = on_push
    return kaggle_site


def ran(site: Site, number: int) -> subprocess.CompletedProcess[str]:
    return site.ran[number - 1]  # type: ignore[attr-defined]


def interrupt(version: KernelVersion, competition: Path, folder: Path) -> None:
    """Let the output of a version hold fold 1 too, stopped by its time limit after an epoch."""
    folder.mkdir()
    for name, content in version.files.items():
        (folder / name).write_bytes(content)
    told = manifest.read(folder)
    archive.unpack(manifest.check_archive(folder, told), folder / "runs", RUN)
    short = ["--fold", "1", "--limit-minutes", "0.0001", "--data", str(competition), "--runs", str(folder / "runs")]
    assert train.main([*SMALL[: SMALL.index("--accelerator")], *short]) == 0
    archive.pack(folder / "runs", RUN, folder / told.archive)
    fields = {name: getattr(told, name) for name in ("run_id", "bundle_sha256", "commit", "run", "device", "written")}
    folds_of = {"asked": (0, 1), "finished": (0,), "stopped": (1,), "failed": ()}
    manifest.write(folder, manifest.of(folder / told.archive, final=True, **fields, **folds_of))
    version.files = {name: (folder / name).read_bytes() for name in version.files}


@pytest.mark.slow
def test_from_push_to_a_checked_submission(evening, competition_dir, capsys):
    digest = deal.read("runs/folds.csv").digest
    assert commands.main(["push", *SMALL, "--folds", "0"]) == 0
    told = capsys.readouterr().out
    assert "pushed       player/fer-kit-baseline-v1-small-fold-0 version 1: https://" in told, ran(evening, 1)
    first = ran(evening, 1)
    assert first.returncode == 0, first.stdout + first.stderr
    for line in (
        "plan     run baseline_v1-small, folds 0, on none",
        "found    no GPU; ",
        f"folds    2, digest {digest[:12]}, in the script",
        "fold 0 | epoch   2/2",
        "fold 0 | finished: runs/baseline_v1-small/fold0",
        "result   finished: 0",
    ):
        assert line in first.stdout
    [version] = evening.kernels["player/fer-kit-baseline-v1-small-fold-0"]
    assert set(version.files) == {"manifest.json", "runs-1.tar"}  # few files
    assert version.request["sessionTimeoutSeconds"] == 530 * 60

    assert commands.main(["fetch"]) == 2
    assert "has not ended (queued); wait, then fetch again" in capsys.readouterr().err
    assert commands.main(["status"]) == 0
    assert "version 1: running, pushed 0 minutes ago" in capsys.readouterr().out

    interrupt(version, competition_dir, Path("interrupted"))

    # The second kernel takes up the first one's output, trains the fold that is missing, and `run` does the rest.
    earlier = "player/fer-kit-baseline-v1-small-fold-0"
    assert commands.main(["run", *SMALL, "--folds", "0-1", "--resume", earlier]) == 0
    told = capsys.readouterr().out
    second = ran(evening, 2)
    assert f"earlier  {earlier}: finished 0, stopped 1" in second.stdout, second.stdout + second.stderr
    assert "fold 0: finished already" in second.stdout and "after epoch 1 of 2" in second.stdout
    assert "folds-0-1-on-2 version 1: queued" in told and "version 1: running" in told
    assert evening.sleeps and min(evening.sleeps) >= 30
    for fold in range(2):
        assert f"runs/baseline_v1-small/fold{fold}: out of fold " in told
    assert folders.status("runs", RUN).complete and deal.read("runs/folds.csv").digest == digest
    env = atomic.read_json(Path("runs", RUN, "fold1", "env.json"))
    assert env["commit"] == "tests" and "--runs" not in env["command"]  # usable here as it stands
    assert [push.state for push in push_log.read(Path("runs"))] == [push_log.PUSHED, push_log.FETCHED]
    assert {path.name for path in Path("runs").iterdir()} >= {RUN, "folds.csv", "kernels.json"}
    assert not list(Path("runs").glob(".fetch*"))

    # The first one holds nothing new: its unfinished fold does not take the place of the finished one.
    assert commands.main(["fetch"]) == 0
    assert "fold1: already finished here" in capsys.readouterr().out

    assert blend.main(["first", "--members", RUN]) == 0
    assert submissions(["build", "first", "--data", str(competition_dir), "--out", "submission.csv"]) == 0
    assert submissions(["check", "submission.csv", "--data", str(competition_dir)]) == 0
    assert len(Path("submission.csv").read_text().splitlines()) == 90

    # The key that the client needs is in nothing that was pushed, printed or written.
    written = b"".join(files_of(Path("kernels")).values()) + Path("runs/kernels.json").read_bytes()
    logs = b"".join(v.log.encode() for versions in evening.kernels.values() for v in versions)
    assert evening.key.encode() not in written + logs
    assert all(v.source and constants(v.source)["RUN_ID"] for versions in evening.kernels.values() for v in versions)


@pytest.mark.slow
def test_a_session_that_cannot_train_says_why_and_fetch_shows_it(evening, capsys):
    """No GPU although one was asked for: nothing is trained on the CPU in silence."""
    assert commands.main(["push", "--recipe", "baseline_v1", "--folds", "0-1"]) == 0
    assert ran(evening, 1).returncode == 1
    [version] = evening.kernels["player/fer-kit-baseline-v1-folds-0-1"]
    assert version.request["machineShape"] == "NvidiaTeslaT4" and version.request["enableGpu"] is True
    version.states, version.failure = ["ERROR"], "Script exited with code 1"
    capsys.readouterr()
    assert commands.main(["fetch"]) == 2
    error = capsys.readouterr().err
    assert "version 1 failed (Script exited with code 1); end of its log: " in error
    assert "NvidiaTeslaT4 (2 × T4) was requested, but this session has no GPU, and 2 folds" in error
    assert json.loads(Path("runs/kernels.json").read_text())["pushes"][0]["state"] == push_log.PUSHED
    assert folders.list_runs("runs") == []


@pytest.mark.slow
def test_several_runs_and_their_wandb_files_come_home(evening, capsys):
    assert commands.main(["push", *SMALL, "--seeds", "0", "1", "--folds", "0", "--wandb", "offline"]) == 0
    told = capsys.readouterr().out
    assert f"trains       run {RUN}, folds 0, changed: epochs=2" in told
    assert f"trains       run {RUN}-seed1, folds 0, changed: epochs=2" in told
    trained = ran(evening, 1)
    assert trained.returncode == 0, trained.stdout + trained.stderr
    assert f"result   {RUN}-seed1: finished: 0" in trained.stdout
    [versions] = evening.kernels.values()
    versions[-1].states = ["COMPLETE"]
    assert commands.main(["fetch", "--every"]) == 0
    for run in (RUN, f"{RUN}-seed1"):
        folder = Path("runs", run, "fold0")
        assert finished_folder.is_finished(folder) and list(folder.glob("wandb/offline-run-*/run-*.wandb"))
    assert commands.main(["fetch", "--every"]) == 2
    assert "every push was fetched" in capsys.readouterr().err
