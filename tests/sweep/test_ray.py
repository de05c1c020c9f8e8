"""Trainings on a Ray cluster of three nodes on this machine, one of them killed; and what comes back from a node."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fer_kit.data import loading
from fer_kit.errors import FerKitError
from fer_kit.runs import finished_folder, folders
from fer_kit.sweep.__main__ import main
from fer_kit.sweep.remote import arrival, cluster, node, parcel
from fer_kit.sweep.remote.node import Data, Task
from fer_kit.sweep.training import Training
from tests.helpers.trained import RECIPE, products

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
TRAINING = RECIPE[:-2]  # less --device cpu
STORE_BYTES = 80 * MIB  # of each node; the least that Ray takes is 75 MiB


@pytest.fixture
def ray_cluster(monkeypatch):
    """Three nodes of one CPU each, and a head without any; started with the path of this code and one thread."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    head = {"num_cpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    found = Cluster(initialize_head=True, head_node_args=head)
    found.workers = [found.add_node(num_cpus=1, object_store_memory=STORE_BYTES, wait=False) for _ in range(3)]
    found.wait_for_nodes()
    yield found
    found.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Ray, about sockets and files of its processes
def test_a_node_is_killed_and_all_folds_are_the_same_bits_as_here(ray_cluster, competition_dir, runs_dir, tmp_path):
    """Ray in a process of its own: its warnings and its threads stay out of the other tests."""
    words = ["--recipes", TRAINING[1], "--set", *TRAINING[3:6], "--tag", "t", "--folds", "every", "--device", "cpu"]
    where = ["--data", str(competition_dir), "--runs", str(runs_dir)]
    command = [sys.executable, "-m", "fer_kit.sweep", *words, *where, "--ray", ray_cluster.address]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    out = tmp_path / "out.txt"
    with out.open("w") as file:
        running = subprocess.Popen(command, env=environ, cwd=tmp_path, stdout=file, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 300
    while not list(runs_dir.glob("deep_v3-t/fold*/metrics.jsonl")):
        assert running.poll() is None and time.monotonic() < deadline, out.read_text()
        time.sleep(0.05)
    ray_cluster.remove_node(ray_cluster.workers[0], allow_graceful=False)
    assert running.wait(timeout=400) == 0, out.read_text()
    told = out.read_text()
    assert "its node was lost" in told and "3 finished, 0 failed" in told
    alone = tmp_path / "alone"
    alone.mkdir()
    for name in ("folds.csv", "folds-test.csv"):
        (alone / name).write_bytes((runs_dir / name).read_bytes())
    words = [*RECIPE, "--data", str(competition_dir), "--runs", str(alone)]
    program = (
        f"from fer_kit.train.__main__ import main\nfor fold in '012': assert main(['--fold', fold, *{words!r}]) == 0"
    )
    subprocess.run([sys.executable, "-c", program], env=environ, check=True, capture_output=True)
    for fold in range(3):
        assert products(runs_dir / f"deep_v3-t/fold{fold}") == products(alone / f"deep_v3-t/fold{fold}")
    assert not list(runs_dir.glob(".arriving*")) and not list(runs_dir.glob("deep_v3-t/fold*/last.pt"))
    assert len(folders.load(runs_dir, "deep_v3-t").oof) == 360


def test_ray_is_not_installed_or_not_there(monkeypatch, runs_dir, competition_dir, capsys):
    where = ["--runs", str(runs_dir), "--data", str(competition_dir)]
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main([*where, "--ray", "auto"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "pip install 'fer_kit[ray]'" in told
    refused = {"ray://a:1": "--ray ray://a:1: give auto, or HOST:PORT", "127.0.0.1:1": "no Ray cluster can be reached"}
    for address, words in refused.items():
        with pytest.raises(FerKitError, match=words):
            cluster.refuse_unreachable(address)
    assert main([*where, "--ray", "auto", "--device", "cuda:1"]) == 2
    assert "--device cuda:1 with --ray" in capsys.readouterr().err


STUB = """
import os, pathlib, sys, time
words = sys.argv[1:]
after = lambda name: words[words.index(name) + 1]
folder = pathlib.Path(after("--runs")) / "a" / "fold0"
folder.mkdir(parents=True, exist_ok=True)
metrics = folder / "metrics.jsonl"
done = len(metrics.read_text().splitlines()) if metrics.exists() else 0
print("begins with", done, os.environ["OMP_NUM_THREADS"], flush=True)
data = pathlib.Path(after("--data"))
assert (data / "train.csv").exists() and (pathlib.Path(after("--runs")) / "folds.csv").read_text() == "folds"
assert pathlib.Path(after("--weights")).read_text() == "weights"
for epoch in range(done, 3):
    (folder / "last.pt").write_text(str(epoch))
    with metrics.open("a") as file:
        file.write("{}\\n")
    time.sleep(0.3)
sys.exit("error: no luck")
"""


@pytest.fixture
def task(tmp_path, competition_dir, monkeypatch):
    """A stub training for a node, and the data that the node fetches."""
    monkeypatch.setattr(node.tempfile, "gettempdir", lambda: str(tmp_path / "node"))
    (tmp_path / "stub.py").write_text(STUB)
    (tmp_path / "w.pt").write_text("weights")
    loaded = loading.load(competition_dir, tmp_path / "cache")
    words = ["--weights", str(tmp_path / "w.pt"), "--fold", "0"]
    made = Task(
        driver="d",
        run="a",
        fold="fold0",
        words=words,
        data_digest=loaded.digest,
        folds={"folds.csv": b"folds"},
        inputs={words[1]: parcel.pack(tmp_path, ["w.pt"])},
        environ={"OMP_NUM_THREADS": "1", "PYTHONPATH": str(tmp_path)},
        module="stub",
    )
    return made, Data(loaded.train.images, loaded.train.labels, loaded.test.images)


def test_a_node_trains_tells_and_resumes(task, tmp_path):
    made, data = task
    fetched, told = [], []

    def fetch():
        fetched.append(1)
        return data

    ended = node.train(made, "n", fetch, told.append)
    assert ended.code == 1 and not ended.finished
    printed = b"".join(one.printed for one in [*told, ended.news]).decode()
    assert "begins with 0 1" in printed and "no luck" in printed
    checkpoints = [one.checkpoint for one in told if one.checkpoint]
    assert len(checkpoints) >= 2 and ended.files
    again = Task(**{**vars(made), "checkpoint": checkpoints[0]})
    ended = node.train(again, "n", fetch, told.append)
    assert "begins with 1" in b"".join(one.printed for one in [*told, ended.news]).decode()
    assert fetched == [1]  # once a node
    assert not list(tmp_path.glob("node/*/d/n/runs/a/fold0"))
    other = Task(**{**vars(made), "driver": "e", "data_digest": "0" * 64})
    with pytest.raises(FerKitError, match="other data"):
        node.train(other, "n", fetch, told.append)
    node.clean("d")
    assert not list(tmp_path.glob("node/*/d"))


def test_a_parcel_holds_plain_files_alone(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x.txt").write_text("x")
    (tmp_path / "a/link").symlink_to("/etc/passwd")
    content = parcel.pack(tmp_path / "a", ["x.txt", "missing"])
    parcel.unpack(content, tmp_path / "b")
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["x.txt"]
    with pytest.raises(FerKitError, match=r"x\.txt.*not expected"):
        parcel.unpack(content, tmp_path / "c", parcel.CHECKPOINT)
    with pytest.raises(FerKitError, match="damaged"):
        parcel.unpack(content[:700], tmp_path / "c")
    with pytest.raises(FerKitError, match=r"'\.\./x\.txt', which is not expected"):
        parcel.unpack(content.replace(b"x.txt\0\0\0", b"../x.txt", 1).replace(*_checksums(content)), tmp_path / "c")


def _checksums(content):
    """The old and new checksum field of the first header after its name was changed."""
    header = bytearray(content[:512].replace(b"x.txt\0\0\0", b"../x.txt", 1))
    header[148:156] = b" " * 8
    return content[148:156], b"%06o\0 " % sum(header)


@pytest.mark.slow
def test_what_arrives_is_checked(tmp_path, runs_dir, competition_dir):
    from fer_kit.train.__main__ import main as train_main

    place = ["--data", str(competition_dir), "--runs", str(runs_dir)]
    assert train_main(["--fold", "0", "--recipe", "baseline_v1", "--smoke", "--device", "cpu", *place]) == 0
    training = Training("baseline_v1-smoke", 0, ())
    folder = training.folder(runs_dir)
    content = parcel.pack(folder, parcel.FINISHED)
    result = finished_folder.read(folder, "result.json")
    good = arrival.Expected(result["folds_digest"], result["data_digest"])
    before = products(folder)
    arrival.put_in_place(content, runs_dir, training, good, "c")
    assert products(folder) == before
    assert finished_folder.read(folder, "result.json") == result
    assert json.loads((folder / "env.json").read_text())["command"] == "c"
    for expected, words in (
        (arrival.Expected("0", good.data_digest), "folds_digest"),
        (arrival.Expected(good.folds_digest, "0"), "data_digest"),
    ):
        with pytest.raises(FerKitError, match=words):
            arrival.put_in_place(content, runs_dir, training, expected, "c")
    with pytest.raises(FerKitError, match="fold 0 of baseline_v1-smoke"):
        arrival.put_in_place(content, runs_dir, Training("baseline_v1-smoke", 1, ()), good, "c")
    (folder / "oof.npz").write_bytes(np.random.default_rng(0).bytes(99))
    with pytest.raises(FerKitError, match=r"oof\.npz: changed"):
        arrival.put_in_place(parcel.pack(folder, parcel.FINISHED), runs_dir, training, good, "c")
    (folder / "config.json").write_text("{}")
    with pytest.raises(FerKitError, match="other settings"):
        arrival.put_in_place(content, runs_dir, training, good, "c")
    assert not list(runs_dir.glob(".arriving*"))
