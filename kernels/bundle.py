"""The package as one text: source files only, always the same for the same files, and nothing secret in it."""

from __future__ import annotations

import base64
import hashlib
import importlib
import io
import lzma
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fer_kit.errors import FerKitError
from kernels import leaks

# What runs in a kernel: the whole package, and of this one the folder of what runs there. Tests walk their imports.
PACKAGE = "fer_kit"
INSIDE = "kernels/inside"
LARGEST_SOURCE = 100_000  # bytes; a source file beyond this is data that someone put into one


@dataclass(frozen=True)
class Bundle:
    """text: base85 of the compressed archive, sha256: of the compressed archive, files: names in it."""

    text: str
    sha256: str
    files: tuple[str, ...]


def make(secrets: Mapping[str, str], extra: Iterable[Path] = ()) -> Bundle:
    """Bundle the packages as they are imported here: sorted, without times and owners, xz, base85.

    secrets: values that must not be in it, by a name for each (`leaks.known`). extra: more roots, for tests.

    Raises:
        FerKitError: a link, a file too large for a source, a known or likely secret in one: with its name.
    """
    sources = collect(_root(PACKAGE), PACKAGE)
    sources["kernels/__init__.py"] = _root("kernels") / "__init__.py"
    sources |= collect(_root("kernels") / "inside", INSIDE)
    for root in extra:
        sources |= collect(root, root.name)
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(sources):
            content = _read(sources[name])
            leaks.refuse(content, f"{sources[name]}", secrets)
            info = tarfile.TarInfo(name)  # mtime, uid and gid are 0, mode is 0644
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    packed = lzma.compress(tar.getvalue(), preset=9 | lzma.PRESET_EXTREME)
    text = base64.b85encode(packed).decode("ascii")
    return Bundle(text, hashlib.sha256(packed).hexdigest(), tuple(sorted(sources)))


def collect(root: Path, name: str) -> dict[str, Path]:
    """Python sources below `root` by their name in the bundle; every other kind of file stays at home."""
    found = (path for path in root.rglob("*.py") if not any(part.startswith(".") for part in path.parts[-3:]))
    return {f"{name}/{path.relative_to(root).as_posix()}": path for path in found}


def _root(package: str) -> Path:
    file = importlib.import_module(package).__file__
    assert file is not None
    return Path(file).parent


def _read(path: Path) -> bytes:
    if path.is_symlink() or not path.is_file():
        raise FerKitError(f"{path}: a link or no plain file, which does not travel; put the file itself there")
    content = path.read_bytes()
    if len(content) > LARGEST_SOURCE:
        raise FerKitError(
            f"{path}: {len(content):,} bytes, a source file has at most {LARGEST_SOURCE:,}; data and weights travel as"
            " a Kaggle dataset or model"
        )
    return content
