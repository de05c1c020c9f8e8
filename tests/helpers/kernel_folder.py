"""A kernel that can be pushed."""

from __future__ import annotations

import json
from pathlib import Path

from fer_kit.kaggle.client import COMPETITION

KERNEL = "player/my-kernel"


def kernel_folder(folder: Path) -> Path:
    """A kernel that can be pushed."""
    folder.mkdir(parents=True)
    (folder / "script.py").write_text("print('hello')\n")
    metadata = {"id": KERNEL, "title": "My kernel", "code_file": "script.py", "language": "python"}
    metadata |= {"kernel_type": "script", "is_private": True, "enable_gpu": True, "enable_internet": False}
    metadata |= {"competition_sources": [COMPETITION]}
    (folder / "kernel-metadata.json").write_text(json.dumps(metadata))
    return folder
