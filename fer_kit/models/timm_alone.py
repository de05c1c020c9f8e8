"""Imports timm without wandb, which timm.utils imports along for a function that nothing here calls.

wandb takes a sixth of the time in which a training starts, and leaves folders in the temporary folder each time. None
in sys.modules is Python's own way to say that there is no such module, and timm does without. To be
imported before timm.
"""

from __future__ import annotations

import sys

if "wandb" not in sys.modules:
    sys.modules["wandb"] = None  # type: ignore[assignment]
    try:
        import timm.utils  # noqa: F401
    finally:
        del sys.modules["wandb"]
