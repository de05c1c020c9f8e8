"""Gather what a model card says from the files of a run, fold or blend."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_kit.config import recipes
from fer_kit.config.train_config import TrainConfig, used
from fer_kit.errors import FerKitError
from fer_kit.evaluate import scores
from fer_kit.evaluate.scores import Scores
from fer_kit.folds import fold_spec, table
from fer_kit.runs import finished_folder, folders, lookup, predictions
from fer_kit.runs.blend_record import BlendRecord
from fer_kit.runs.lookup import BlendFolder, FoldFolder, RunFolder
from fer_kit.runs.training_record import ENVIRONMENT, read_config, read_object, read_result

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class TrainedRun:
    """A run that a card is about. folds: its fold folders with a network. weight: in a blend, None without one."""

    name: str
    config: TrainConfig
    settings: dict[str, Any]  # that differ from the recipe, or all with an effect for a recipe that is not known
    folds: tuple[str, ...]
    hours: float
    devices: tuple[str, ...]
    precisions: tuple[str, ...]
    commits: tuple[str, ...]
    config_digest: str
    weight: float | None = None


@dataclass(frozen=True, eq=False)
class Facts:
    """What a card says. scored: which rows the scores are of, in words; scores: None if nothing was held out.

    twins: whether rows of the same photo count as one group; blend: blend.json of a blend.
    """

    name: str
    kind: str
    runs: tuple[TrainedRun, ...]
    scored: str
    scores: Scores | None
    twins: bool
    folds: int | None
    data_digest: str
    folds_digest: str
    blend: BlendRecord | None = None


def gather(runs_dir: Path, name: str) -> Facts:
    """The facts about the run, fold or blend called `name`.

    Raises:
        FerKitError: there is none of this name, no fold is finished, or a file is damaged.
    """
    found = lookup.find(runs_dir, name)
    if isinstance(found, BlendFolder):
        return _of_blend(found)
    run = found.run if isinstance(found, FoldFolder) else found
    chosen = [found] if isinstance(found, FoldFolder) else [one for one in run.folds() if one.finished and _single(one)]
    finished = [one for one in chosen if one.finished]
    if not finished:
        raise FerKitError(f"{found.folder}: no fold is finished; a card is about finished networks")
    scored, oof = _scored(run, found)
    result = read_result(finished[0].folder / finished_folder.RESULT)
    groups, twins = _groups(runs_dir, oof, result["folds_digest"])
    return Facts(
        name=found.name,
        kind="fold" if isinstance(found, FoldFolder) else "run",
        runs=(_trained(run, finished),),
        scored=scored,
        scores=None if oof is None or groups is None else scores.scores(oof[0], oof[1], groups),
        twins=twins,
        folds=result.get("folds"),
        data_digest=result["data_digest"],
        folds_digest=result["folds_digest"],
    )


def _single(one: FoldFolder) -> bool:
    """Whether the folder is a fold by number, or the full fit: not a teacher with several held-out folds."""
    return isinstance(one.fold, int) or one.fold == fold_spec.ALL


def _scored(run: RunFolder, found: RunFolder | FoldFolder) -> tuple[str, tuple[Any, Ints, Ints] | None]:
    """In words, which rows are scored; their logits, labels and ids."""
    own = found.folder / finished_folder.OOF if isinstance(found, FoldFolder) else None
    if own is not None and own.is_file():
        part = predictions.read(own)
        assert part.labels is not None
        return f"the {len(part):,} train rows that fold {found.folder.name.removeprefix('fold')} held out", (
            part.logits,
            part.labels,
            part.ids,
        )
    if run.name not in folders.list_runs(run.runs_dir) or not run.status().finished:  # only a full fit
        return "nothing: every row was trained on", None
    whole = run.load(allow_partial=True)
    assert whole.oof.labels is not None
    of = "each predicted by the network of the fold that held it out"
    if own is not None:
        of += "; the network of this card was trained on all rows and is not scored itself"
    return f"{len(whole.oof):,} train rows, {of}", (whole.oof.logits, whole.oof.labels, whole.oof.ids)


def _groups(runs_dir: Path, oof: tuple[Any, Ints, Ints] | None, digest: str) -> tuple[Ints | None, bool]:
    """The twin group of each scored row, and whether twins are known."""
    if oof is None:
        return None, False
    path = runs_dir / "folds.csv"
    if not path.is_file():
        return oof[2], False
    folds = table.read(path)
    if folds.digest != digest:
        return oof[2], False
    groups: Ints = folds.groups[oof[2]]
    return groups, True


def _trained(run: RunFolder, chosen: list[FoldFolder], weight: float | None = None) -> TrainedRun:
    """The record of a run from the files of its folds."""
    configs = [read_config(one.folder) for one in chosen]
    results = [read_result(one.folder / finished_folder.RESULT) for one in chosen]
    environments = [
        read_object(one.folder / ENVIRONMENT) if (one.folder / ENVIRONMENT).is_file() else {} for one in chosen
    ]
    config = configs[0]
    try:
        recipe = recipes.get(config.recipe)
        settings = {name: value for name, value, before in used(config, recipe) if value != before}
    except FerKitError:  # a recipe of another version
        settings = dict(config.to_json())
    seconds = sum(float(one.get("train_seconds") or 0) + float(one.get("predict_seconds") or 0) for one in results)
    return TrainedRun(
        name=run.name,
        config=config,
        settings=settings,
        folds=tuple(one.folder.name for one in chosen),
        hours=seconds / 3600,
        devices=_different(one.get("device") for one in results),
        precisions=_different(one.get("precision") for one in results),
        commits=_different([*(one.get("commit") for one in results), *(one.get("commit") for one in environments)]),
        config_digest=config.digest,
        weight=weight,
    )


def _different(values: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(value) for value in values if value))


def _of_blend(found: BlendFolder) -> Facts:
    """The facts about a blend, with those of the runs among its members."""
    blend = found.load()
    oof = blend.oof
    assert oof.labels is not None
    groups, twins = _groups(found.runs_dir, (oof.logits, oof.labels, oof.ids), oof.meta["folds_digest"])
    assert groups is not None
    runs = []
    for member in blend.record.members:
        for source in member.sources:
            run = RunFolder(found.runs_dir, source.path)
            folds = [one for one in run.folds() if one.finished and _single(one)] if source.kind == "run" else []
            if folds:
                runs.append(_trained(run, folds, member.weight))
    return Facts(
        name=found.name,
        kind="blend",
        runs=tuple(runs),
        scored=f"{len(oof):,} train rows, each predicted by networks and blend weights that did not see it",
        scores=scores.scores(oof.logits, oof.labels, groups),
        twins=twins,
        folds=blend.record.folds,
        data_digest=oof.meta["data_digest"],
        folds_digest=oof.meta["folds_digest"],
        blend=blend.record,
    )
