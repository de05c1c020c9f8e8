"""Files of a folder as bytes: how run folders and input files travel between the driver and the nodes."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path

from fer_kit.errors import FerKitError, first_line
from fer_kit.files import atomic
from fer_kit.runs.finished_folder import OOF, RESULT, TEST, WEIGHTS
from fer_kit.runs.training_record import CONFIG, ENVIRONMENT, LAST, LOG, METRICS

CHECKPOINT = (CONFIG, ENVIRONMENT, LOG, LAST, METRICS)  # written back in this order
FINISHED = (CONFIG, ENVIRONMENT, LOG, METRICS, WEIGHTS, OOF, TEST, RESULT)
MOST_BYTES = 8 << 30
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")


def pack(folder: Path, names: Sequence[str] | None = None) -> bytes:
    """The files `names` of a folder, as far as they exist; all plain files (no folders) if not given."""
    out = io.BytesIO()
    chosen = sorted(path.name for path in folder.iterdir() if path.is_file()) if names is None else names
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in chosen:
            try:
                content = (folder / name).read_bytes()
            except FileNotFoundError:
                continue
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def unpack(content: bytes, folder: Path, allowed: Sequence[str] | None = None) -> None:
    """Write the files in `content` into `folder`, each in one step.

    Raises:
        FerKitError: not a parcel, or it holds something other than plain files with safe (and allowed) names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            members = archive.getmembers()
            for member in members:
                safe = member.isfile() and _NAME.fullmatch(member.name) and member.size <= MOST_BYTES
                if not safe or (allowed is not None and member.name not in allowed):
                    raise FerKitError(f"{folder}: the files from a node hold '{member.name}', which is not expected")
            for member in members:
                source = archive.extractfile(member)
                assert source is not None  # a plain file
                with atomic.replacing(folder / member.name) as file:
                    file.write(source.read())
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise FerKitError(f"{folder}: the files from a node are damaged ({first_line(error)})") from None
