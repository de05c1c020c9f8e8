"""Inside the kernel, without a GPU and without training: devices, two at once, time limits, what is left behind."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fer_kit.errors import FerKitError
from fer_kit.folds import table
from fer_kit.runs import finished_folder
from fer_kit.sweep.runner import Limits, Outcome
from fer_kit.sweep.training import Training
from kernels.inside import archive, devices, earlier, manifest, saving, session, weights
from kernels.inside.archive import SMALLER
from kernels.inside.devices import Found, Gpu
from kernels.inside.settings import Places, Settings, run_name
from tests.helpers import fake_runs
from tests.helpers.pushed_kernels import RUN, files_of, full_disk, save_output, save_runs

T4 = Gpu("Tesla T4", 14.7, "fp16")
CPU = Found((), "Xeon", "fp32", 4, "2.10.0")
TWO = Found((T4, T4), "Xeon", "fp32", 4, "2.10.0")

# Stands where `python -m fer_kit.train` is looked for.
STUB = """
import os, pathlib, shutil, sys
fold = sys.argv[sys.argv.index("--fold") + 1]
print("sees", os.environ.get("CUDA_VISIBLE_DEVICES"), "limit", "--limit-minutes" in sys.argv)
if fold == "2":
    sys.exit("error: the loss of epoch 3 is nan")
