"""A search: what is searched, how trials are scored, and how far each is. Kept in runs/sweeps/searches/<name>.

    search.json     the definition, for workers on other hosts
    space.yaml      the file it came from (or space.toml)
    trials.db       the trials, see `store`
    results.csv, trials.png, best.toml     see `results`

The trials are runs `<recipe>-<name>-trial<N>`. How far they are is read from their folders.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from argparse import ArgumentTypeError
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_kit.config import recipes
from fer_kit.config.settings import TABLE, Value, deciding
from fer_kit.config.train_config import TrainConfig, override, shown
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.folds import deal, fold_spec, splits
from fer_kit.runs import finished_folder, folders
from fer_kit.runs.training_record import METRICS, read_epochs, read_result
from fer_kit.sweep import kept
from fer_kit.sweep.runner import read_failure
from fer_kit.sweep.search import space as spaces
from fer_kit.sweep.search.halving import Standing
from fer_kit.sweep.search.space import Space
from fer_kit.sweep.search.store import Params
from fer_kit.sweep.training import Training
from fer_kit.train import request as train_request
from fer_kit.train.request import TrainRequest

SCHEMA = 1
MOST_TRIALS = 10_000
WATCHED, HELD_OUT = "watched", "held-out"
SCORES = (WATCHED, HELD_OUT)
_REQUEST: tuple[str, ...] = ("recipe", "settings", "seed", "accumulate", "weights", "augment", "workers", "compile")
_REQUEST += ("deterministic", "wandb")


@dataclass(frozen=True)
class Search:
    """What is searched.

    Attributes:
        request: the training of a trial, without the searched settings.
        rungs: epochs after which trials are compared; the last is the whole training. See `halving`.
        score: HELD_OUT, the accuracy on the held-out fold, or WATCHED, that on the rows that the recipe watches.
        rows: number of rows that a score is measured on.
        folds_digest: of folds.csv.
    """

    name: str
    request: TrainRequest
    space: Space
    rungs: tuple[int, ...]
    trials: int
    score: str
    rows: int
    folds_digest: str

    @property
    def folder(self) -> Path:
        """Where the search is kept."""
        return folder_of(self.request.runs, self.name)

    @property
    def scored_on(self) -> str:
        """`the 5,742 rows of fold 0`."""
        fold = fold_spec.in_words(self.request.fold)
        return f"the {self.rows:,} {'watched rows' if self.score == WATCHED else 'rows'} of {fold}"

    def words(self, params: Params) -> list[str]:
        """The settings of a trial as `name=value`, without those that have no effect beside the others."""
        base = _base(self.request)
        config = override(base, [f"{name}={shown(value)}" for name, value in params.items()])
        return [f"{name}={shown(value)}" for name, value in params.items() if TABLE[name].is_used(config)]

    def request_of(self, number: int, params: Params) -> TrainRequest:
        """The training of trial `number`."""
        settings = (*self.request.settings, *self.words(params))
        return dataclasses.replace(self.request, settings=settings, tag=self.name, trial=number)

    def config_of(self, params: Params) -> TrainConfig:
        """The config of a trial."""
        return override(_base(self.request), self.words(params))

    def training(self, number: int, params: Params, rung: int) -> Training:
        """The training of trial `number` until rung number `rung`."""
        request = self.request_of(number, params)
        run = folders.run_name(request.recipe, train_request.tag_of(request))
        options = dataclasses.replace(request, fold=0, runs=TrainRequest.runs).options()[2:]  # less --fold 0
        until = None if rung == len(self.rungs) - 1 else self.rungs[rung]
        return Training(run, request.fold, tuple(options), work=float(rung), until=until)

    def standing(self, number: int, params: Params) -> Standing:
        """How far trial `number` is."""
        runs = self.request.runs
        training = self.training(number, params, 0)
        history, _ = read_epochs(training.folder(runs) / METRICS)
        finished = dataclasses.replace(training, until=None).is_done(runs)
        result = read_result(training.folder(runs) / finished_folder.RESULT) if finished else {}
        watching = self.config_of(params).early_stop_epochs > 0 if self.score == WATCHED else False
        scores: list[float] = []
        for place, rung in enumerate(self.rungs):
            last = place == len(self.rungs) - 1
            if last and not finished:
                break
            score = self._score(history[: len(history) if last else rung], watching, rung, result)
            if score is None:
                break
            scores.append(score)
        return Standing(number, tuple(scores), failed=read_failure(runs, training) is not None)

    def _score(
        self, history: Sequence[Mapping[str, Any]], best: bool, rung: int, result: Mapping[str, Any]
    ) -> float | None:
        """The score after the epochs in `history`; None if a trial has not reached the rung or was not measured."""
        if len(history) < rung and not result:
            return None
        if self.score == HELD_OUT:
            measured = history[-1].get("held_out_accuracy") if history else None  # also of a trial that stopped early
            if rung == self.rungs[-1] or (measured is None and result):
                measured = result.get("oof_accuracy")
            return None if measured is None else float(measured)
        watched = [float(one["watch_accuracy"]) for one in history if one.get("watch_accuracy") is not None]
        if not watched:
            return None
        return max(watched) if best else watched[-1]

    def to_json(self) -> dict[str, Any]:
        """As it is kept."""
        request = {name: getattr(self.request, name) for name in (*_REQUEST, "batch_size")}
        return {
            "schema": SCHEMA,
            **{name: getattr(self, name) for name in ("trials", "score", "rows", "folds_digest")},
            "fold": fold_spec.typed(self.request.fold),
            "rungs": list(self.rungs),
            "request": request | {"settings": list(self.request.settings)},
            "space": {name: one.to_json() for name, one in self.space.items()},
        }


def _base(request: TrainRequest) -> TrainConfig:
    """The config without the searched settings; a placeholder stands for a file, which no other setting looks into."""
    named = [(train_request.name_of(word), word) for word in request.settings]
    return override(
        recipes.get(request.recipe),
        [f"{name}=file@{'0' * 16}" if name in TABLE and TABLE[name].file_option else word for name, word in named],
    )


def define(
    name: str, request: TrainRequest, space: Space, where: str, *, trials: int, score: str | None, rungs: str | None
) -> Search:
    """A search, with all its settings checked.

    Args:
        where: names the file of the space in errors.
        score: one of SCORES; None takes the watched rows if the recipe watches rows.
        rungs: epochs, separated by commas; "none" for whole trainings; None takes `halving.default_rungs`.

    Raises:
        FerKitError: no such fold, a setting without effect, a value that training would refuse, rungs or number of
            trials out of range, trials whose scores would not compare.
    """
    if not 1 <= trials <= MOST_TRIALS:
        raise FerKitError(f"--trials {trials}: give 1 to {MOST_TRIALS:,}")
    folders.safe_name(name, "search")
    spaces.refuse_fixed(space, request.settings, where)
    resolved = train_request.resolve(dataclasses.replace(request, tag=name, trial=0))
    base = _base(request)
    refuse_without_effect(space, base, where)
    watches = watching(space, base)
    if score is None:
        score = WATCHED if watches == {True} else HELD_OUT
    if score == WATCHED and (watches != {True} or "watch_frac" in space):
        why = "watch_frac in the space changes these rows" if "watch_frac" in space else "not every trial watches rows"
        raise FerKitError(f"--score {WATCHED}: {why}; use --score {HELD_OUT}")
    if score == HELD_OUT and not fold_spec.left_out(request.fold):
        raise FerKitError(f"--folds {fold_spec.typed(request.fold)} with --score {HELD_OUT}: give the number of a fold")
    dealt = deal.read(request.runs / "folds.csv")
    parts = splits.split(dealt, request.fold, resolved.config)
    rows = len(parts.watch if score == WATCHED else parts.out)
    epochs = resolved.config.epochs
    search = Search(name, request, space, parse_rungs(rungs, epochs), trials, score, rows, dealt.digest)
    for one in space.values():
        for value in one.ends():
            try:
                train_request.resolve(search.request_of(0, {one.name: value}))
            except FerKitError as error:
                raise FerKitError(f"{where}: {one.name}={shown(value)}: {error}") from None
    return search


def refuse_without_effect(space: Space, base: TrainConfig, where: str) -> None:
    """Refuse a setting that has no effect in any trial."""
    for name in space:
        row = TABLE[name]
        if not row.is_used(base) and not any(deciding(condition) in space for condition in row.used_when):
            state = ", ".join(f"{other}={shown(getattr(base, other))}" for other in map(deciding, row.used_when))
            raise FerKitError(f"{where}: {name} has no effect while {state}; drop it, or add --set {row.needed()}")


def watching(space: Space, base: TrainConfig) -> set[bool]:
    """Whether trials watch rows: {True} if all do, {True, False} if some do."""
    names = [name for name in map(deciding, TABLE["watch_frac"].used_when) if name in space]
    ends: list[Sequence[Value]] = [space[name].ends() for name in names]
    found = set()
    for values in itertools.product(*ends):
        changes = [f"{name}={shown(value)}" for name, value in zip(names, values, strict=True)]
        found.add(override(base, changes).watches)
    return found


def parse_rungs(text: str | None, epochs: int) -> tuple[int, ...]:
    """The rungs that `--rungs` gives, with the whole training as the last."""
    from fer_kit.sweep.search.halving import default_rungs

    if text is None:
        return default_rungs(epochs)
    if text == "none":
        return (epochs,)
    try:
        rungs = tuple(int(word) for word in text.split(","))
    except ValueError:
        rungs = ()
    if not rungs or list(rungs) != sorted(set(rungs)) or rungs[0] < 1 or rungs[-1] > epochs:
        raise FerKitError(f"--rungs {text}: give rising epochs from 1 to {epochs}, such as 4,13, or none")
    return rungs if rungs[-1] == epochs else (*rungs, epochs)


def folder_of(runs: Path, name: str) -> Path:
    """Where the search `name` is kept."""
    return runs / folders.SWEEPS / "searches" / name


def names(runs: Path) -> list[str]:
    """The searches that are kept beside the runs, the oldest first."""
    return [path.parent.name for path in kept.oldest_first(folder_of(runs, "").glob("*/search.json"))]


def keep(search: Search, source: Path) -> None:
    """Keep the search for other workers; one of that name can get more trials, and no other change.

    Raises:
        FerKitError: the search of that name has another space, rungs or settings, or more trials.
    """
    path = search.folder / "search.json"
    if path.exists():
        before, now = read(search.request.runs, search.name).to_json(), search.to_json()
        differing = [key for key in now if key != "trials" and before[key] != now[key]]
        if differing:
            key = differing[0]
            raise FerKitError(
                f"{path}: this search has {key} {json.dumps(before[key])}, the command has {json.dumps(now[key])}; "
                "give the new search another --name"
            )
        if before["trials"] > now["trials"]:
            raise FerKitError(
                f"--trials {search.trials}: this search has {before['trials']} already; give that or more"
            )
    atomic.write_json(path, search.to_json())
    atomic.write_text(search.folder / f"space{source.suffix}", source.read_text(encoding="utf-8"))


def read(runs: Path, name: str) -> Search:
    """The search `name`.

    Raises:
        FerKitError: no such search, or its record is damaged.
    """
    path = folder_of(runs, name) / "search.json"
    record = kept.read(path, f"{runs}: no search '{name}'", name, lambda: names(runs), "searches")
    try:
        kept.check_schema(record, SCHEMA, path)
        asked = {key: record["request"][key] for key in _REQUEST}
        asked["settings"] = tuple(map(str, asked["settings"]))
        asked["batch_size"] = record["request"].get("batch_size")  # records of the first searches lack it
        request = TrainRequest(fold_spec.parse(record["fold"]), **asked, runs=runs)
        _base(request)  # its recipe and settings are known
        return Search(
            name=folders.safe_name(name, "search"),
            request=request,
            space=spaces.from_record(record["space"], str(path)),
            rungs=tuple(map(int, record["rungs"])),
            trials=int(record["trials"]),
            score=str(record["score"]),
            rows=int(record["rows"]),
            folds_digest=str(record["folds_digest"]),
        )
    except (ArgumentTypeError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise FerKitError(f"{path}: not the record of a search ({error!r}); restore the file") from None
