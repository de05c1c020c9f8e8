"""The other folds of a run: a fold that does not match them is refused before its first step."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fer_kit.config.train_config import TrainConfig
from fer_kit.errors import FerKitError
from fer_kit.runs import finished_folder
from fer_kit.runs.training_record import read_config, read_object
from fer_kit.train.request import ResolvedRequest

WAY_OUT = "use the same, or name a new run with --tag"


def refuse_others(resolved: ResolvedRequest, identity: Mapping[str, str], own: bool = False) -> None:
    """Refuse a fold whose finished siblings have other settings, folds or data: no command reads such a run.

    identity: digests of folds and data, as far as they are known. own: compare the fold itself too, if it is finished.

    Raises:
        FerKitError: the message names the settings or digests that differ.
    """
    for folder, result in _finished(resolved, own):
        if not refuse_other_settings(folder, resolved.config):
            continue
        for key, what in (("folds_digest", "other folds"), ("data_digest", "other data")):
            if key in identity and result.get(key) not in (None, identity[key]):
                digests = f"digest {str(result[key])[:12]}, now {identity[key][:12]}"
                raise FerKitError(f"{folder} was trained on {what} ({digests}); {WAY_OUT}")


def refuse_other_settings(folder: Path, config: TrainConfig) -> bool:
    """Refuse a finished fold in `folder` that has other settings; False if its config.json cannot be read.

    The commands that read the run report a damaged file.

    Raises:
        FerKitError: the message names the settings that differ.
    """
    try:
        theirs = read_config(folder)
    except FerKitError:
        return False
    if others := differing(theirs, config):
        then, now = (" ".join(f"{name}={getattr(one, name)}" for name in others) for one in (theirs, config))
        raise FerKitError(f"{folder} was trained with {then}, this command has {now}; {WAY_OUT}")
    return True


def refuse_other_network(resolved: ResolvedRequest, parameters: int) -> None:
    """Refuse a fold whose network has another number of parameters than the networks of its finished siblings.

    The code of a network can change while its name stays the same.

    Raises:
        FerKitError: the message gives both numbers.
    """
    for folder, result in _finished(resolved):
        theirs = result.get("parameters")
        if isinstance(theirs, int) and theirs != parameters:
            raise FerKitError(
                f"{folder} has a network of {theirs:,} parameters, {resolved.config.model} now has {parameters:,}; "
                "restore the old code, or name a new run with --tag"
            )


def differing(one: TrainConfig, other: TrainConfig) -> list[str]:
    """The settings in which two configs differ."""
    return [name for name, value in dataclasses.asdict(one).items() if value != getattr(other, name)]


def _finished(resolved: ResolvedRequest, own: bool = False) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Folder and result.json of the finished siblings; none for a smoke run, which is never blended."""
    if resolved.request.smoke:
        return
    for path in sorted(resolved.folder.parent.glob(f"fold*/{finished_folder.RESULT}")):
        if own or path.parent != resolved.folder:
            try:
                yield path.parent, read_object(path)
            except FerKitError:
                continue
