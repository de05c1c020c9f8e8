"""Train one fold: request, rows, epochs, checkpoints and log. `fer_kit.train(...)` trains from Python.

The package can be called, since `fer_kit.train` is both the name of this package and of the function; the function is
`fer_kit.train.call.train`.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


class CallablePackage(ModuleType):
    """A package that can be called."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Train one fold and give a `TrainedFold`; arguments as of `fer_kit.train.call.train`."""
        call = importlib.import_module("fer_kit.train.call")  # modules of this package import the package first
        return call.train(*args, **options)


sys.modules[__name__].__class__ = CallablePackage
