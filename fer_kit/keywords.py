"""Check the types of the arguments of the Python API, as argparse checks the options of the commands."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar

from fer_kit.errors import FerKitError

P = ParamSpec("P")
T = TypeVar("T")

PATHS = {"Place", "PathLike[str]"}  # annotations of files and folders
WORDS = {"bool": "True or False", "int": "a whole number", "float": "a number", "str": "a string"}


def check_types(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function of the Python API: arguments of other types than its annotations raise a `FerKitError`.

    numpy's numbers become Python's, and a path in place of a name becomes a string. Arguments with other annotations
    than bool, int, float, str, a path or None are passed on unchecked.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> T:
        bound = signature.bind(*args, **options)
        for name, value in bound.arguments.items():
            bound.arguments[name] = checked(name, value, str(signature.parameters[name].annotation))
        return function(*bound.args, **bound.kwargs)

    return call


def checked(name: str, value: Any, annotation: str) -> Any:
    """The argument `value` of the keyword `name`, with numpy's numbers as Python's.

    Raises:
        FerKitError: `value` is none of the types in `annotation`, or an empty path.
    """
    kinds = {kind.strip() for kind in annotation.split("|")}
    if not kinds <= {*WORDS, *PATHS, "None"} or (value is None and "None" in kinds):
        return value
    or_none = " or None" if "None" in kinds else ""
    if kinds & PATHS:
        allowed = "a path"
        if isinstance(value, str) and not value:
            raise FerKitError(f"{name}='' is empty; give a path{or_none}")
        if isinstance(value, str | os.PathLike):
            return value
    else:
        (kind,) = kinds - {"None"}
        allowed = WORDS[kind]
        if kind == "str" and isinstance(value, str | os.PathLike):
            return str(value)
        if kind == "bool" and _is_truth(value):
            return bool(value)
        if kind in ("int", "float") and not isinstance(value, bool) and isinstance(value, Integral):
            return int(value)
        if kind == "float" and not isinstance(value, bool) and isinstance(value, Real):
            return float(value)
    raise FerKitError(f"{name}={value!r} is of type {type(value).__name__}; give {allowed}{or_none}")


def _is_truth(value: Any) -> bool:
    """Whether `value` is True or False, also as numpy's or as 1 or 0."""
    return type(value).__name__ in ("bool", "bool_") or (isinstance(value, Integral) and value in (0, 1))
