"""The space of a search: a range or a list of choices for each setting, from a TOML or YAML file.

lr: {low: 1e-4, high: 1e-2, log: true}
batch_size: {low: 32, high: 128, step: 32}
optimizer: [adamw, nmuon]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_kit.config import suggest
from fer_kit.config.settings import TABLE, Setting, Value
from fer_kit.config.train_config import check_value, parse_value, shown
from fer_kit.errors import FerKitError
from fer_kit.train import config_file

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

KEYS = ("low", "high", "log", "step", "choices")
DIGITS = 4  # significant ones of a sampled number: the run's name of a value is short, and no score depends on the rest
NOT_SEARCHED = {
    "recipe": "give it as --recipes",
    "epochs": "trials are compared after the same epochs; give all of them --set epochs=N",
    "seed": "the best of several seeds is luck; train them with --seeds and blend them",
    "limit_rows": "give all trials --set limit_rows=N",
    "weights": "give all trials --weights",
    "augment": "give all trials --augment",
    "targets": "give all trials --set targets=FILE",
    "views": "it changes predictions alone; compare views with fer-kit predict --views",
}


@dataclass(frozen=True)
class Dimension:
    """The allowed values of one setting: `choices`, or the numbers from `low` to `high`, in steps if `step` is given.

    log: draw the logarithm evenly.
    """

    name: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    choices: tuple[Value, ...] = ()

    @property
    def kind(self) -> type:
        """int, float, bool or str."""
        return TABLE[self.name].kind

    def ends(self) -> tuple[Value, ...]:
        """The extreme values, or all choices."""
        return self.choices or (self.kind(self.low), self.kind(self.high))

    def rounded(self, value: Any) -> Value:
        """A sampled value with few digits, inside the range."""
        if self.choices or self.kind is int:
            return value
        digits = DIGITS if self.step is None else 10  # less the noise of adding up steps
        return min(max(float(f"{value:.{digits}g}"), self.low), self.high)

    def distribution(self) -> BaseDistribution:
        """As Optuna writes it."""
        from optuna import distributions

        if self.choices:
            return distributions.CategoricalDistribution(self.choices)
        if self.kind is int:
            step = 1 if self.step is None else int(self.step)
            return distributions.IntDistribution(int(self.low), int(self.high), self.log, step)
        return distributions.FloatDistribution(self.low, self.high, self.log, self.step)

    def in_words(self) -> str:
        """`0.0001 to 0.01, log`, or the choices."""
        if self.choices:
            return ", ".join(map(shown, self.choices))
        step = "" if self.step is None else f" in steps of {self.step:g}"
        return f"{self.low:g} to {self.high:g}{step}{', log' if self.log else ''}"

    def to_json(self) -> dict[str, Any]:
        """As a file has it."""
        if self.choices:
            return {"choices": list(self.choices)}
        record: dict[str, Any] = {"low": self.kind(self.low), "high": self.kind(self.high)}
        record |= {"log": True} if self.log else {}
        return record | ({} if self.step is None else {"step": self.kind(self.step)})


Space = Mapping[str, Dimension]


def read(path: Path) -> Space:
    """The space in a TOML or YAML file.

    Raises:
        FerKitError: the file cannot be read; an unknown setting, or one that is not searched; a value of the wrong type
            or outside the setting's range; low is not below high.
    """
    return from_record(config_file.read_table(path, "--search"), f"--search {path}")


def from_record(record: Mapping[Any, Any], where: str) -> Space:
    """The space with these keys and values; `where` names the file in errors.

    Raises:
        FerKitError: as `read`.
    """
    if not record:
        raise FerKitError(f"{where}: holds no setting; write for example lr: {{low: 1e-4, high: 1e-2, log: true}}")
    return {str(name): _dimension(str(name), value, where) for name, value in record.items()}


def _dimension(name: str, value: Any, where: str) -> Dimension:
    if name in NOT_SEARCHED:
        raise FerKitError(f"{where}: {name} cannot be searched: {NOT_SEARCHED[name]}")
    if name not in TABLE:
        hint = suggest.did_you_mean(name)
        raise FerKitError(f"{where}: unknown setting '{name}'{hint}; `fer-kit settings` lists all {len(TABLE)}")
    place = f"{where}: {name}"
    keys = value if isinstance(value, dict) else {"choices": value}
    for key in keys:
        if key not in KEYS:
            raise FerKitError(f"{place}: unknown key '{key}'; allowed are {', '.join(KEYS)}")
    if "choices" in keys:
        return _choices(name, keys, place)
    return _range(name, keys, place)


def _choices(name: str, keys: Mapping[str, Any], place: str) -> Dimension:
    listed = keys["choices"]
    if len(keys) > 1:
        raise FerKitError(f"{place}: choices with {', '.join(key for key in keys if key != 'choices')}; give either")
    if not isinstance(listed, list) or len(listed) < 2:
        raise FerKitError(f"{place} = {listed!r}: give a list of two or more choices, or {{low: …, high: …}}")
    values = tuple(_value(TABLE[name], one, place) for one in listed)
    if len(set(values)) < len(values):
        raise FerKitError(f"{place} = {listed!r}: a choice is given twice")
    return Dimension(name, choices=values)


def _range(name: str, keys: Mapping[str, Any], place: str) -> Dimension:
    row = TABLE[name]
    if row.kind not in (int, float):
        some = ", ".join(row.choices[:2] or ("true", "false"))
        raise FerKitError(f"{place}: is {row.allowed()}, which has no range; give a list of choices, such as [{some}]")
    for key in ("low", "high"):
        if key not in keys:
            raise FerKitError(f"{place}: {key} is missing; give {{low: …, high: …}}, or a list of choices")
    low, high = (_value(row, keys[key], f"{place}: {key}") for key in ("low", "high"))
    log, step = keys.get("log", False), keys.get("step")
    assert not isinstance(low, str) and not isinstance(high, str)  # the kind is a number
    if not low < high:
        raise FerKitError(f"{place}: low {low:g} is not below high {high:g}; give a single value with --set {name}=…")
    if type(log) is not bool:
        raise FerKitError(f"{place}: log = {log!r}: give true or false")
    if log and not low > 0:
        raise FerKitError(f"{place}: low {low:g} with log: true: give a number above 0")
    if step is not None:
        step = _number(row, step, f"{place}: step")
        if log or not 0 < step <= high - low:
            why = "log: true takes no step" if log else f"give a number above 0, at most {high - low:g}"
            raise FerKitError(f"{place}: step {step:g}: {why}")
    return Dimension(name, float(low), float(high), log, None if step is None else float(step))


def _number(row: Setting, value: Any, place: str) -> float:
    """A number of the setting's type. YAML takes `1e-4` for a text, because it has no point."""
    if row.kind is float and type(value) is int:
        value = float(value)
    if row.kind is float and type(value) is str:
        value = _parsed(row, value, place)
    kind: Any = row.kind
    if type(value) is not kind:
        raise FerKitError(f"{place} = {value!r} is not of type {kind.__name__}; {row.name} is {row.allowed()}")
    return float(value)


def _parsed(row: Setting, text: str, place: str) -> Any:
    try:
        return parse_value(row, text)
    except FerKitError:
        raise FerKitError(
            f"{place} = '{text}' is not of type {row.kind.__name__}; {row.name} is {row.allowed()}"
        ) from None


def _value(row: Setting, value: Any, place: str) -> Value:
    """A value of the setting, checked."""
    if row.kind in (int, float):
        value = row.kind(_number(row, value, place))
    elif type(value) is not row.kind:
        raise FerKitError(f"{place} = {value!r} is not of type {row.kind.__name__}; {row.name} is {row.allowed()}")
    try:
        check_value(row, value)
    except FerKitError as error:
        raise FerKitError(f"{place}: {error}") from None
    return value


def refuse_fixed(space: Space, settings: Sequence[str], where: str) -> None:
    """Refuse a setting that `--set` fixes for all trials and the space varies."""
    for setting in settings:
        name = setting.partition("=")[0].strip()
        if name in space:
            raise FerKitError(f"--set {setting}: {where} searches {name}, too; drop one of them")
