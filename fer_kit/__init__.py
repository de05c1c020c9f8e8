"""fer_kit: from the FER2013 competition files to a submission that was understood before it was sent.

    import fer_kit

    data = fer_kit.load_data()
    fer_kit.make_folds()
    trained = fer_kit.train("vgg_small", fold=0)
    rows = fer_kit.oof("vgg_small")
    model = fer_kit.load_model("vgg_small")
    probabilities = model(data.test.images)

Importing fer_kit loads neither torch nor the data; each function loads what it needs. docs/python.md has more.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fer_kit.api import blend, classify_photos, list_runs, load_data, load_model, make_folds, oof, test_predictions
    from fer_kit.errors import FerKitError

__version__ = "0.1.0"

__all__ = [
    "FerKitError",
    "__version__",
    "blend",
    "classify_photos",
    "list_runs",
    "load_data",
    "load_model",
    "make_folds",
    "oof",
    "test_predictions",
    "train",
]


def __getattr__(name: str) -> Any:
    """Load a name of the Python API when it is first used."""
    if name in __all__ and not (programs := importlib.import_module("fer_kit.programs")).SUPPORTED:
        raise ImportError(programs.UNSUPPORTED)
    if name == "train":  # the package, which can be called
        return importlib.import_module("fer_kit.train")
    if name == "FerKitError":
        return importlib.import_module("fer_kit.errors").FerKitError
    if name in __all__:
        return getattr(importlib.import_module("fer_kit.api"), name)
    raise AttributeError(f"module 'fer_kit' has no attribute '{name}'")


def __dir__() -> list[str]:
    """The names of the Python API, for completion."""
    return sorted({*globals(), *__all__})
