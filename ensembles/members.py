"""The members of a blend: runs, other blends and prediction files; and the checks that they match."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ensembles import outside
from fer_kit import metrics
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.folds import table
from fer_kit.runs import folders, lookup, predictions
from fer_kit.runs.blend_record import BlendRecord
from fer_kit.runs.finished_folder import BLEND, OOF, TEST
from fer_kit.runs.folders import BLENDS, Run, Status
from fer_kit.runs.lookup import BlendFolder, RunFolder
from fer_kit.runs.predictions import Predictions
from fer_kit.runs.training_record import CONFIG

RUN, OF_BLEND, FILES = "run", "blend", "files"  # kinds of members


@dataclass(frozen=True)
class SourceFiles:
    """A folder with predictions, and the sha256 of each file by its path below `path`. kind: one of the three above."""

    kind: str
    path: Path
    sha256: dict[str, str]


@dataclass(frozen=True, eq=False)
class Member:
    """One member: N out-of-fold rows with labels, M test rows.

    sources: the folders it was read from; several for the mean of runs that differ only in their seed.
    fold_of_row: the fold that held out each row, int64 (N,), for runs and blends of runs; else None.
    record, parts: blend.json and the members of a blend.
    """

    name: str
    kind: str
    oof: Predictions
    test: Predictions
    sources: tuple[SourceFiles, ...]
    fold_of_row: NDArray[np.int64] | None = None
    record: BlendRecord | None = None
    parts: tuple[Member, ...] = ()

    @property
    def labels(self) -> NDArray[np.int64]:
        """Labels of the out-of-fold rows, int64 (N,)."""
        assert self.oof.labels is not None  # every function that loads a member refuses files without labels
        return self.oof.labels

    @property
    def learned(self) -> bool:
        """Whether this blend, or a blend inside it, has fitted anything to out-of-fold rows."""
        learned = self.record is not None and bool(self.record.learned)
        return learned or any(part.learned for part in self.parts)

    @property
    def inside(self) -> list[Path]:
        """Resolved folders of all members of a blend and of the blends inside it, by their blend.json."""
        found: list[Path] = []
        if self.record is not None:
            _add_parts(self.sources[0].path, self.record, found)
        return found


def gather(runs_dir: Path, wanted: Sequence[str] | None) -> tuple[list[Member], list[str]]:
    """The members, and a line for each run that was left out.

    Args:
        wanted: see `choose`. None takes every run whose folds are all finished. Unfinished and damaged runs, and runs
            of other folds or data than most, are left out with a line; trials (`--smoke`) are left out without a
            line. Blends are members only if they are named.

    Raises:
        FerKitError: no run can be blended; and as `choose` and `load`.
    """
    if wanted is not None:
        return load(runs_dir, choose(runs_dir, wanted)), []
    known = [name for name in folders.list_runs(runs_dir) if not folders.is_trial(name)]
    if not known:
        raise FerKitError(f"{runs_dir}: no runs; train a run first, or name the folder of runs with --runs")
    unfinished: list[Status] = []
    found: list[Member] = []
    damaged: list[str] = []
    for name in known:
        try:
            state = folders.status(runs_dir, name)
            if state.complete:
                found.append(read(runs_dir, runs_dir / name))
            else:
                unfinished.append(state)
        except FerKitError as error:
            damaged.append(f"left out: {name}: {error}")
    tries = [state.name for state in unfinished if state.is_one_fold_try]
    lines = damaged + [
        f"left out: {folders.unfinished_message(runs_dir, state)}" for state in unfinished if state.name not in tries
    ]
    lines += [f"left out, only one fold each: {', '.join(tries)}"] * bool(tries)
    if not found:
        if not unfinished:
            raise FerKitError(f"no run can be blended; {damaged[0]}")
        nearest = max(unfinished, key=lambda state: len(state.finished))
        more = f" ({len(damaged)} more cannot be read; {damaged[0]})" if damaged else ""
        raise FerKitError(f"no run is complete; {folders.unfinished_message(runs_dir, nearest)}{more}")
    kept, strangers = _of_one_kind(runs_dir, found)
    _refuse_copies(kept)
    return kept, [*lines, *strangers]


def _of_one_kind(runs_dir: Path, members: list[Member]) -> tuple[list[Member], list[str]]:
    """The members with the same folds and data, and a line for each other member.

    The folds and data are those of folds.csv if any member has them, else the most frequent.
    """
    kinds = [(member.oof.meta["folds_digest"], member.oof.meta["data_digest"]) for member in members]
    try:
        own = table.read(runs_dir / "folds.csv").digest
    except FerKitError:
        own = ""
    kind = max(dict.fromkeys(kinds), key=lambda one: (one[0] == own, kinds.count(one)))
    kept = [member for member, one in zip(members, kinds, strict=True) if one == kind]
    why = "made with other folds or other data than the other runs; name it in --members to blend it"
    return kept, [f"left out: {m.name}: {why}" for m, one in zip(members, kinds, strict=True) if one != kind]


def choose(runs_dir: Path, wanted: Sequence[str]) -> list[Path]:
    """The folders of the members called `wanted`.

    wanted: names of runs, globs over runs ("attention*"), names of blends, globs over blends ("blends/a*"), folders
        with prediction files.

    Raises:
        FerKitError: a name or glob matches nothing, or a member is named twice.
    """
    asked_by: dict[Path, tuple[Path, str]] = {}
    for pattern in wanted:
        for place in _places(runs_dir, pattern):
            if place.resolve() in asked_by:
                raise FerKitError(
                    f"--members: {_what(runs_dir, place)} is given twice, by '{asked_by[place.resolve()][1]}' and by "
                    f"'{pattern}'; give it once"
                )
            asked_by[place.resolve()] = place, pattern
    return [place for place, _ in asked_by.values()]


def _places(runs_dir: Path, pattern: str) -> list[Path]:
    """The folders that one value of --members stands for."""
    if any(sign in pattern for sign in "*?["):  # '*' matches no blends: a blend and its own runs would count twice
        of_blends = pattern.startswith(f"{BLENDS}/")
        names = [name for name in lookup.known(runs_dir) if name.startswith(f"{BLENDS}/") == of_blends]
        if chosen := fnmatch.filter(names, pattern):
            return [runs_dir / name for name in chosen]
    elif isinstance(found := lookup.look(runs_dir, pattern), RunFolder | BlendFolder):
        return [found.folder]
    elif Path(pattern).is_dir():
        return [Path(pattern)]
    raise lookup.unknown(runs_dir, pattern, "run, blend or folder", "--members")


def _what(runs_dir: Path, place: Path) -> str:
    if place.parent == runs_dir / BLENDS:
        return f"blend '{place.name}'"
    return f"run '{place.name}'" if place.parent == runs_dir else f"folder '{place}'"


def load(runs_dir: Path, places: Sequence[Path]) -> list[Member]:
    """Read and check the members in `places`.

    Raises:
        FerKitError: the list is empty; a member is unfinished or damaged, or its own members have changed; two
            members are copies, or differ in folds or data.
    """
    if not places:
        raise FerKitError("--members: the list is empty; name runs, blends or folders, or omit the option")
    members = [read(runs_dir, place) for place in places]
    _refuse_copies(members)
    oofs = [member.oof for member in members]
    predictions.same_meta(oofs, ("folds_digest", "data_digest"), f"{runs_dir}: members do not match")
    return members


def by_recipe(members: Sequence[Member]) -> list[Member]:
    """The members, best first, with the mean of runs that differ only in their seed as one member.

    The order depends only on scores and names, so that sums and ties do not depend on the order of the arguments.
    """
    alike: dict[str, list[Member]] = {}
    for number, member in enumerate(members):
        alike.setdefault(_recipe_digest(member) or f"member {number}", []).append(member)
    merged = [seeds[0] if len(seeds) == 1 else _mean(seeds) for seeds in alike.values()]
    return sorted(merged, key=lambda m: (-metrics.accuracy(m.oof.logits, m.labels), m.name))


def read(runs_dir: Path, place: Path) -> Member:
    """The member in folder `place`, called by its name if the folder is in `runs_dir`, else by its path."""
    home = place.absolute().parent
    if (place / BLEND).is_file() and home.name == BLENDS:
        here = home.parent == runs_dir.absolute()
        return _of_blend(runs_dir if here else home.parent, place, f"{BLENDS}/{place.name}" if here else f"{place}")
    if place.name in folders.list_runs(home):
        run = folders.load(place.parent, place.name)
        return _of_run(run, run.name if home == runs_dir.absolute() else f"{place}")
    oof, test, sha256 = outside.load(place)
    return Member(f"{place}", FILES, oof, test, (SourceFiles(FILES, place, sha256),))


def _of_run(run: Run, name: str) -> Member:
    return Member(name, RUN, run.oof, run.test, (SourceFiles(RUN, run.folder, run.sha256),), run.fold_of_row)


def _of_blend(runs_dir: Path, place: Path, name: str) -> Member:
    """A blend with its own members, which must exist if the blend fitted anything to them."""
    blend = folders.load_blend(runs_dir, place.name)
    if blend.record.twins is not None:
        raise FerKitError(
            f"{place}: twins were looked up, so its out-of-fold predictions use the labels of twins; blend "
            f"'{blend.record.twins.blend}' instead, and add --twins"
        )
    try:
        parts = _parts(runs_dir, place, blend.record)
    except FerKitError:
        if blend.record.learned:
            raise
        parts = ()  # nothing has to be fitted again, so the stored rows suffice; only a forecast needs the runs
    source = SourceFiles(OF_BLEND, place, blend.record.files)
    folds = next((part.fold_of_row for part in parts if part.fold_of_row is not None), None)
    return Member(name, OF_BLEND, blend.oof, blend.test, (source,), folds, blend.record, parts)


def _parts(runs_dir: Path, place: Path, record: BlendRecord) -> tuple[Member, ...]:
    """The members of a blend.

    Raises:
        FerKitError: a member is missing or has changed since the blend was made.
    """
    members = []
    for entry in record.members:
        if not entry.sources:
            raise FerKitError(
                f"{place}: does not record the files of its member '{entry.run}'; blend again with --force"
            )
        seeds = []
        for source in entry.sources:
            where = runs_dir / source.path
            if not where.is_dir():
                raise FerKitError(
                    f"{place}: its member {where} is missing, so its weights cannot be fitted again; restore it, or "
                    f"copy {OOF} and {TEST} to another folder and name that folder, whose rows are taken as they are"
                )
            seeds.append(read(runs_dir, where))
            if seeds[-1].sources[0].sha256 != source.sha256:
                raise FerKitError(f"{place}: its member {where} has changed; make this blend again with --force")
        members.append(replace(seeds[0] if len(seeds) == 1 else _mean(seeds), name=entry.run))
    return tuple(members)


def _add_parts(place: Path, record: BlendRecord, found: list[Path]) -> None:
    """Add the folders of the members of the blend in `place`, and of the blends among them, to `found`."""
    for entry in record.members:
        for source in entry.sources:
            folder = (place.parent.parent / source.path).resolve()
            if folder not in found:
                found.append(folder)
                if folder.parent.name == BLENDS and (folder / BLEND).is_file():
                    _add_parts(folder, folders.load_blend(folder.parent.parent, folder.name).record, found)


def _recipe_digest(member: Member) -> str | None:
    """Digest of a run's config without its seed; None if there is no config.json."""
    path = member.sources[0].path / "fold0" / CONFIG
    if member.kind != RUN or not path.is_file():
        return None
    config = atomic.read_json(path)
    if not isinstance(config, dict) or atomic.digest_of(config) != member.oof.meta["config_digest"]:
        raise FerKitError(f"{path}: not the config of the predictions in its folder; train this run again")
    return atomic.digest_of({**config, "seed": None})


