"""What a sweep trains: recipes × seeds × settings × folds, from options or from a TOML or YAML file.

    recipes = ["vgg_small", "residual"]
    seeds = [0, 1]
    folds = "every"              # or "0-2", [0, 3], "full", "every,full"
    tag = "long"                 # part of every run's name; needed where `set` changes the recipes
    set = {epochs = 60}          # for every training
    [settings.plain]             # each of these tables is a run of its own; its name is part of the run's name
    dropout = 0.0
    [settings.dropout]
    dropout = 0.3

The plan is kept as runs/sweeps/<name>.json, with the file that it came from beside it: workers on other hosts read it.
"""

from __future__ import annotations

import dataclasses
from argparse import ArgumentTypeError
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fer_kit.config import recipes
from fer_kit.config.networks import known_cost
from fer_kit.config.train_config import TrainConfig
from fer_kit.errors import FerKitError, did_you_mean
from fer_kit.files import atomic
from fer_kit.folds import fold_spec, table
from fer_kit.folds.fold_spec import Fold
from fer_kit.runs import folders
from fer_kit.sweep import kept
from fer_kit.sweep.training import Training
from fer_kit.train import config_file, siblings
from fer_kit.train import request as train_request
from fer_kit.train.request import TrainRequest

SCHEMA = 1
MOST_TRAININGS = 10_000


@dataclass(frozen=True)
class SweepRequest:
    """What somebody asks a sweep for.

    seeds: those equal to the recipe's own give the run its plain name. set: settings for every training. settings:
    named groups of settings, one run for each. The other fields are options of train that hold for every training.
    """

    recipes: tuple[str, ...] = (recipes.DEFAULT,)
    seeds: tuple[int, ...] = ()
    folds: str = fold_spec.EVERY
    set: tuple[str, ...] = ()
    tag: str | None = None
    settings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    weights: str | None = None
    augment: str | None = None
    accumulate: int | None = None
    batch_size: int | None = None
    workers: int | None = None
    compile: bool = False
    deterministic: bool = False
    wandb: str = "off"
    smoke: bool = False


KEYS = tuple(field.name for field in dataclasses.fields(SweepRequest))
OF_TRAIN = tuple(name for name in KEYS if name not in ("recipes", "seeds", "folds", "set", "tag", "settings"))


def request_of(options: Mapping[str, Any]) -> SweepRequest:
    """The request of the options of a command line, by the names in `KEYS`; a missing one has its default.

    Raises:
        FerKitError: two groups of `--settings` have one name, or one has no settings.
    """
    asked = {name: options[name] for name in KEYS if name in options}
    asked |= {name: tuple(asked[name]) for name in ("recipes", "seeds", "set")}
    return SweepRequest(**asked | {"settings": named_settings(asked["settings"])})


