"""The driver's side: trainings as tasks of a Ray cluster, for a `Runner` that works off the usual queue.

See `runner` for the queue, and `node` for what runs there.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from fer_kit import revision
from fer_kit.data import loading
from fer_kit.errors import FerKitError, first_line
from fer_kit.folds import table
from fer_kit.folds.fold_spec import folder_name
from fer_kit.runs.training_record import LAST
from fer_kit.sweep.remote import arrival, node, parcel
from fer_kit.sweep.remote.node import Data, Ended, News, Task
from fer_kit.sweep.slots import Slot
from fer_kit.sweep.training import Training

INSTALL = "pip install 'fer_kit[ray]' (or pip install ray)"
FOLDS = ("folds.csv", "folds-test.csv", "folds.json")
AUTO = "auto"
CONNECT_SECONDS = 10.0
START = "start one with `ray start --head`, and on each other machine `ray start --address HOST:6379`"
FAILED = 1  # exit code of a task that did not reach its training
END_SECONDS = 20.0  # for the last checkpoints, when the driver stops
CLEAN_SECONDS = 30.0
_FILE_OPTIONS = ("--weights", "--augment")


class Mailbox:
    """The actor that takes news from the nodes until the driver fetches them. Only the last checkpoint is kept."""

    def __init__(self) -> None:
        self._printed: dict[str, bytes] = {}
        self._checkpoints: dict[str, bytes] = {}

    def put(self, key: str, news: News) -> None:
        """Take news of the training `key`."""
        self._printed[key] = self._printed.get(key, b"") + news.printed
        if news.checkpoint is not None:
            self._checkpoints[key] = news.checkpoint

    def drain(self) -> dict[str, News]:
        """All news since the last call."""
        found = {key: News(text, self._checkpoints.get(key)) for key, text in self._printed.items()}
        self._printed, self._checkpoints = {}, {}
        return found


def run_task(task: Task, data: Sequence[Any], mailbox: Any, key: str) -> Ended:
    """The body of a Ray task. data: references to `Data` in the object store, fetched by the first task on a node."""
    import ray

    def tell(news: News) -> None:
        mailbox.put.remote(key, news)

    where = ray.get_runtime_context().get_node_id()
    try:
        return node.train(task, where, lambda: cast(Data, ray.get(data[0])), tell)
    except FerKitError as error:
        return Ended(FAILED, b"", News(f"error: {error}\n".encode()))


class Cluster:
    """A connection to a Ray cluster, with the data in its object store. Use as a context manager.

    address: `auto` for the cluster that this machine belongs to, or host:port of a cluster's head.

    Raises:
        FerKitError: Ray is not installed, or there is no cluster at `address`.
    """

    def __init__(self, address: str, runs: Path, data: Path, device: str, module: str = "fer_kit.train") -> None:
        self._ray = need_ray()
        self._runs, self._module = runs, module
        self.places = ("--data", str(data), "--runs", str(runs))  # for the records of the runs
        competition = loading.load(data, runs / "cache")
        dealt = table.read(runs / "folds.csv")
        self.expected = arrival.Expected(dealt.digest, competition.digest)
        self._folds = {name: (runs / name).read_bytes() for name in FOLDS if (runs / name).is_file()}
        self._connect(address)
        try:
            self.gpus = self._count_gpus(device)
            self.cores = max(1, int(os.environ.get("OMP_NUM_THREADS") or 1))
            self._driver = self._ray.get_runtime_context().get_job_id()
            train = competition.train
            self._data = self._ray.put(Data(train.images, train.labels, competition.test.images))
            self.mailbox = self._mailbox()
        except BaseException:
            self._ray.shutdown()
            raise

    def _connect(self, address: str) -> None:
        refuse_unreachable(address)
        package = Path(node.__file__).resolve().parents[2]
        environment = {"py_modules": [str(package)], "excludes": ["__pycache__"]}
        try:
            self._ray.init(address=address, runtime_env=environment, log_to_driver=False, logging_level="error")
        except Exception as error:  # Ray raises many types: ConnectionError, ValueError, RuntimeError, …
            raise unreachable(address, error) from None

    def _count_gpus(self, device: str) -> int:
        """The GPUs to be used; 0 to train on CPUs."""
        found = int(self._ray.cluster_resources().get("GPU", 0))
        if device == "cuda" and not found:
            raise FerKitError("--device cuda with --ray: no node of the cluster has a GPU; use --device cpu")
        return 0 if device == "cpu" else found

    def _mailbox(self) -> Any:
        """The mailbox, on the driver's machine if that is part of the cluster."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        options: dict[str, Any] = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
        with contextlib.suppress(Exception):  # a driver outside of the cluster has no node
            here = self._ray.get_runtime_context().get_node_id()
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(here, soft=True)
        return self._ray.remote(Mailbox).options(**options).remote()

    def slots(self, at_once: int | None, trainings: int) -> list[Slot]:
        """One slot for each training that runs at once: one a GPU, or one a core."""
        count = self.gpus or int(self._ray.cluster_resources().get("CPU", 0)) // self.cores
        if at_once is None and not count:
            raise FerKitError(f"--ray: no node of the cluster has {self.cores} free CPUs; add nodes")
        device = ("--device", "cuda" if self.gpus else "cpu")
        return [Slot("Ray", {}, device)] * max(1, min(at_once or count, trainings))

    def in_words(self) -> str:
        """`1 GPU each`, or the cores of a training."""
        return "1 GPU each" if self.gpus else f"{self.cores} CPU{'s' * (self.cores > 1)} each"

    def submit(self, task: Task, key: str) -> Any:
        """Start a task; a reference to its outcome."""
        options: dict[str, Any] = {"num_cpus": self.cores, "max_retries": 0, "name": key}
        if self.gpus:
            options["num_gpus"] = 1
        return self._ray.remote(run_task).options(**options).remote(task, [self._data], self.mailbox, key)

    def task(self, training: Training, words: Sequence[str], deadline: float | None) -> Task:
        """The task of a training."""
        folder = training.folder(self._runs)
        resumes = not training.trial and (folder / LAST).is_file()
        return Task(
            driver=self._driver,
            run=training.run,
            fold=folder_name(training.fold),
            words=words,
            data_digest=self.expected.data_digest,
            folds=self._folds,
            inputs=inputs_of(words),
            checkpoint=parcel.pack(folder, parcel.CHECKPOINT) if resumes else None,
            deadline=deadline,
            environ={"OMP_NUM_THREADS": str(self.cores), "FER_KIT_COMMIT": revision.commit()},
            module=self._module,
        )

    def drain(self) -> Mapping[str, News]:
        """News of all trainings."""
        with contextlib.suppress(self._ray.exceptions.RayError):  # the mailbox moves to another node
            return cast(Mapping[str, News], self._ray.get(self.mailbox.drain.remote(), timeout=END_SECONDS))
        return {}

    def outcome(self, reference: Any) -> Ended | str | None:
        """How a task ended; a sentence if its node was lost; None while it runs.

        Raises:
            FerKitError: the task failed for another reason, such as memory.
        """
        done, _ = self._ray.wait([reference], timeout=0)
        if not done:
            return None
        lost = (self._ray.exceptions.NodeDiedError, self._ray.exceptions.ObjectLostError)
        try:
            return cast(Ended, self._ray.get(reference))
        except lost as error:
            return first_line(error, 100)
        except self._ray.exceptions.RayError as error:
            raise FerKitError(f"Ray: {first_line(error)}") from None

    def cancel(self, reference: Any) -> None:
        """End a task and its training."""
        with contextlib.suppress(Exception):  # it has ended meanwhile
            self._ray.cancel(reference, force=True)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(Exception):  # only temporary folders of the nodes are left
            self._clean()
        self._ray.shutdown()

    def _clean(self) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        clean = self._ray.remote(node.clean)
        alive = [one["NodeID"] for one in self._ray.nodes() if one["Alive"]]
        options = [NodeAffinitySchedulingStrategy(one, soft=False) for one in alive]
        sent = [clean.options(num_cpus=0, scheduling_strategy=one).remote(self._driver) for one in options]
        self._ray.wait(sent, num_returns=len(sent), timeout=CLEAN_SECONDS)


