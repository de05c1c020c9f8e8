"""blend.json: the members, options and scores of a blend. `read` and `write` keep every key and the order of keys.

Only keys that every version has written are required; other keys are None in blends of older versions.
"""

from __future__ import annotations

import dataclasses
import os
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_kit.errors import FerKitError
from fer_kit.files import atomic

SCHEMA = 2
FIRST_FORECAST = ("seen_share", "singles", "twins_unseen", "twins_seen", "accuracy", "interval")  # of older versions
NOT_AFTER_LOOKUP = ("standard_error", "fitted", "optimism", "methods", "comparisons", "drop")  # not in NAME-twins
AGAIN = "make this blend again with --force"
WEIGHTED = ("single", "mean", "logmean", "weights", "greedy", "given")  # methods that give each member a weight
METHODS = (*WEIGHTED, "stack")
POOLS = ("mean", "logmean")
_MOST = 1e9  # of weights and sharpness
_TEMPERATURES = (1e-3, 1e3)  # fitted temperatures are between 0.05 and 20


@dataclass(frozen=True, kw_only=True)
class SourceRecord:
    """The source of a member's predictions.

    kind: "run", "blend" or "files". path: folder, relative to the folder of runs. sha256: of each file, by its path
    below this folder.
    """

    kind: str = "run"
    path: str
    sha256: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ScoreRecord:
    """Scores on out-of-fold rows. oof_spread: standard deviation of the accuracy over folds. interval: at 95%."""

    oof_accuracy: float | None = None
    oof_spread: float | None = None
    fold_accuracies: tuple[float, ...] = ()
    interval: tuple[float, ...] | None = None
    log_loss: float | None = None


