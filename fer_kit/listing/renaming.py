"""Renames a finished run, in its folder and in all its records.

The name stands in result.json, in the meta of oof.npz and test.npz and so in their sha256, in the header of
model.safetensors, and in the command of env.json, from which the command for a missing fold is made. So a renamed copy
is built beside the run (files that do not name the run are hard links), read back, and put in place of the run.
Where other records name the run or the sha256 of its files, renaming is refused.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from fer_kit import cli, programs
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.folds import fold_spec
from fer_kit.listing.removal import aside, blends_of, existing, idle
from fer_kit.runs import finished_folder, folders, ledger, predictions, soft_targets
from fer_kit.runs.finished_folder import HASHED, RESULT, WEIGHTS
from fer_kit.runs.training_record import CONFIG, ENVIRONMENT, LOG

_MOST_HEADER_BYTES = 100 << 20  # safetensors' own limit


def rename(runs_dir: Path, old: str, new: str, yes: bool) -> bool:
    """Rename run `old` to `new` after asking; False if the user said no.

    Raises:
        FerKitError: no such run, a name that is taken or that training would not give, a fold that is not finished,
            a training at it, or records elsewhere that name the run.
    """
    folder = existing(runs_dir, old)
    target = runs_dir / folders.safe_name(new, "run")
    if target.exists():
        raise FerKitError(f"{target} exists already; choose another name, or delete that run first")
    with idle(folder):
        folds = sorted(path for path in folder.glob("fold*") if path.is_dir())
        for fold in folds:
            if not finished_folder.is_finished(fold):
                raise FerKitError(f"{fold} is not finished or damaged; finish it or remove it, then rename")
        if found := mentions(runs_dir, old):
            raise FerKitError(f"{folder} is named by {', '.join(found)}, which would no longer find it; keep the name")
        commands = {fold: renamed_command(fold, new) for fold in folds}
        changed = f"{RESULT}, {ENVIRONMENT}, {WEIGHTS} and the predictions in {', '.join(fold.name for fold in folds)}"
        if not cli.confirmed(f"Rename {folder} to {target} and rewrite {changed}?", yes):
            print("nothing was renamed")
            return False
        with aside(runs_dir) as place:
            copy = place / "new" / new
            link_tree(folder, copy)
            for fold in folds:
                rewrite(copy / fold.name, old, new, commands[fold])
            check(place / "new", new, len(folds))
            copy.rename(target)
            folder.rename(place / "old")
        print(f"renamed {folder} to {target}; rewrote {changed}")
        return True


def mentions(runs_dir: Path, name: str) -> list[str]:
    """What else names the run: blends, runs made from it, soft targets, kernels and the ledger of submissions."""
    found = [f"blends/{blend}" for blend in blends_of(runs_dir, name)]
    for other in folders.list_runs(runs_dir):
        if other != name and any(made_from(fold, name) for fold in (runs_dir / other).glob("fold*")):
            found.append(other)
    for path in sorted(runs_dir.glob("targets/*.npz")):
        if name in quoted(soft_targets.read(path).meta["teachers"]):
            found.append(f"targets/{path.name}")
    programs.find_kernels()
    from kernels import push_log

    if any(push.run == name for push in push_log.read(runs_dir)):
        found.append(push_log.FILE)
    book = Path(ledger.LEDGER)
    for entry in ledger.read(book):
        members = [member.strip().partition(" ")[0] for member in entry.members.split(";")]
        if Path(entry.source).name == name or name in members:
            found.append(f"{book} ({entry.file})")
    return found


def made_from(fold: Path, name: str) -> bool:
    """Whether a fold was predicted again by, or started from, the networks of run `name`."""
    path = fold / RESULT
    result = atomic.read_json(path) if path.is_file() else {}
    source = result.get("source") if isinstance(result, dict) else None
    if isinstance(source, dict) and source.get("run") == name:
        return True
    config = atomic.read_json(fold / CONFIG) if (fold / CONFIG).is_file() else {}
    return isinstance(config, dict) and str(config.get("weights", "")).partition("@")[0] == name


def quoted(value: Any) -> set[str]:
    """All texts in a JSON value, keys too."""
    if isinstance(value, dict):
        return {*map(str, value), *(text for inner in value.values() for text in quoted(inner))}
    if isinstance(value, list):
        return {text for inner in value for text in quoted(inner)}
    return {value} if isinstance(value, str) else set()


def renamed_command(fold: Path, new: str) -> str:
    """The command in env.json as it would name the run `new`.

    Raises:
        FerKitError: there is no such command, so that missing folds could not be trained under the new name.
    """
    env, result = atomic.read_json(fold / ENVIRONMENT), atomic.read_json(fold / RESULT)
    words = shlex.split(str(env.get("command", ""))) if isinstance(env, dict) else []
    source = result.get("source")
    base = source["run"] if isinstance(source, dict) else result["recipe"].replace("/", "_")
    seed = f"-seed{words[words.index('--seed') + 1]}" if "--seed" in words[:-1] else ""
    tag = new.removeprefix(f"{base}-").removesuffix(seed)
    if f"{base}-{tag}{seed}" != new or not tag:
        raise FerKitError(f"'{new}' is no name that this run could have; give {base}-TAG{seed}")
    if "--trial" in words[:-1]:  # a trial of a search becomes a run like others
        at = words.index("--trial")
        del words[at : at + 2]
    if words[:2] != ["python", "-m"] or "--tag" in words[-1:]:
        raise FerKitError(f"{fold / ENVIRONMENT}: the command of the training is missing; this run keeps its name")
    if "--tag" in words:
        words[words.index("--tag") + 1] = tag
    elif any(word.startswith("--tag=") for word in words):
        words = [f"--tag={tag}" if word.startswith("--tag=") else word for word in words]
    else:
        words += ["--tag", tag]
    return shlex.join(words)


def link_tree(source: Path, target: Path) -> None:
    """The folder again, of hard links if the file system has them; without locks."""

    def link(one: str, other: str) -> None:
        try:
            os.link(one, other)
        except OSError:
            shutil.copy2(one, other)

    shutil.copytree(source, target, symlinks=True, copy_function=link, ignore=shutil.ignore_patterns(".*.lock"))


def rewrite(fold: Path, old: str, new: str, command: str) -> None:
    """Put the new name into the records of one fold. Each file is written aside, so links to the old ones stay."""
    result = atomic.read_json(fold / RESULT)
    for name, key in HASHED.items():
        if (fold / name).is_file():
            rows = predictions.read(fold / name)
            predictions.write(fold / name, replace(rows, meta={**rows.meta, "run": new}))
            result[key] = atomic.sha256_of(fold / name)
    if (fold / WEIGHTS).is_file():
        rewrite_header(fold / WEIGHTS, new)
        if finished_folder.WEIGHTS_SHA256 in result:
            result[finished_folder.WEIGHTS_SHA256] = atomic.sha256_of(fold / WEIGHTS)
    atomic.write_json(fold / ENVIRONMENT, atomic.read_json(fold / ENVIRONMENT) | {"command": command})
    atomic.write_json(fold / RESULT, result | {"run": new})
    if (fold / LOG).is_file():
        atomic.write_text(fold / LOG, (fold / LOG).read_text(encoding="utf-8") + f"renamed from {old} to {new}\n")


def rewrite_header(path: Path, new: str) -> None:
    """Put the new name into the header of a safetensors file: 8 bytes of its length, JSON, then the tensors."""
    with path.open("rb") as source:
        length = int.from_bytes(source.read(8), "little")
        if length > _MOST_HEADER_BYTES:
            raise FerKitError(f"{path}: no safetensors file; remove it, then rename")
        header = atomic.parse_json(source.read(length).decode("utf-8"))
        about = atomic.parse_json(header["__metadata__"]["about"])
        header["__metadata__"]["about"] = json.dumps(about | {"run": new}, sort_keys=True)
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8
        with atomic.replacing(path) as file:
            file.write(len(text).to_bytes(8, "little") + text)
            shutil.copyfileobj(source, file, 1 << 20)


def check(runs_dir: Path, name: str, folds: int) -> None:
    """Read the renamed run back, with every sha256 and score.

    Raises:
        FerKitError: something does not agree; the run is still there under its old name.
    """
    finished = [path for path in (runs_dir / name).glob("fold*") if finished_folder.is_finished(path)]
    if len(finished) != folds:
        raise FerKitError(f"{runs_dir / name}: {len(finished)} of {folds} folds can be read back; nothing was renamed")
    if name in folders.list_runs(runs_dir) and folders.status(runs_dir, name).finished:
        folders.load(runs_dir, name, allow_partial=True)
    full = runs_dir / name / fold_spec.folder_name(fold_spec.ALL) / finished_folder.TEST
    if full.is_file():
        predictions.read(full)