def need_ray() -> Any:
    """The module ray.

    Raises:
        FerKitError: Ray is not installed; the message says how to install it.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray warns about CPU tasks
    try:
        import ray
    except ImportError as error:
        raise FerKitError(
            f"--ray needs Ray ({first_line(error)}); install it here and on the nodes: {INSTALL}"
        ) from None
    return ray


def refuse_unreachable(address: str) -> None:
    """Refuse an address where nothing listens: Ray itself would try for minutes.

    Raises:
        FerKitError: the message says how a cluster is started.
    """
    if address == AUTO:
        return
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdigit()) or "/" in address:
        raise FerKitError(f"--ray {address}: give auto, or HOST:PORT of the head (its port is 6379 if none was chosen)")
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise unreachable(address, error) from None


def unreachable(address: str, error: BaseException) -> FerKitError:
    """The error that there is no cluster at `address`."""
    return FerKitError(f"--ray {address}: no Ray cluster can be reached ({first_line(error)}); {START}")


def inputs_of(words: Sequence[str]) -> dict[str, bytes]:
    """Files and folders that the words of a training name, by word."""
    named = [word for option, word in itertools.pairwise(words) if option in _FILE_OPTIONS]
    named += [word for word in words if word.startswith("targets=")]
    found = {}
    for word in named:
        path = Path(word.rpartition("=")[2])
        if path.is_dir():
            found[word] = parcel.pack(path)
        elif path.is_file():
            found[word] = parcel.pack(path.parent, [path.name])
    return found