@dataclass(frozen=True, kw_only=True)
class MemberRecord:
    """A member: its weight (None if the method has none), temperature, value to the blend, and its own scores."""

    run: str
    kind: str | None = None
    recipe: str | None = None
    weight: float | None
    temperature: float | None = None
    value: float | None = None
    value_standard_error: float | None = None
    value_log_loss: float | None = None
    oof_accuracy: float | None = None
    oof_spread: float | None = None
    fold_accuracies: tuple[float, ...] = ()
    interval: tuple[float, ...] | None = None
    log_loss: float | None = None
    config_digest: str | None = None
    sources: tuple[SourceRecord, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FittedRecord:
    """Scores on the rows of the fit."""

    accuracy: float
    log_loss: float


@dataclass(frozen=True, kw_only=True)
class MethodRecord:
    """A method that was tried: fitted and cross-fitted scores, and its leaderboard forecast."""

    method: str
    fitted_accuracy: float | None = None
    fitted_log_loss: float | None = None
    cross_fitted: ScoreRecord | None = None
    forecast: float | None = None


@dataclass(frozen=True, kw_only=True)
class ComparisonRecord:
    """A comparison of the blend with the best member or the plain mean, as in `metrics.Comparison`."""

    against: str
    difference: float | None = None
    standard_error: float | None = None
    won: int | None = None
    lost: int | None = None
    z: float | None = None
    p: float | None = None
    mcnemar_p: float | None = None


@dataclass(frozen=True, kw_only=True)
class FullFitRecord:
    """Full fits that predict the test rows. how: "instead" of folds or "beside" them. sha256: by run."""

    how: str
    sha256: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class ForecastRecord:
    """The leaderboard forecast, as in `ensembles.twins.forecast.Forecast`.

    The last four are None in blends of older versions, which estimated both parts in another way.
    """

    seen_share: float | None = None
    singles: float | None = None
    twins_unseen: float | None = None
    twins_seen: float | None = None
    accuracy: float
    interval: tuple[float, ...] | None = None
    single_network: float | None = None
    half_interval: tuple[float, ...] | None = None
    standard_error: float | None = None
    half_error: float | None = None


@dataclass(frozen=True, kw_only=True)
class GainRecord:
    """The gain of the twin lookup on train rows, as in `ensembles.twins.lookup.Gain`."""

    rows: int
    with_twins: int
    before: float
    after: float
    twins_before: float
    twins_after: float
    interval: tuple[float, ...]
    changed: int
    won: int
    lost: int
    strength: float


@dataclass(frozen=True, kw_only=True)
class WithoutRecord:
    """Scores of the blend without twin lookup."""

    oof_accuracy: float
    interval: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class TwinsRecord:
    """The twin lookup. mode: "exact" or "near". blend: name of the blend without lookup. rows: number of test rows."""

    mode: str
    blend: str
    rows_changed: int
    rows_with_twins: int | None = None
    rows: int
    strength: float | None = None
    gain: GainRecord | None = None
    without: WithoutRecord


@dataclass(frozen=True, kw_only=True)
class BlendRecord:
    """The content of blend.json. members: best first. drop: names of members that can be dropped.

    oof_accuracy, fold_accuracies, interval and log_loss are cross-fitted; `fitted` is on the rows of the fit. learned:
    whether anything was fitted to out-of-fold rows; None in blends of older versions. full_fit, twins: None, and not
    written, for blends without them.
    """

    schema: int | None = None
    name: str | None = None
    asked: str | None = None
    method: str | None = None
    pool: str | None = None
    tempered: bool | None = None
    learned: bool | None = None
    sharpness: float | None = None
    members: tuple[MemberRecord, ...]
    oof_accuracy: float
    oof_spread: float | None = None
    fold_accuracies: tuple[float, ...]
    interval: tuple[float, ...] | None = None
    log_loss: float | None = None
    standard_error: float | None = None
    fitted: FittedRecord | None = None
    optimism: float | None = None
    methods: tuple[MethodRecord, ...] = ()
    comparisons: tuple[ComparisonRecord, ...] = ()
    drop: tuple[str, ...] = ()
    oof_rows: int | None = None
    twin_groups: int | None = None
    folds: int | None = None
    config_digest: str | None = None
    folds_digest: str | None = None
    data_digest: str | None = None
    full_fit: FullFitRecord | None = None
    forecast: ForecastRecord | None = None
    twins: TwinsRecord | None = None
    oof_sha256: str = ""
    test_sha256: str = ""

    @property
    def files(self) -> dict[str, str]:
        """The sha256 of the two prediction files, by name."""
        return {"oof.npz": self.oof_sha256, "test.npz": self.test_sha256}

    def to_json(self) -> dict[str, Any]:
        """The keys and values of blend.json, in the order of the file."""
        left_out = {key for key in ("full_fit", "twins") if getattr(self, key) is None}
        left_out |= set(NOT_AFTER_LOOKUP) if self.twins is not None else set()
        values = {key: value for key, value in dataclasses.asdict(self).items() if key not in left_out}
        if self.forecast is not None and self.forecast.half_interval is None:
            values["forecast"] = {key: values["forecast"][key] for key in FIRST_FORECAST}
        return values


def read(path: Path) -> BlendRecord:
    """The record in `path`.

    Raises:
        FerKitError: the file is missing or not a JSON object, a required key is missing, or a value has the wrong type
            or is out of range.
    """
    return from_json(path, atomic.read_json(path))


def write(path: Path, record: BlendRecord) -> None:
    """Write `record` to `path`, whole or not at all."""
    atomic.write_json(path, record.to_json())


def from_json(path: Path, value: Any) -> BlendRecord:
    """The record in `value`, the JSON value of the file `path`.

    Raises:
        FerKitError: a required key is missing, or a value has the wrong type or is out of range.
    """
    if not isinstance(value, dict):
        raise FerKitError(f"{path}: not a JSON object; {AGAIN}")
    try:
        record: BlendRecord = _decode(BlendRecord, value, "")
        if record.learned:  # then the fit must be repeatable, for blends that have this blend as a member
            for key in ("asked", "pool", "tempered"):
                if getattr(record, key) is None:
                    raise _WrongTypeError(key)
            if not all(member.sources for member in record.members):
                raise _WrongTypeError("sources")
    except _WrongTypeError as error:
        raise FerKitError(f"{path}: '{error}' is missing or has the wrong type; {AGAIN}") from None
    for key, found, allowed, valid in _ranges(path, record):
        if not valid:
            raise FerKitError(f"{path}: '{key}' is {repr(found)[:80]}, allowed {allowed}; {AGAIN}")
    return record


def _ranges(path: Path, record: BlendRecord) -> Iterator[tuple[str, Any, str, bool]]:
    """Key, value, what is allowed, and whether the value is; comparisons are False for NaN."""
    yield "schema", record.schema, f"is 1 to {SCHEMA}", record.schema is None or 1 <= record.schema <= SCHEMA
    yield "method", record.method, f"are {', '.join(METHODS)}", record.method in (None, *METHODS)
    yield "pool", record.pool, f"are {', '.join(POOLS)}", record.pool in (None, *POOLS)
    sharpness = record.sharpness
    yield "sharpness", sharpness, "are finite numbers above 0", sharpness is None or 0 < sharpness <= _MOST
    yield "members", [], "is one member or more", bool(record.members)
    low, high = _TEMPERATURES
    itself = f"{path.parent.parent.name}/{path.parent.name}"
    for number, member in enumerate(record.members):
        key = f"members[{number}]"
        one, weight = member.temperature, member.weight
        yield f"{key}.temperature", one, f"are numbers from {low:g} to {high:g}", one is None or low <= one <= high
        yield f"{key}.weight", weight, "are finite numbers from 0", weight is None or 0 <= weight <= _MOST
        if record.method in WEIGHTED:
            yield f"{key}.weight", weight, f"are numbers for method '{record.method}'", weight is not None
        if record.method == "stack":  # a loaded blend leaves out members of weight 0
            yield f"{key}.weight", weight, "is null for method 'stack'", weight != 0
        for place in (source.path for source in member.sources if source.kind == "blend"):
            yield f"{key}.sources", place, "are other blends", os.path.normpath(place) != itself
    weights = [member.weight for member in record.members]
    all_zero = None not in weights and not any(weights)
    yield "members.weight", weights, "are weights of which one is above 0", not all_zero


class _WrongTypeError(Exception):
    """The key whose value is missing or has the wrong type."""


def _decode(kind: Any, value: Any, key: str) -> Any:
    """`value` converted to `kind`: a dataclass, a tuple, a dict with text keys, a union or a plain type."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _decode_object(kind, value, key)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        return None if value is None else _decode(inner[0], value, key)  # all unions here are `X | None`
    if origin is tuple and isinstance(value, list):
        return tuple(_decode(inner[0], one, key) for one in value)
    if origin is dict and isinstance(value, dict):
        return {name: _decode(inner[1], one, key) for name, one in value.items()}
    allowed = (int, float) if kind is float else (kind,)
    if origin is not None or type(value) not in allowed:  # `type`: True is an int to isinstance
        raise _WrongTypeError(key)
    return value


def _decode_object(kind: type[Any], value: Any, key: str) -> Any:
    if not isinstance(value, dict):
        raise _WrongTypeError(key)
    types_of = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and field.name not in value:
            raise _WrongTypeError(field.name)
    return kind(**{name: _decode(types_of[name], value[name], name) for name in types_of if name in value})
