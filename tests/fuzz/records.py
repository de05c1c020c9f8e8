"""Readers of records, run folders and submissions, with files to break and what must hold where one is still read."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from ensembles.fit import methods
from fer_kit.config import recipes, train_config
from fer_kit.files import atomic
from fer_kit.folds import table
from fer_kit.runs import finished_folder, folders, ledger, predictions
from kernels import push_log
from kernels.inside import manifest
from submissions import check, file_format, sources
from submissions import source_record as submission_record
from tests.fuzz.inputs import broken, broken_json, zipped
from tests.fuzz.targets import put, target
from tests.helpers import fake_runs

# --- records ---------------------------------------------------------------------------------------------------------


@target(lambda: broken_json(*(recipe.to_json() for recipe in list(recipes.RECIPES.values())[-3:])))
def config_file(folder: Path, content: bytes) -> object:
    read = train_config.from_json(atomic.read_json(put(folder, "config.json", content)), "config.json")
    assert train_config.from_json(json.loads(json.dumps(read.to_json())), "") == read
    return read.digest


@target(lambda: broken(b"lr=1e-3", b"epochs=3", b"decay_norms=true", b"model=timm/resnet18.a1_in1k", b"views=flip"))
def config_setting(folder: Path, content: bytes) -> object:
    changed = train_config.override(recipes.get("residual"), [content.decode("utf-8", "surrogateescape")])
    assert train_config.from_json(json.loads(json.dumps(changed.to_json())), "") == changed
    return changed


ENTRY = ledger.Entry(
    **{"utc": "2030-01-02T03:04:05Z", "file": "a.csv", "sha256": "0" * 64, "source": "run a", "members": "a 1"},
    **{"cv_accuracy": 0.7, "forecast": None, "message": 'say "hi", twice', "tag": "fer-00000001", "ref": "5"},
    **{"status": "complete", "public": 0.71, "private": None, "class_counts": "1 2 3", "rows_changed": 7},
    competition="fer",
)


def _ledger() -> bytes:
    row = ["" if value is None else str(value) for value in dataclasses.astuple(ENTRY)]
    quoted = [f'"{value.replace(chr(34), chr(34) * 2)}"' if "," in value else value for value in row]
    line = ",".join(quoted)
    return "\n".join([",".join(ledger.COLUMNS), line, line.replace("fer-00000001", "fer-2"), ""]).encode()


@target(lambda: broken(_ledger(), _ledger().replace(b"\n", b"\r\n")))
def ledger_file(folder: Path, content: bytes) -> object:
    read = ledger.read(put(folder, "ledger.csv", content))
    ledger.write(folder / "again.csv", read)
    assert ledger.read(folder / "again.csv") == read
    return [ledger.begun(entry) for entry in read]


PARTS = [
    manifest.Manifest("id", "0" * 64, "c", "run", "CPU", "now", True, (0, 1), (0,), (), (1,), "runs-1.tar", 4, "0" * 64)
]


@target(lambda: broken_json(*({"schema": 1, **dataclasses.asdict(one)} for one in PARTS)))
def kernel_manifest(folder: Path, content: bytes) -> object:
    put(folder, manifest.NAME, content)
    read = manifest.read(folder)
    assert read.run == folders.safe_name(read.run, "run") and "".join(map(str, vars(read).values())).isprintable()
    put(folder, "runs-1.tar", b"evil")
    return manifest.check_archive(folder, dataclasses.replace(read, sha256=hashlib.sha256(b"evil").hexdigest()))


PUSH = {"run_id": "r", "ref": "o/k", "version": 1, "url": "", "utc": "2030-01-02T03:04:05Z", "accelerator": "none"}
PUSH |= {"run": "a", "folds": [0], "limit_minutes": 9.0, "bundle_sha256": "0", "commit": "c", "state": "pushed"}


@target(lambda: broken_json({"schema": 1, "pushes": [PUSH, {**PUSH, "run_id": "s", "seen": True}]}))
def pushed_kernels(folder: Path, content: bytes) -> object:
    put(folder, push_log.FILE, content)
    chosen = push_log.choose(folder, None)
    return push_log.minutes_since(chosen.utc), chosen.name


# --- run folders -----------------------------------------------------------------------------------------------------


def _run(folder: Path) -> None:
    fake_runs.save_run(folder, "a", seed=1)


def _result() -> dict[str, Any]:
    record: dict[str, Any] = {"schema": 1, "run": "a", "recipe": "a", "fold": 1, "folds": 3, "oof_accuracy": 0.5}
    return record | {"config_digest": "config of a", "folds_digest": "folds", "data_digest": "data", "oof_sha256": "x"}


@target(lambda: broken_json(_result()), _run)
def result_file(folder: Path, content: bytes) -> object:
    """A changed result.json with the true sums put into it, and the true score where that was not changed."""
    place = folder / "a" / "fold1"
    oof = predictions.read(place / "oof.npz")
    true = {"oof_sha256": atomic.sha256_of(place / "oof.npz"), "test_sha256": atomic.sha256_of(place / "test.npz")}
    score = str(float((oof.logits.argmax(axis=1) == oof.labels).mean())).encode()
    content = content.replace(b'"oof_accuracy": 0.5', b'"oof_accuracy": ' + score)
    try:
        value = json.loads(content)
        content = json.dumps({**value, **true}).encode() if isinstance(value, dict) else content
    except (ValueError, RecursionError):
        pass
    put(place, "result.json", content)
    finished_folder.is_finished(place)
    return folders.status(folder, "a"), folders.load(folder, "a", allow_partial=True)


def _blend_record() -> dict[str, Any]:
    member = {"run": "a", "weight": 0.5, "sources": [{"path": "a", "sha256": {}}]}
    made = {"asked": "mean", "pool": "mean", "tempered": False, "learned": True, "config_digest": "d"}
    twins = {"mode": "exact", "blend": "b", "rows": 9, "rows_changed": 1, "without": {"oof_accuracy": 0.5}}
    return {**made, "members": [member, {**member, "run": "b"}], "fold_accuracies": [0.5, 0.6], "twins": twins}


def _blend(folder: Path) -> None:
    fake_runs.save_fold(folder / "blends" / "x", *fake_runs.fold_parts("a", 0, 1, 1.0))


@target(lambda: broken_json(_blend_record(), {**_blend_record(), "twins": None, "forecast": {"accuracy": 0.7}}), _blend)
def blend_file(folder: Path, content: bytes) -> object:
    place = folder / "blends" / "x"
    true = {key: atomic.read_json(place / "result.json")[key] for key in ("oof_sha256", "test_sha256", "oof_accuracy")}
    try:
        value = json.loads(content)
        content = json.dumps({**value, **true}).encode() if isinstance(value, dict) else content
    except (ValueError, RecursionError):
        pass
    put(place, "blend.json", content)
    return sources.resolve(folder, "x")


@target(lambda: broken(fake_runs.TABLE, fake_runs.TABLE.replace(b"\n", b"\r\n"), b"id,group\n0,0\n1,4\n"))
def folds_file(folder: Path, content: bytes) -> object:
    path = put(folder, "folds.csv", content)
    if content.startswith(b"id,group"):
        return table.read_test_groups(path)
    read = table.read(path)
    columns = (read.ids, read.labels, read.groups, read.folds)
    again = table.read(put(folder, "again.csv", table.table_of(table.COLUMNS, *columns)))
    assert np.array_equal(again.folds, read.folds) and sorted(read.ids.tolist()) == list(range(len(read.ids)))
    return [len(read.rows_out(fold)) > 0 for fold in range(read.count)]


@target(lambda: broken_json({"a": 0.6, "b": 0.4}, _blend_record()))
def given_weights(folder: Path, content: bytes) -> object:
    weights = methods.read(put(folder, "w.json", content), ["a", "b"])
    assert abs(weights.sum() - 1) < 1e-5 and (weights >= 0).all()
    return weights


# --- submissions -----------------------------------------------------------------------------------------------------

FORM = file_format.parse_example("x", b"id,emotion\n1,0\n2,0\n3,0\n")


@target(lambda: broken(b"0\n1\n6\n", b"3\r\n2\r\n1\r\n", b"id,emotion\n1,0\n2,6\n3,3\n"))
def submission_file(folder: Path, content: bytes) -> object:
    path = put(folder, "s.csv", content)
    form = FORM if content.startswith(b"id") else file_format.FileFormat()
    checked = check.check_file(path, form, 3, "of the test")
    lines = content.decode().replace("\r\n", "\n").rstrip("\r\n").split("\n")[form is FORM :]
    assert checked.rows == 3 == len(lines) and all(line.rpartition(",")[2] in "0123456" for line in lines)
    return checked


EXAMPLES = (
    b"id,emotion\n1,0\n2,0\n",
    b"emotion\n0\n0\n",
    b"0\n0\n",
    b"a,0\nb,0\nc,1\n",
    b"Emotion,Id\r\n0,7\r\n0,6\r\n",
)


@target(
    lambda: st.one_of(
        broken(*EXAMPLES), zipped([{file_format.EXAMPLE: EXAMPLES[0]}, {f"a/{file_format.EXAMPLE}": EXAMPLES[3]}])
    )
)
def example_submission(folder: Path, content: bytes) -> object:
    if content.startswith(b"PK"):
        form = file_format.choose(put(folder, "all.zip", content), plain=False)
    else:
        form = file_format.parse_example("x", content)
    written = [form.line(row, 3) for row in range(form.rows or 0)]
    text = "\n".join([*([] if form.header is None else [form.header]), *written, ""])
    return check.check_file(put(folder, "s.csv", text.encode()), form, form.rows or 0, "") if written else None


@target(
    lambda: broken_json(
        {
            **{"schema": 1, "sha256": "0" * 64, "source": "run a", "kind": "run", "folder": "../a", "accuracy": 0.5},
            **{"accuracy_text": "50%", "members": {"a": 1.0}, "predictions": {"fold0/test.npz": "0" * 64}},
        }
    ),
    _run,
)
def submission_source(folder: Path, content: bytes) -> object:
    file = put(folder, "s.csv", b"0\n")
    put(folder, submission_record.path_of(file).name, content)
    read = submission_record.read(file, "0" * 64)
    submission_record.refuse_unfinished(file, read)
    return argparse.Namespace(**vars(read))
