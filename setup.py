"""The build: setup.cfg describes the project; here, a wheel gets its commit, and a place for `kernels`."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

ROOT = Path(__file__).resolve().parent


def bake(folder: Path) -> None:
    """Write the commit into `folder`, a copy of the package fer_kit; a source archive has it already."""
    spec = importlib.util.spec_from_file_location("revision", ROOT / "fer_kit/revision.py")
    assert spec is not None and spec.loader is not None
    revision = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(revision)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / revision.BAKED).write_text(f"{revision.commit()}\n", encoding="ascii")


def set_aside(package: Path, folder: Path) -> None:
    """Move `package` into `folder`, where `fer_kit.programs.find_kernels` finds it.

    Hugging Face publishes a package `kernels` too, and two packages of one name overwrite each other's files.
    """
    shutil.rmtree(folder, ignore_errors=True)
    if package.is_dir():
        folder.mkdir(parents=True)
        package.rename(folder / package.name)


class BuildPackage(build_py):
    """Builds the package with its commit; an editable install asks git instead."""

    def run(self) -> None:
        """Build."""
        super().run()
        if not self.editable_mode:
            package = Path(self.build_lib) / "fer_kit"
            bake(package)
            set_aside(Path(self.build_lib) / "kernels", package / "beside")


class SourceArchive(sdist):
    """Builds the source archive with its commit."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        """Copy the files."""
        super().make_release_tree(base_dir, files)
        bake(Path(base_dir) / "fer_kit")


setup(cmdclass={"build_py": BuildPackage, "sdist": SourceArchive})
