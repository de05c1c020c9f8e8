"""The package as one text: source files only, the same text for the same files, without secrets."""

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

from fer_kit import revision
from fer_kit.errors import FerKitError
from kernels import leaks

# What runs in a kernel: all of fer_kit and the folder `inside` of kernels. Tests follow their imports.
PACKAGES = ("fer_kit", "kernels")
# For people at home, with imports of packages that stay there; `beside` is the place of kernels/ in a wheel.
STAYS = (
    "fer_kit/api.py",
    "fer_kit/auto/",
    "fer_kit/beside/",
    "fer_kit/card/",
    "fer_kit/classify/",
    "fer_kit/export/",
    "fer_kit/listing/",
    "fer_kit/predict/named.py",
)
LARGEST_SOURCE = 100_000  # bytes; a larger source file holds data


@dataclass(frozen=True)
class Bundle:
    """The source files as text.

    text: base85 of the compressed archive. sha256: of the compressed archive. files: names in the archive.
    untracked: those of them that git does not track.
    """

    text: str
    sha256: str
    files: tuple[str, ...]
    untracked: tuple[str, ...]


def make(secrets: Mapping[str, str], extra: Iterable[Path] = ()) -> Bundle:
    """Bundle the packages that are imported here: files sorted, without times and owners, xz, base85.

    secrets: values that must not be in a file, by origin (`secret_values.known`). extra: more roots, for tests.

    Raises:
        FerKitError: a file is a link, too large for source code, or holds a known or likely secret.
    """
    package, kernels = map(_root, PACKAGES)
    sources = {name: path for name, path in collect(package, package.name).items() if not name.startswith(STAYS)}
    sources["kernels/__init__.py"] = kernels / "__init__.py"
    sources |= collect(kernels / "inside", "kernels/inside")
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
    new = {_root(package) / name for package in PACKAGES for name in revision.untracked(_root(package), "*.py")}
    untracked = tuple(name for name in sorted(sources) if sources[name] in new)
    return Bundle(text, hashlib.sha256(packed).hexdigest(), tuple(sorted(sources)), untracked)


def collect(root: Path, name: str) -> dict[str, Path]:
    """Python files below `root` by their name in the bundle, hidden ones left out."""
    inside = ((path, path.relative_to(root)) for path in root.rglob("*.py"))
    return {
        f"{name}/{relative.as_posix()}": path
        for path, relative in inside
        if not any(part.startswith(".") for part in relative.parts)
    }


def _root(package: str) -> Path:
    file = importlib.import_module(package).__file__
    assert file is not None
    return Path(file).parent


def _read(path: Path) -> bytes:
    if path.is_symlink() or not path.is_file():
        raise FerKitError(f"{path}: is a link or not a regular file, and is not uploaded; put the file itself there")
    content = path.read_bytes()
    if len(content) > LARGEST_SOURCE:
        raise FerKitError(
            f"{path}: {len(content):,} bytes, a source file may have at most {LARGEST_SOURCE:,}; upload data and "
            "weights as a Kaggle dataset or model"
        )
    return content
