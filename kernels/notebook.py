"""The exploration notebook for Kaggle, which contains the package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.kaggle import secret_values
from kernels import bundle, leaks
from kernels.build import METADATA, SIZE_CAP

TEMPLATE = Path(__file__).with_name("explore")
NOTEBOOK = "explore.ipynb"
_LINE = 100


def make(owner: str, environ: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """Make the metadata and the text of the notebook, with the bundle in its first code cell.

    Raises:
        FerKitError: fer_kit does not run from a checkout, or the notebook is too large for Kaggle or has a secret.
    """
    if not (TEMPLATE / NOTEBOOK).is_file():
        raise FerKitError(f"{TEMPLATE / NOTEBOOK}: no such file; run this command in a checkout of fer_kit")
    secrets = secret_values.known(environ)
    packed = bundle.make(secrets)
    metadata = atomic.read_json(TEMPLATE / METADATA)
    metadata["id"] = f"{owner}/{metadata['id'].partition('/')[2]}"
    notebook = atomic.read_json(TEMPLATE / NOTEBOOK)
    [cell] = [cell for cell in notebook["cells"] if "".join(cell["source"]).endswith('BUNDLE = ""')]
    lines = "\n".join(packed.text[start : start + _LINE] for start in range(0, len(packed.text), _LINE))
    empty = 'BUNDLE_SHA256 = ""\nBUNDLE = ""'
    filled = f'BUNDLE_SHA256 = "{packed.sha256}"\nBUNDLE = """\n{lines}\n"""'
    cell["source"] = "".join(cell["source"]).replace(empty, filled)
    cell["metadata"] = {"jupyter": {"source_hidden": True}, "_kg_hide-input": True}
    text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    leaks.refuse(text.encode(), "the notebook", secrets)
    if len(text.encode()) >= SIZE_CAP:
        raise FerKitError(
            f"the notebook has {len(text.encode()):,} bytes, and Kaggle accepts less than {SIZE_CAP:,}; upload the "
            "large files of the package as a Kaggle dataset"
        )
    return metadata, text


def write(metadata: Mapping[str, Any], text: str, folder: Path) -> Path:
    """Write the kernel folder of the notebook below `folder`; return its path."""
    target = folder / str(metadata["id"]).partition("/")[2]
    atomic.write_text(target / NOTEBOOK, text)
    atomic.write_json(target / METADATA, metadata)
    return target
