"""What goes into a blend: runs, other blends, other people's files; and that they belong together."""

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
from fer_kit.runs.folders import BLEND, BLENDS, OOF, TEST, Run, Status
from fer_kit.runs.lookup import BlendFolder, RunFolder
from fer_kit.runs.predictions import Predictions

RUN, OF_BLEND, FILES = "run", "blend", "files"  # kinds of members


@dataclass(frozen=True)
class SourceFiles:
    """Where predictions lie, and the sha256 of each file by its path below `path`."""

    kind: str
    path: Path
    sha256: dict[str, str]


@dataclass(frozen=True, eq=False)
class Member:
    """One member: N out-of-fold rows with labels, M test rows.

    sources: what it was read from; several runs where they differ in nothing but the seed and were averaged.
    fold_of_row: int64 (N,), for runs and blends of them. record: of a blend, its blend.json; parts: its own members.
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
        """Labels of the out-of-fold rows."""
        assert self.oof.labels is not None  # every way to load one refuses files without
        return self.oof.labels

    @property
    def learned(self) -> bool:
        """Whether anything in it was fitted to out-of-fold rows, be it in a blend inside of this blend."""
        learned = self.record is not None and bool(self.record.learned)
        return learned or any(part.learned for part in self.parts)

    @property
    def inside(self) -> list[Path]:
        """Resolved folders of all parts of a blend, however deep, by the records that lie there."""
        found: list[Path] = []
        if self.record is not None:
            _add_parts(self.sources[0].path, self.record, found)
        return found


def gather(runs_dir: Path, wanted: Sequence[str] | None) -> tuple[list[Member], list[str]]:
    """The members, and a line for each run that was left out.

    wanted: see `choose`. None takes every run whose folds are all finished and that belongs to the others: unfinished
        and damaged runs, and runs of other folds or data, are left out with a line, trials (`--smoke`) without;
        blends are taken only where they are named.

    Raises:
        FerKitError: nothing to blend; as `choose` and `load`.
    """
    if wanted is not None:
        return load(runs_dir, choose(runs_dir, wanted)), []
    known = [name for name in folders.list_runs(runs_dir) if not folders.is_trial(name)]
    if not known:
        raise FerKitError(f"{runs_dir}: holds no runs; train one first, or give the folder of runs with --runs")
    unfinished: list[Status] = []
    found: list[Member] = []
    lines: list[str] = []
    for name in known:
        try:
            state = folders.status(runs_dir, name)
            if state.complete:
                found.append(read(runs_dir, runs_dir / name))
            else:
                unfinished.append(state)
        except FerKitError as error:
            lines.append(f"left out: {name}: {error}")
    tries = [state.name for state in unfinished if state.is_one_fold_try]
    lines += [
        f"left out: {folders.unfinished_message(runs_dir, state)}" for state in unfinished if state.name not in tries
    ]
    lines += [f"left out, a single fold each: {', '.join(tries)}"] * bool(tries)
    if not found:
        if lines and not unfinished:
            raise FerKitError(f"no run can be blended; {lines[0]}")
        nearest = max(unfinished, key=lambda state: len(state.finished))
        raise FerKitError(f"no run is complete; {folders.unfinished_message(runs_dir, nearest)}")
    kept, strangers = _of_one_kind(runs_dir, found)
    _refuse_copies(kept)
    return kept, [*lines, *strangers]


def _of_one_kind(runs_dir: Path, members: list[Member]) -> tuple[list[Member], list[str]]:
    """The members with the folds of folds.csv (else the most common ones) and one data set; a line for each other."""
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
    """The folders of the members.

    wanted: names of runs, globs over runs ("attention*"), names of blends or globs over them ("blends/a*"), folders
        with files; runs must be finished (`load` sees to that).

    Raises:
        FerKitError: something that is not there, a member named twice.
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
    """The folders that one word after --members stands for."""
    if any(sign in pattern for sign in "*?["):  # '*' takes no blends: they would count their own runs twice
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
    """Read the members, each checked by itself; copies are refused.

    Raises:
        FerKitError: no members; one with missing folds, at odds with itself or with what it was made of;
            a copy of another; other folds or data than the others'.
    """
    if not places:
        raise FerKitError("--members: the list is empty; name runs, blends or folders, or leave the option out")
    members = [read(runs_dir, place) for place in places]
    _refuse_copies(members)
    oofs = [member.oof for member in members]
    predictions.same_meta(oofs, ("folds_digest", "data_digest"), f"{runs_dir}: members do not match")
    return members