def _mean(seeds: Sequence[Member]) -> Member:
    """The mean of the probabilities of several seeds, on out-of-fold and on test rows."""
    seeds = sorted(seeds, key=lambda member: member.name)

    def mean(parts: Sequence[Predictions]) -> Predictions:
        logits = metrics.mean_of_probabilities([part.logits for part in parts])
        return replace(parts[0], logits=logits.astype(np.float32))

    return replace(
        seeds[0],
        name=f"{seeds[0].name}×{len(seeds)}",
        oof=mean([seed.oof for seed in seeds]),
        test=mean([seed.test for seed in seeds]),
        sources=tuple(source for seed in seeds for source in seed.sources),
    )


def _refuse_copies(members: Sequence[Member]) -> None:
    """Raise FerKitError if two members are copies, which would count twice."""
    for index, member in enumerate(members):
        for other in members[:index]:
            theirs = set(other.sources[0].sha256.values())
            shared = sorted(file for file, sha256 in member.sources[0].sha256.items() if sha256 in theirs)
            if shared or _content(member) == _content(other):
                what = f"the same {shared[0]}" if shared else "the same logits on all rows"
                raise FerKitError(f"'{member.name}' is a copy of '{other.name}' ({what}); name only one of the two")


def _content(member: Member) -> bytes:
    return hashlib.sha256(member.oof.logits.tobytes()).digest()
