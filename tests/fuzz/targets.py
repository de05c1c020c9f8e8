"""Readers of data, predictions and archives, with files to break and what must hold where one of them is read."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow
import pyarrow.parquet
from hypothesis import strategies as st

from ensembles import outside
from fer_kit.competition import CLASSES
from fer_kit.data import csv_files, csv_reader, formats
from fer_kit.data.csv_reader import LABEL, PIXEL, USAGE
from fer_kit.data.formats import encoded
from fer_kit.errors import FerKitError
from fer_kit.files import unzip
from fer_kit.runs import predictions, soft_targets
from kernels.inside import archive
from tests.fuzz.inputs import broken, broken_npy, npy, tarred, zipped
from tests.helpers import fake_runs, small_competition


@dataclass(frozen=True)
class Target:
    """A reader. make: broken files to read. read: reads one, with a folder of its own; raises AssertionError where the
    answer is wrong. once: makes ready what `read` finds in its folder.
    """

    name: str
    make: Callable[[], st.SearchStrategy[bytes]]
    read: Callable[[Path, bytes], object]
    once: Callable[[Path], object] = lambda folder: None


TARGETS: dict[str, Target] = {}


def target(make: Callable[[], st.SearchStrategy[bytes]], once: Callable[[Path], object] = lambda folder: None) -> Any:
    """Put the function below into `TARGETS`."""

    def add(read: Callable[[Path, bytes], object]) -> Callable[[Path, bytes], object]:
        name = read.__name__
        TARGETS[name] = Target(name, make, read, once)
        return read

    return add


def put(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


# --- data ------------------------------------------------------------------------------------------------------------

IN_ZIP = [*(f"x/train/{name}/1.png" for name in CLASSES), "x/test/Sad/1.png"]
CSV = ("train.csv", "fer2013.csv", "icml_face_data.csv")


def _csv() -> st.SearchStrategy[bytes]:
    """Two rows of each layout are enough; many faults lie in their first bytes, so the pixels come last or short."""
    wholes = ["\n".join(small_competition.content(name).splitlines()[:3]).encode() + b"\n" for name in CSV]
    return broken(*wholes, b"emotion,pixels\n1,2 3\n", b"emotion,pixels,Usage\n")


def _faces(content: bytes, columns: tuple[str, ...]) -> csv_reader.Faces | str:
    try:
        return csv_reader.read(io.BytesIO(content), "x.csv", columns)
    except FerKitError as error:
        return str(error)


@target(_csv)
def csv_of_faces(folder: Path, content: bytes) -> object:
    """The two paths of the reader agree, whatever the block size."""
    columns = (LABEL, PIXEL, USAGE) if b"Usage" in content else (LABEL, PIXEL)
    found = _faces(content, columns)
    with (
        mock.patch.object(csv_reader, "_parse_fast", lambda *_: None),
        mock.patch.object(csv_reader, "BLOCK_BYTES", 999),
    ):
        plain = _faces(content, columns)
    if isinstance(found, str) or isinstance(plain, str):
        assert found == plain
        raise FerKitError(str(found))
    assert all(np.array_equal(a, b) for a, b in zip(vars(found).values(), vars(plain).values(), strict=True))
    return found


@target(lambda: zipped([{"train.csv": small_competition.content("train.csv").encode(), "readme.txt": b"hello"}]))
def zipped_data(folder: Path, content: bytes) -> object:
    found = csv_files.sources(put(folder, "all.zip", content))
    for source in found.values():
        with source.open() as file:
            csv_reader.read(file, source.name, (PIXEL,))
    return found


def _packed() -> st.SearchStrategy[bytes]:
    whole = small_competition.content("fer2013.csv").encode()
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as packed:
        for name, written in (("fer2013/README", b"hello"), ("fer2013/fer2013.csv", whole)):
            member = tarfile.TarInfo(name)
            member.size = len(written)
            packed.addfile(member, io.BytesIO(written))
    wholes = [tar.getvalue(), *(gzip.compress(one, 1, mtime=0) for one in (whole, tar.getvalue()))]
    return broken(*wholes) | broken(tar.getvalue()).map(lambda content: gzip.compress(content, 1, mtime=0))


@target(_packed)
def packed_data(folder: Path, content: bytes) -> object:
    return _rows(put(folder, "fer2013.tar.gz", content))


def _rows(place: Path) -> object:
    """What the first format that finds anything at `place` reads there."""
    found = formats.find(place)
    if found is None:
        raise FerKitError("nothing found")
    rows = found.read()
    assert len(rows.train.images) == len(rows.train.labels) > 0 and len(rows.test.images) > 0
    assert rows.train.labels.max() < 7 and rows.test.labels.max(initial=0) < 7
    return rows


def _parquet(**more: Any) -> bytes:
    images = small_competition.TEST_IMAGES
    columns = {"image": [{"bytes": small_competition.encoded(image), "path": None} for image in images]}
    buffer = io.BytesIO()
    table = pyarrow.table({**columns, "label": ["sad"] * len(images), "Usage": ["Training"] * 3 + ["PrivateTest"] * 2})
    pyarrow.parquet.write_table(table, buffer, **more)
    return buffer.getvalue()


@target(lambda: broken(_parquet(), _parquet(compression="gzip", use_dictionary=False), _parquet(row_group_size=2)))
def parquet_file(folder: Path, content: bytes) -> object:
    return _rows(put(folder, "a.parquet", content))


@target(lambda: broken(*(small_competition.encoded(small_competition.TEST_IMAGES[0], end) for end in (".png", ".jpg"))))
def face_in_a_folder(folder: Path, content: bytes) -> object:
    return encoded.decode(content, "x.png")


@target(lambda: zipped([{name: small_competition.encoded(small_competition.TEST_IMAGES[0]) for name in IN_ZIP}]))
def images_in_a_zip(folder: Path, content: bytes) -> object:
    return _rows(put(folder, "faces.zip", content))


VOTES = (
    b"Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF\n"
    b"Training,fer0000000.png,4,0,0,1,3,2,0,0,0,0\nTraining,,0,0,0,0,0,0,0,0,0,10\nPublicTest,,0,9,0,0,0,0,0,1,0,0\n"
)


@target(lambda: broken(VOTES, VOTES.replace(b",", b";")))
def votes_of_people(folder: Path, content: bytes) -> object:
    read = soft_targets.read(put(folder, "v.csv", content))
    return [read.of(fold) for fold in (0, ())]


@target(lambda: zipped([{"train.csv": b"emotion,pixels\n", "a/b.txt": b"x" * 99}]))
def downloaded_zip(folder: Path, content: bytes) -> object:
    out = folder / "inner" / "out"
    out.mkdir(parents=True, exist_ok=True)
    path = put(folder, "all.zip", content)
    try:
        unzip.unpack(path, unzip.members(path), out)
    finally:
        assert {one.name for one in folder.iterdir()} <= {"inner", "all.zip"}
        assert [one.name for one in (folder / "inner").iterdir()] == ["out"]
    return out


# --- predictions -----------------------------------------------------------------------------------------------------


def _npz(*arrays: dict[str, Any]) -> st.SearchStrategy[bytes]:
    return zipped([{f"{name}.npy": npy(array) for name, array in one.items()} for one in arrays], broken_npy)


def _prediction_arrays() -> tuple[dict[str, Any], dict[str, Any]]:
    ids, meta = np.array([2, 5, 9]), np.array(json.dumps(fake_runs.meta()))
    test = {"ids": ids, "logits": np.ones((3, 7), np.float32), "meta": meta}
    return test, {**test, "labels": np.array([0, 6, 3])}


@target(lambda: _npz(*_prediction_arrays()))
def prediction_file(folder: Path, content: bytes) -> object:
    read = predictions.read(put(folder, "oof.npz", content))
    predictions.write(folder / "again.npz", read)
    again = predictions.read(folder / "again.npz")
    assert again.meta == read.meta and np.array_equal(again.logits, read.logits) and np.array_equal(again.ids, read.ids)
    return read


@target(lambda: _npz(_prediction_arrays()[1] | {"ids": np.array([9, 2, 5])}, _prediction_arrays()[1]))
def other_peoples_predictions(folder: Path, content: bytes) -> object:
    test = _prediction_arrays()[0]
    predictions.write(folder / "test.npz", predictions.Predictions(test["ids"], test["logits"], fake_runs.meta()))
    put(folder, "oof.npz", content)
    return outside.load(folder)


@target(
    lambda: _npz(
        {
            "train": np.full((4, 5, 7), 1 / 7, np.float32),
            "test": np.full((1, 2, 7), 1 / 7, np.float32),
            "meta": np.array(json.dumps({**dict.fromkeys(soft_targets.META_KEYS, "x"), "schema": 1, "folds": 3})),
        }
    )
)
def soft_target_file(folder: Path, content: bytes) -> object:
    read = soft_targets.read(put(folder, "t.npz", content))
    return [read.of(fold) for fold in (0, ())]


@target(lambda: tarred({"folds.csv": b"x" * 700, "run/fold0/result.json": b"{}", "run/fold0/oof.npz": b"12"}))
def kernel_archive(folder: Path, content: bytes) -> object:
    out = folder / "inner" / "out"
    out.mkdir(parents=True, exist_ok=True)
    try:
        archive.unpack(put(folder, "runs-1.tar", content), out, "run")
    finally:
        assert {one.name for one in folder.iterdir()} <= {"inner", "runs-1.tar"}
        assert [one.name for one in (folder / "inner").iterdir()] == ["out"]
        assert not any(one.is_symlink() for one in out.rglob("*"))
    return out