def by_recipe(members: Sequence[Member]) -> list[Member]:
    """Runs that differ in nothing but the seed averaged into one member, since they are one opinion; best first.

    The order depends on scores and names alone, so that sums and ties come out the same however they were given.
    """
    alike: dict[str, list[Member]] = {}
    for number, member in enumerate(members):
        alike.setdefault(_recipe_digest(member) or f"member {number}", []).append(member)
    merged = [seeds[0] if len(seeds) == 1 else _mean(seeds) for seeds in alike.values()]
    return sorted(merged, key=lambda m: (-metrics.accuracy(m.oof.logits, m.labels), m.name))


def read(runs_dir: Path, place: Path) -> Member:
    """The member in folder `place`; it goes by its name where it lies in `runs_dir`, else by its path."""
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
    """A blend, with its own members; they must be there where something was fitted to them."""
    blend = folders.load_blend(runs_dir, place.name)
    if blend.record.twins is not None:
        raise FerKitError(
            f"{place}: had its twins looked up, so its out-of-fold rows know the labels of their twins; blend "
            f"'{blend.record.twins.blend}' instead and give --twins"
        )
    try:
        parts = _parts(runs_dir, place, blend.record)
    except FerKitError:
        if blend.record.learned:
            raise
        parts = ()  # nothing to fit anew: the stored rows are as good, only a forecast may lack its runs
    source = SourceFiles(OF_BLEND, place, blend.record.files)
    folds = next((part.fold_of_row for part in parts if part.fold_of_row is not None), None)
    return Member(name, OF_BLEND, blend.oof, blend.test, (source,), folds, blend.record, parts)


def _parts(runs_dir: Path, place: Path, record: BlendRecord) -> tuple[Member, ...]:
    """The members of a blend, provided that they still are what it was made of."""
    members = []
    for entry in record.members:
        if not entry.sources:
            raise FerKitError(f"{place}: does not say what its member '{entry.run}' was made of; blend again")
        seeds = []
        for source in entry.sources:
            where = runs_dir / source.path
            if not where.is_dir():
                raise FerKitError(
                    f"{place}: its member {where} is gone, and its weights cannot be fitted without; put it back, or "
                    f"copy {OOF} and {TEST} elsewhere and give that folder, whose rows are taken as they are"
                )
            seeds.append(read(runs_dir, where))
            if seeds[-1].sources[0].sha256 != source.sha256:
                raise FerKitError(f"{place}: its member {where} has changed since; make this blend again with --force")
        members.append(replace(seeds[0] if len(seeds) == 1 else _mean(seeds), name=entry.run))
    return tuple(members)


def _add_parts(place: Path, record: BlendRecord, found: list[Path]) -> None:
    """Add the folders that a blend in `place` was made of, and what these were made of, to `found`."""
    for entry in record.members:
        for source in entry.sources:
            folder = (place.parent.parent / source.path).resolve()
            if folder not in found:
                found.append(folder)
                if folder.parent.name == BLENDS and (folder / BLEND).is_file():
                    _add_parts(folder, folders.load_blend(folder.parent.parent, folder.name).record, found)


def _recipe_digest(member: Member) -> str | None:
    """Digest of a run's config without its seed; None where no config.json was kept."""
    path = member.sources[0].path / "fold0" / "config.json"
    if member.kind != RUN or not path.is_file():
        return None
    config = atomic.read_json(path)
    if not isinstance(config, dict) or atomic.digest_of(config) != member.oof.meta["config_digest"]:
        raise FerKitError(f"{path}: not the config of the predictions beside it; train this run again")
    return atomic.digest_of({**config, "seed": None})


def _mean(seeds: Sequence[Member]) -> Member:
    """The mean of the probabilities of several seeds, out-of-fold and on the test rows."""
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
    """A copy under another name would count twice."""
    for index, member in enumerate(members):
        for other in members[:index]:
            theirs = set(other.sources[0].sha256.values())
            shared = sorted(file for file, sha256 in member.sources[0].sha256.items() if sha256 in theirs)
            if shared or _content(member) == _content(other):
                what = f"the same {shared[0]}" if shared else "the same logits everywhere"
                raise FerKitError(f"'{member.name}' is a copy of '{other.name}' ({what}); give one of them")


def _content(member: Member) -> bytes:
    return hashlib.sha256(member.oof.logits.tobytes()).digest()