def refuse_beside_file(path: Path, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuse options beside the plan file `path` that belong into the file: those that differ from their defaults."""
    for name in KEYS:
        if name in given and given[name] != defaults[name]:
            raise FerKitError(f"--plan {path} with --{name}: write {name} into the file, or leave one out")


def read_file(path: Path) -> SweepRequest:
    """The request in a TOML or YAML file.

    Raises:
        FerKitError: it cannot be read, or holds an unknown key or a value of another kind.
    """
    record = config_file.read_table(path, "--plan")
    for key in record:
        if key not in KEYS:
            raise FerKitError(f"--plan {path}: unknown key '{key}'{did_you_mean(str(key), KEYS)}; {', '.join(KEYS)}")
    return SweepRequest(**{key: _value(key, value, path) for key, value in record.items()})


def _value(key: str, value: Any, path: Path) -> Any:
    """The value of `key` in a plan file, as `SweepRequest` keeps it."""
    listed = value if isinstance(value, list) else [value]
    if key == "recipes" and all(isinstance(one, str) for one in listed):
        return tuple(listed)
    if key == "seeds" and all(type(one) is int for one in listed):
        return tuple(listed)
    if key == "folds" and all(type(one) in (int, str) for one in listed):
        return ",".join(map(str, listed))
    if key == "set":
        return config_file.settings_of(value, f"--plan {path}: set")
    if key == "settings" and isinstance(value, dict):
        return {
            str(name): config_file.settings_of(one, f"--plan {path}: settings.{name}") for name, one in value.items()
        }
    kind = {**config_file.KINDS, "smoke": bool}.get(key, str)
    if key in ("recipes", "seeds", "folds", "settings") or type(value) is not kind:
        raise FerKitError(f"--plan {path}: {key} = {value!r} is of another kind than the plan needs; see docs/sweep.md")
    if key in config_file.FILES and (path.parent / str(value)).exists():
        return str(path.parent / str(value))
    return value


def named_settings(groups: Sequence[Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """The groups of settings of `--settings NAME K=V …`, given once for each group.

    Raises:
        FerKitError: a group without a name or settings, or two of one name.
    """
    settings: dict[str, tuple[str, ...]] = {}
    for name, *words in groups:
        if "=" in name or not words or name in settings:
            raise FerKitError(
                f"--settings {' '.join([name, *words])}: give a new name and settings, e.g. wide width_mult=2"
            )
        settings[name] = tuple(words)
    return settings


def trainings_of(request: SweepRequest, runs: Path) -> list[Training]:
    """The trainings that `request` comes to, all of them checked as train checks its options.

    Raises:
        FerKitError: no folds.csv, an unknown recipe, setting or fold, a value out of range, two runs of one name.
    """
    found = [training for wanted in requests_of(request, runs) for training in of_one_run(wanted, request.folds)]
    chosen: set[tuple[str, Fold]] = set()
    for one in found:
        if (one.run, one.fold) in chosen:
            raise FerKitError(f"two trainings of the sweep would both be {one}; name a thing only once")
        chosen.add((one.run, one.fold))
    if len(found) > MOST_TRAININGS:
        raise FerKitError(f"the sweep would be {len(found):,} trainings, allowed are {MOST_TRAININGS:,}; name fewer")
    return found


def of_one_run(request: TrainRequest, folds: str) -> list[Training]:
    """The trainings of the folds of `request`, whose own fold, data folder, device and time limit do not count.

    Raises:
        FerKitError: as `trainings_of`; a finished fold was trained with other settings.
    """
    until, request = request.stop_after, portable(request)
    dealt = table.read(request.runs / "folds.csv")
    resolved = train_request.resolve(request)
    chosen = fold_spec.parse_list(folds, dealt.count)
    siblings.refuse_others(resolved, {"folds_digest": dealt.digest}, own=True)
    options = dataclasses.replace(request, runs=TrainRequest.runs).options()[2:]  # less --fold 0
    flops = flops_of(resolved.config) * resolved.config.epochs
    return [
        Training(
            resolved.run,
            fold,
            tuple(options),
            flops * _rows(resolved.config, fold, len(dealt.folds), dealt.count),
            request.smoke,
            until,
        )
        for fold in chosen
    ]


def portable(request: TrainRequest) -> TrainRequest:
    """`request` for fold 0, for any worker: with absolute paths, without what each worker decides for itself."""
    return dataclasses.replace(
        request,
        fold=0,
        data=None,
        device=TrainRequest.device,
        limit_minutes=None,
        stop_after=None,
        resume=False,
        weights=_absolute(request.weights),
        augment=_absolute(request.augment),
        settings=tuple(map(_absolute_target, request.settings)),
    )


def requests_of(request: SweepRequest, runs: Path) -> Iterable[TrainRequest]:
    """One request a run, for fold 0."""
    for recipe in request.recipes:
        own = recipes.get(recipe).seed
        for seed in request.seeds or (None,):
            for name, settings in (request.settings or {"": ()}).items():
                tag = "-".join(word for word in (request.tag, name) if word) or None
                yield TrainRequest(
                    fold=0,
                    recipe=recipe,
                    settings=(*request.set, *settings),
                    tag=tag,
                    seed=None if seed == own else seed,
                    **{name: getattr(request, name) for name in OF_TRAIN},
                    runs=runs,
                )


def _absolute(text: str | None) -> str | None:
    """A path that holds wherever a worker starts; what is no file here stays as it is."""
    return str(Path(text).resolve()) if text is not None and Path(text).exists() else text


def _absolute_target(setting: str) -> str:
    name, _, value = setting.partition("=")
    return f"{name}={_absolute(value)}" if name.strip() == "targets" and value else setting


def flops_of(config: TrainConfig) -> float:
    """FLOPs of a forward pass of one image."""
    if known := known_cost(config.model, config.width_mult):
        return known.flops
    from fer_kit.models import cost  # torch: a network of timm, or of a width of one's own, is built to be counted

    return cost.measure(config).flops


def _rows(config: TrainConfig, fold: Fold, rows: int, count: int) -> float:
    trained = rows * (1 - len(fold_spec.left_out(fold)) / count)
    return min(trained, config.limit_rows) if config.limit_rows else trained


def default_name(trainings: Sequence[Training]) -> str:
    """The name of a plan that nobody named: that of its run, or one that other plans do not have."""
    names = {training.run for training in trainings}
    if len(names) == 1:
        return names.pop()
    return f"sweep-{atomic.digest_of(sorted(names))[:8]}"


def path_of(runs: Path, name: str) -> Path:
    """Where the plan `name` is kept."""
    return runs / folders.SWEEPS / f"{name}.json"


def keep(runs: Path, name: str, trainings: Sequence[Training], source: Path | None = None) -> None:
    """Keep the plan for other workers; a plan of that name can grow, and not lose a training.

    Raises:
        FerKitError: the plan of that name has trainings that are not among `trainings`, or they have other options.
    """
    folders.safe_name(name, "sweep")
    path = path_of(runs, name)
    if path.exists():
        there = {(one.run, one.fold): one.options for one in read(runs, name)}
        now = {(one.run, one.fold): one.options for one in trainings}
        lost = [key for key, options in there.items() if now.get(key, options) != options]
        if lost:
            run, fold = lost[0]
            raise FerKitError(
                f"{path}: there {run} {fold_spec.in_words(fold)} was trained with other options "
                f"({' '.join(there[lost[0]])}); give the sweep another --name, or the run another --tag"
            )
        kept = {(one.run, one.fold): one for one in read(runs, name)}
        trainings = list((kept | {(one.run, one.fold): one for one in trainings}).values())
    record = {"schema": SCHEMA, "trainings": [_to_json(training) for training in trainings]}
    atomic.write_json(path, record)
    if source is not None:
        atomic.write_text(path.with_suffix(source.suffix), source.read_text(encoding="utf-8"))


def read(runs: Path, name: str) -> list[Training]:
    """The trainings of the plan `name`.

    Raises:
        FerKitError: no such plan, or its file is damaged.
    """
    path = path_of(runs, name)
    record = kept.read(path, f"{runs}: no sweep '{name}'", name, lambda: names(runs), "sweeps")
    try:
        kept.check_schema(record, SCHEMA, path)
        if not isinstance(record["trainings"], list):
            raise TypeError(f"trainings is a {type(record['trainings']).__name__}, allowed is a list")
        return [_from_json(one) for one in record["trainings"]]
    except (ArgumentTypeError, AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise FerKitError(f"{path}: not a plan of a sweep ({error!r}); start the sweep again") from None


def names(runs: Path) -> list[str]:
    """The plans that are kept beside the runs, the oldest first."""
    return [path.stem for path in kept.oldest_first((runs / folders.SWEEPS).glob("*.json"))]


def _to_json(training: Training) -> dict[str, Any]:
    record = dataclasses.asdict(training)
    del record["until"]  # of one command: the next one may go on, and trials of a search are in its own records
    return {**record, "fold": fold_spec.typed(training.fold), "options": list(training.options)}


def _from_json(record: Mapping[str, Any]) -> Training:
    return Training(
        run=folders.safe_name(str(record["run"]), "run"),
        fold=fold_spec.parse(record["fold"]),
        options=tuple(map(str, record["options"])),
        work=float(record["work"]),
        trial=bool(record["trial"]),
    )
