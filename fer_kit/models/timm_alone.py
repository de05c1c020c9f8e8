"""Import timm without wandb, which timm.utils imports for a function that this project does not call.

wandb takes a sixth of the start time of a training, and each import leaves folders in the temporary folder. None in
sys.modules makes Python raise ImportError for a module, and timm works without wandb. Every module that imports timm
imports this module first.
"""

from __future__ import annotations

import sys

if "wandb" not in sys.modules:
    sys.modules["wandb"] = None  # type: ignore[assignment]
    try:
        import timm.utils  # noqa: F401
    finally:
        del sys.modules["wandb"]