shutil.copytree(pathlib.Path(os.environ["MADE"]) / f"fold{fold}", f"runs/baseline_v1-small/fold{fold}")
"""


def test_folds_run_each_on_its_own_gpu_and_are_saved_as_they_end(tmp_path, capsys):
    code, work = tmp_path / "code/fer_kit", tmp_path / "work"
    for folder in (code, work / "runs" / RUN):
        folder.mkdir(parents=True)
    (code / "__init__.py").touch()
    (code / "train.py").write_text(STUB)
    made = save_runs(tmp_path / "made") / RUN
    environ = {**os.environ, "PYTHONPATH": str(code.parent), "MADE": str(made)}
    slots = session.slots_for(TWO, environ)
    limits = Limits(time.monotonic() + 1e6)
    runner = session.runner_of([Training(RUN, fold, ("--recipe", "x")) for fold in range(3)], work, slots, limits)
    saves: list[int] = []
    outcome = runner.run(saving.saver(runner, lambda: saves.append(len(runner.outcome.finished))))
    assert (saving.numbers(outcome.finished, RUN), saving.numbers(outcome.failed, RUN)) == ((0, 1), (2,))
    told = capsys.readouterr().out
    assert "starts on GPU 0 (Tesla T4)" in told and "starts on GPU 1 (Tesla T4)" in told
    assert "fold 0 | sees 0 limit True" in told and "fold 1 | sees 1 limit True" in told
    assert "FAILED with exit code 1: error: the loss of epoch 3 is nan" in told
    assert saves  # what is finished is saved while others still train


@pytest.mark.parametrize(
    ("asked", "found", "allow_cpu", "message"),
    [
        ("NvidiaTeslaT4", TWO, False, None),
        ("none", CPU, False, None),
        ("NvidiaTeslaT4", CPU, True, "warning  NvidiaTeslaT4 (2 × T4) was requested; training on the CPU"),
        ("none", TWO, False, "note     no accelerator was requested, but the session has one"),
        (
            "NvidiaL4",
            TWO,
            False,
            "warning  NvidiaL4 (4 × L4) was requested, but Kaggle gave 2 × Tesla T4 (15 GiB, fp16)",
        ),
        ("NvidiaTeslaT4", Found((T4,), "", "", 4, ""), False, "but Kaggle gave 1 × Tesla T4 (15 GiB, fp16)"),
    ],
)
def test_asked_and_found(asked, found, allow_cpu, message):
    told = devices.check(asked, found, 5, allow_cpu)
    assert told == [] if message is None else message in told[0]


def test_a_missing_or_useless_gpu_stops_before_training():
    with pytest.raises(FerKitError, match=r"this session has no GPU, and 5 folds .* ALLOW_CPU"):
        devices.check("NvidiaTeslaT4", CPU, 5, False)
    old = Found((Gpu("Tesla P100", 16.0, "fp16", "no kernel image is available"),), "", "", 4, "2.10.0")
    with pytest.raises(FerKitError, match=r"Tesla P100, .* torch 2.10.0 .*\(no kernel"):
        devices.check("NvidiaTeslaT4", old, 5, True)


def test_the_cores_are_shared_out(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [slot.environ["OMP_NUM_THREADS"] for slot in session.slots_for(TWO, {})] == ["2", "2"]
    assert [slot.environ["OMP_NUM_THREADS"] for slot in session.slots_for(CPU, {})] == ["4"]


def test_a_probe_that_fails_says_how(monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "Traceback\nImportError: libcuda is broken\n")
    monkeypatch.setattr(devices.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(FerKitError, match="torch cannot be used in this session: ImportError: libcuda is broken"):
        devices.probe({})


def settings(**changes) -> Settings:
    values = dict.fromkeys(Settings.__dataclass_fields__)
    values |= {"recipe": "baseline_v1", "folds": (0, 1, 2), "set": ("epochs=1",), "tag": "small"}
    values |= {"run_id": "mine", "bundle_sha256": "0" * 64, "commit": "tests", "folds_table": ""}
    values |= {"wandb": "off", "more": ()}
    return Settings(**(values | changes))


def test_each_save_replaces_the_one_before_and_the_manifest_names_a_whole_archive(tmp_path, capsys):
    places = Places(tmp_path, tmp_path / "working", tmp_path / "work", tmp_path)
    places.output.mkdir()
    save_runs(places.runs, finished=(0,), unfinished=(1,))
    outcome = Outcome(*([Training(RUN, fold, ())] for fold in (0, 1)), {Training(RUN, 2, ()): "nan"})
    runs = {RUN: settings().runs[0]}
    for final in (False, False, True):
        saving.save_output(settings(), places, runs, "2 × T4", outcome, final)
        told = manifest.read(places.output)
        archive.unpack(manifest.check_archive(places.output, told), tmp_path / f"back{told.archive}", RUN)
        assert told.final is final and told.finished == (0,) and told.stopped == (1,) and told.failed == (2,)
    assert {path.name for path in places.output.iterdir()} == {"manifest.json", "runs-3.tar"}
    back = files_of(tmp_path / "backruns-3.tar")
    assert back == files_of(places.runs) and f"{RUN}/fold1/last.pt" in back


@pytest.mark.parametrize("layout", ["notebooks/me/kernel", "kernel"])
def test_an_earlier_output_is_taken_up_under_both_layouts(tmp_path, layout):
    made = save_runs(tmp_path / "made", finished=(0,), unfinished=(1, 2))
    (made / RUN / "fold2" / "last.pt").unlink()  # stopped before its first epoch ended
    save_output(tmp_path / "input" / layout, "earlier", made)
    told = earlier.restore(tmp_path / "input", "me/kernel", RUN, tmp_path / "runs")
    assert (told.finished, told.stopped) == ((0,), (1, 2))
    assert finished_folder.is_finished(tmp_path / "runs" / RUN / "fold0")
    assert (tmp_path / "runs" / RUN / "fold1" / "last.pt").exists()
    assert not (tmp_path / "runs" / RUN / "fold2").exists()


def test_an_earlier_output_that_does_not_fit_is_refused(tmp_path):
    inputs = tmp_path / "input"
    (inputs / "competitions" / "x").mkdir(parents=True)
    with pytest.raises(FerKitError, match=r"the output of me/kernel is not mounted.*\(mounted are: competitions/x\)"):
        earlier.restore(inputs, "me/kernel", RUN, tmp_path / "runs")
    save_output(inputs / "kernel", "earlier", save_runs(tmp_path / "made"))
    with pytest.raises(FerKitError, match="--resume me/kernel: .* baseline_v1-small, not other; "):
        earlier.restore(inputs, "me/kernel", "other", tmp_path / "runs")
    (inputs / "kernel" / "runs-1.tar").write_bytes(b"half")
    with pytest.raises(FerKitError, match=r"runs-1\.tar has 4 bytes"):
        earlier.restore(inputs, "me/kernel", RUN, tmp_path / "runs")


def test_folds_of_the_earlier_kernel_must_be_those_sent_along(tmp_path):
    places = Places(tmp_path, tmp_path, tmp_path / "work", tmp_path)
    save_runs(places.runs, finished=())
    with pytest.raises(FerKitError, match=r"\(digest 111111111111\) .* me/k"):
        session.make_folds(settings(folds_digest="1" * 64, earlier="me/k"), places, {})
    session.make_folds(settings(earlier="me/k"), places, {})  # none sent: the earlier ones are used
    assert table.read(places.runs / "folds.csv").count == fake_runs.FOLDS
    with pytest.raises(FerKitError, match="fold 3 does not exist; allowed are 0 to 2"):
        session.make_folds(settings(earlier="me/k", folds=(0, 3)), places, {})


def test_the_trainers_see_no_kaggle_credentials(monkeypatch, tmp_path):
    monkeypatch.setenv("KAGGLE_KEY", "secret")
    places = Places(tmp_path, tmp_path, tmp_path, tmp_path / "code")
    environ = session.environment(settings(), places)
    assert not [name for name in environ if name.startswith("KAGGLE_")]
    assert environ["PYTHONPATH"].split(os.pathsep)[0] == str(tmp_path / "code")


def test_weights_of_a_model_are_found_under_both_layouts(tmp_path):
    source = "timm/resnet/pyTorch/resnet18/2"
    for number, place in enumerate(("models/timm/resnet/pytorch/resnet18/2", "resnet/pytorch/resnet18/2")):
        folder = tmp_path / str(number) / place
        folder.mkdir(parents=True)
        with pytest.raises(FerKitError, match="one file of .* is needed, found: none"):
            weights.find(tmp_path / str(number), source)
        (folder / "model.safetensors").touch()
        assert weights.find(tmp_path / str(number), source) == str(folder / "model.safetensors")
    with pytest.raises(FerKitError, match="timm/resnet/pyTorch/resnet18/2 is not mounted; looked in"):
        weights.find(tmp_path, source)


@pytest.mark.parametrize("layout", ["datasets/me/nets", "nets"])
def test_a_dataset_whose_folders_have_numbers_is_no_model(tmp_path, layout):
    folder = tmp_path / layout / "vgg/1"
    folder.mkdir(parents=True)
    (folder / "w.pth").touch()
    for source in ("datasets/me/nets/vgg/1/w.pth", "datasets/me/nets/vgg/1"):
        assert weights.find(tmp_path, source) == str(folder / "w.pth")


def test_seed_parts_and_compile_are_options_of_the_trainers(tmp_path):
    asked = settings(seed=3, accumulate=2, compile=True)
    assert " ".join(asked.options(asked.runs[0])).endswith("--tag small --seed 3 --accumulate 2 --compile")
    places = Places(tmp_path, tmp_path, tmp_path, tmp_path)
    assert run_name(asked, places, asked.runs[0]) == "baseline_v1-small-seed3"
    assert settings().options(settings().runs[0])[-2:] == ["--tag", "small"]


def test_files_of_wandb_travel_and_links_and_scratch_do_not(tmp_path):
    runs = save_runs(tmp_path / "runs", finished=(0,))
    place = runs / RUN / "fold0" / "wandb"
    names = (
        "offline-run-20260131_120000-abc/run-abc.wandb",
        "offline-run-20260131_120000-abc/files/media/images/a.png",
    )
    for name in (*names, "facts.json", "odd name.txt"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(name.encode())
    (place / "latest-run").symlink_to("offline-run-20260131_120000-abc")
    archive.pack(runs, RUN, tmp_path / "a.tar")
    archive.unpack(tmp_path / "a.tar", tmp_path / "back", RUN)
    back = files_of(tmp_path / "back" / RUN / "fold0" / "wandb")
    assert back == {name: name.encode() for name in (*names, "facts.json")}


def test_several_runs_have_a_part_each_of_archive_and_manifest(tmp_path):
    other = {"recipe": "baseline_v1", "set": ["epochs=1"], "tag": "small", "seed": 3, "folds": [0]}
    asked = settings(more=[other], wandb="offline")
    places = Places(tmp_path, tmp_path / "working", tmp_path / "work", tmp_path)
    runs = {run_name(asked, places, run): run for run in asked.runs}
    assert list(runs) == [RUN, f"{RUN}-seed3"]
    assert asked.options(asked.runs[1])[-4:] == ["--seed", "3", "--wandb", "offline"]
    places.output.mkdir()
    save_runs(places.runs, finished=(0,))
    (places.runs / RUN).rename(places.runs / f"{RUN}-seed3")
    outcome = Outcome([Training(f"{RUN}-seed3", 0, ())], [Training(RUN, 1, ())], {Training(RUN, 2, ()): "nan"})
    saving.save_output(asked, places, runs, "2 × T4", outcome, True)
    told = manifest.read(places.output)
    assert [(one.run, one.asked, one.finished, one.stopped, one.failed) for one in told.runs] == [
        (RUN, (0, 1, 2), (), (1,), (2,)),
        (f"{RUN}-seed3", (0,), (0,), (), ()),
    ]
    archive.unpack(manifest.check_archive(places.output, told), tmp_path / "back", RUN, [f"{RUN}-seed3"])
    assert (tmp_path / "back" / f"{RUN}-seed3" / "fold0" / "result.json").exists()
    with pytest.raises(FerKitError, match="which is not a file of a run"):
        archive.unpack(places.output / told.archive, tmp_path / "other", RUN)


LONG = """
import pathlib, sys, time
folder = pathlib.Path("runs/baseline_v1-small/fold" + sys.argv[sys.argv.index("--fold") + 1])
folder.mkdir(parents=True)
(folder / "metrics.jsonl").write_text("{}\\n")
time.sleep(600)
"""


@pytest.mark.slow
def test_sigterm_saves_at_once_and_ends_the_trainings(tmp_path, capsys):
    """A session that Kaggle ends: what there is was saved when the trainings are ended, not up to 20 minutes ago."""
    code, work = tmp_path / "code/fer_kit", tmp_path / "work"
    for folder in (code, work / "runs"):
        folder.mkdir(parents=True)
    (code / "__init__.py").touch()
    (code / "train.py").write_text(LONG)
    slots = session.slots_for(CPU, {**os.environ, "PYTHONPATH": str(code.parent)})
    runner = session.runner_of([Training(RUN, 0, ("--recipe", "x"))], work, slots, Limits(time.monotonic() + 1e6))
    saves: list[int] = []
    ended = threading.Event()
    meanwhile = saving.saver(runner, lambda: saves.append(len(runner.running)), ended=ended)

    def signalled() -> None:
        if list(work.glob("runs/*/fold0/metrics.jsonl")):
            ended.set()
        meanwhile()

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        runner.run(signalled)
    assert saves == [1] and not runner.running and time.monotonic() - began < 60
    assert "signal   SIGTERM: saving" in capsys.readouterr().out


def test_a_save_that_fails_is_repeated_and_the_training_goes_on(capsys):
    class Runner:
        outcome, running = Outcome(), [object()]

    def full() -> None:
        raise FerKitError("/kaggle/working/runs-1.tar: cannot be written (No space left on device)")

    meanwhile = saving.saver(Runner(), full, every_seconds=0.0)
    meanwhile()
    meanwhile()
    assert capsys.readouterr().out.count("warning  not saved: /kaggle/working/runs-1.tar") == 2


def test_a_full_disk_keeps_predictions_first(tmp_path, capsys):
    """Checkpoints are left out first, then weights."""
    runs_dir = save_runs(tmp_path / "runs", finished=(0,), unfinished=(1,))
    (runs_dir / RUN / "fold1/last.pt").write_bytes(b"0" * 3_000_000)
    (runs_dir / RUN / "fold0/model.safetensors").write_bytes(b"0" * 3_000_000)
    for most, left_out in ((9_000_000, 0), (5_000_000, 1), (2_000_000, 2)):
        path = tmp_path / f"runs-{left_out}.tar"
        with full_after(most):
            saving.pack(runs_dir, RUN, path)
        with tarfile.open(path) as tar:
            names = {name.rpartition("/")[2] for name in tar.getnames()}
        assert {"oof.npz", "test.npz", "result.json", "folds.csv"} <= names
        assert {"last.pt", "model.safetensors"} - names == set(SMALLER[left_out])
    assert "is full; saving without last.pt" in capsys.readouterr().out
    with full_after(1_000), pytest.raises(FerKitError, match="No space left"):
        saving.pack(runs_dir, RUN, tmp_path / "runs-3.tar")


@contextlib.contextmanager
def full_after(most_bytes: int) -> Iterator[None]:
    """A disk on which an archive may have this size."""
    written = 0

    def full(tar: tarfile.TarFile, source: Path) -> bool:
        nonlocal written
        written += source.stat().st_size
        if written <= most_bytes:
            return False
        written = 0
        return True

    with full_disk(full):
        yield


def test_a_kernel_without_its_data_says_what_is_mounted(tmp_path, monkeypatch):
    monkeypatch.delenv("FER_KIT_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input/models/x").mkdir(parents=True)
    with pytest.raises(FerKitError, match=r"not attached to this kernel .* holds models/x.*competitions/.*/rules"):
        session.find_data(tmp_path / "input")
