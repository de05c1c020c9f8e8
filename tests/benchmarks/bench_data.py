"""How fast the competition is read: `python -m tests.benchmarks.bench_data [--data DIR] [--record FILE]`.

Five things are timed, each in a process of its own, in turn, several rounds over; files are in the page cache.

    torchvision   torchvision.datasets.FER2013 parses train.csv; its md5 check is left out
    pandas        pandas.read_csv, then each row's text split at blanks into an array
    reader        fer_kit.data.csv_reader reads the same train.csv into the same numbers
    first load    fer_kit.data.loading.load: train.csv and test.csv, their digests, the cache written
    cached load   the same again: digests of the files and of the cache, arrays mapped

Times leave out imports; peak memory includes them, "own" is the growth while reading. Processor time stands beside
the time by the clock, since it says more on a machine that does other work too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fer_kit import cli
from fer_kit.competition import NUM_CLASSES, PIXELS
from fer_kit.data import csv_reader, loading
from fer_kit.data.csv_reader import LABEL, PIXEL
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from tests.benchmarks import bench_record
from tests.benchmarks.bench_record import machine, peak_mb

ARMS = ("torchvision", "pandas", "reader", "first load", "cached load")
MEASURED = ("fer_kit/data/*.py", "fer_kit/files/*.py", "tests/benchmarks/bench_data.py")


# --- one arm, in its own process -------------------------------------------------------------------------------------


def read_with_torchvision(folder: Path, scratch: Path) -> Callable[[], tuple[int, int]]:
    """Prepare, and give the call that is timed; that gives the sums of pixels and labels, taken afterwards."""
    from torchvision.datasets import fer2013

    fer2013.check_integrity = lambda *args, **kwargs: True
    with contextlib.suppress(FileExistsError):
        (scratch / "fer2013").mkdir()
        (scratch / "fer2013" / "train.csv").symlink_to((folder / "train.csv").resolve())
    return lambda: fer2013.FER2013(scratch, split="train")._samples


def read_with_pandas(folder: Path, scratch: Path) -> Callable[[], Any]:
    import pandas

    def read() -> csv_reader.Faces:
        frame = pandas.read_csv(folder / "train.csv")
        images = np.stack([np.array(text.split(), dtype=np.uint8) for text in frame["pixels"]])
        return csv_reader.Faces(images, frame["emotion"].to_numpy(), np.empty(0, np.uint8))

    return read


def read_with_reader(folder: Path, scratch: Path) -> Callable[[], Any]:
    def read() -> csv_reader.Faces:
        with (folder / "train.csv").open("rb", buffering=0) as file:
            return csv_reader.read(file, "train.csv", (LABEL, PIXEL))

    return read


def load(folder: Path, scratch: Path) -> Callable[[], Any]:
    return lambda: loading.load(folder, scratch / "cache").train


def run_arm(arm: str, folder: Path, scratch: Path) -> dict[str, float]:
    others = {"torchvision": read_with_torchvision, "pandas": read_with_pandas, "reader": read_with_reader}
    prepare = others.get(arm, load)
    call = prepare(folder, scratch)
    before_mb = peak_mb()
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    wall, cpu, after_mb = time.perf_counter() - wall, time.process_time() - cpu, peak_mb()
    if arm == "torchvision":
        sums = sum(int(image.sum()) for image, _ in result), sum(label for _, label in result)
    else:
        sums = int(result.images.sum(dtype=np.int64)), int(result.labels.sum())
    return {
        "seconds": wall,
        "cpu_seconds": cpu,
        "peak_mb": after_mb,
        "own_mb": after_mb - before_mb,
        "pixel_sum": sums[0],
        "label_sum": sums[1],
    }


# --- all arms in turn ------------------------------------------------------------------------------------------------


def measure(folder: Path, rounds: int) -> dict[str, list[dict[str, float]]]:
    for name in ("train.csv", "test.csv"):
        atomic.sha256_of(folder / name)  # brings the file into the page cache
    results: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as scratch:
            for arm in ARMS:
                words = ("--data", str(folder), "--scratch", scratch)
                results[arm].append(bench_record.run_arm("bench_data", arm, *words))
    sums = {(run["pixel_sum"], run["label_sum"]) for runs in results.values() for run in runs}
    if len(sums) != 1:
        raise FerKitError(f"the arms read different numbers: {sorted(sums)}")
    return results


def summary(results: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Medians over rounds, and the medians of the ratios within rounds."""
    keys = ("seconds", "cpu_seconds", "peak_mb", "own_mb")
    medians = {
        arm: {key: round(statistics.median(run[key] for run in runs), 3) for key in keys}
        for arm, runs in results.items()
    }
    ratios = {
        f"torchvision / {arm}, {key}": round(
            statistics.median(
                slow[key] / fast[key] for slow, fast in zip(results["torchvision"], results[arm], strict=True)
            ),
            1,
        )
        for arm in ARMS[1:]
        for key in ("seconds", "cpu_seconds")
    }
    return {"medians": medians, "ratios": ratios}


@contextlib.contextmanager
def random_competition(rows: int) -> Iterator[Path]:
    """A folder with train.csv of so many rows and test.csv of a quarter, all pixels random."""
    words = np.array([str(value) for value in range(256)], dtype=object)
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for name, count in (("train.csv", rows), ("test.csv", max(1, rows // 4))):
            with (Path(folder) / name).open("w") as file:
                file.write("emotion,pixels\n" if name == "train.csv" else "pixels\n")
                for _ in range(count):
                    label = f"{random.integers(NUM_CLASSES)}," if name == "train.csv" else ""
                    file.write(f'{label}"{" ".join(words[random.integers(0, 256, PIXELS)])}"\n')
        yield Path(folder)


# --- the record ------------------------------------------------------------------------------------------------------


def build_parser() -> argparse.ArgumentParser:
    parser = cli.parser("python -m tests.benchmarks.bench_data", "How fast the competition's files are read.")
    parser.add_argument(
        "--data", type=Path, help="folder with train.csv and test.csv; without it random ones are drawn"
    )
    parser.add_argument("--rows", type=int, default=28_709, help="rows of the random train.csv")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is timed")
    parser.add_argument("--record", type=Path, help="write a JSON record here")
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    return parser


def body(args: argparse.Namespace) -> None:
    if args.arm:
        print(json.dumps(run_arm(args.arm, args.data, args.scratch)))
        return
    if args.data and not all((args.data / name).is_file() for name in ("train.csv", "test.csv")):
        raise FerKitError(f"{args.data}: torchvision needs a plain train.csv here, and load a test.csv beside it")
    host = machine()
    with contextlib.nullcontext(args.data) if args.data else random_competition(args.rows) as folder:
        results = measure(folder.resolve(), args.rounds)
        size = {name: (folder / name).stat().st_size for name in ("train.csv", "test.csv")}
    record = {
        **bench_record.head("data", host, MEASURED, ("numpy", "pandas", "torch", "torchvision")),
        "data": {"drawn at random": args.data is None, "bytes": size},
        "rounds": args.rounds,
        **summary(results),
        "runs": results,
    }
    print(f"{bench_record.headline(host)}; {size['train.csv']:,} bytes")
    for arm, values in record["medians"].items():
        print(
            f"{arm:12} {values['seconds']:7.3f} s by the clock {values['cpu_seconds']:7.3f} s of processor"
            f" {values['peak_mb']:7,.0f} MB at the peak {values['own_mb']:6,.0f} MB own"
        )
    for name, ratio in record["ratios"].items():
        print(f"{name:40} {ratio:6.1f}")
    bench_record.keep(args.record, record)


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
