"""The commit that records name is that of this code, and asking for it runs nothing of the repository's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fer_kit import revision
from tests.helpers.source_tree import ROOT

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def git(folder: Path, *words: str) -> str:
    """What git prints, in a repository whose commits need no configuration."""
    who = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
    done = subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def repository(folder: Path) -> Path:
    """A copy of revision.py in `folder`/fer_kit, and a repository with one commit in `folder`."""
    (folder / "fer_kit").mkdir(parents=True)
    shutil.copy(ROOT / "fer_kit/revision.py", folder / "fer_kit")
    (folder / "fer_kit/__init__.py").touch()
    git(folder, "init", "-q")
    return folder


def commit_of(folder: Path, **environ: str) -> str:
    """What a copy of revision.py in `folder` says."""
    program = "from fer_kit import revision; print(revision.commit())"
    environ = {name: value for name, value in os.environ.items() if name != "FER_KIT_COMMIT"} | environ
    environ |= {"PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A repository that tracks the code."""
    folder = repository(tmp_path / "own")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "x")
    return folder


def test_the_commit_and_changes(own):
    head = git(own, "rev-parse", "HEAD")
    assert commit_of(own) == head
    (own / "fer_kit/__init__.py").write_text("x = 1\n")
    assert commit_of(own) == f"{head}+changes"


def test_another_project_around_the_code_is_not_its_commit(own, tmp_path):
    inside = own / ".venv/lib/site-packages"
    shutil.copytree(own / "fer_kit", inside / "fer_kit")
    assert commit_of(inside) == "unknown (the code lies in no repository of its own)"
    bare = repository(tmp_path / "untracked")  # in the root of a repository that does not track it
    git(bare, "commit", "-qm", "x", "--allow-empty")
    assert commit_of(bare) == "unknown (the code lies in no repository of its own)"


def test_variables_of_git_lead_nowhere_else(own, tmp_path):
    other = repository(tmp_path / "other")
    git(other, "commit", "-qm", "y", "--allow-empty")
    assert commit_of(own, GIT_DIR=str(other / ".git")) == git(own, "rev-parse", "HEAD")


def test_a_program_named_by_the_repository_is_not_run(own, tmp_path):
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    program.chmod(0o755)
    git(own, "config", "core.fsmonitor", str(program))
    assert commit_of(own) == git(own, "rev-parse", "HEAD")
    assert not (tmp_path / "ran").exists()


def test_a_checkout_of_another_user_says_why_it_is_unknown(monkeypatch):
    told = f"fatal: detected dubious ownership in repository at '{ROOT}'\n"
    monkeypatch.setattr(revision, "_git", lambda *_, **__: subprocess.CompletedProcess([], 128, "", told))
    monkeypatch.delenv("FER_KIT_COMMIT", raising=False)
    assert "another user" in revision.commit() and "safe.directory" in revision.commit()


def test_untracked_files(own):
    assert revision.untracked(own / "fer_kit", "*.py") == []
    (own / "fer_kit/new.py").touch()
    (own / "fer_kit/note.txt").touch()
    assert revision.untracked(own / "fer_kit", "*.py") == ["new.py"]


def planted(folder: Path, name: str) -> Path:
    """A program that leaves the file `ran` beside it."""
    program = folder / name
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(f"#!/bin/sh\ntouch {folder}/ran\n")
    program.chmod(0o755)
    return program


def test_hooks_of_the_repository_are_not_run(own, tmp_path):
    for hook in ("post-index-change", "post-checkout", "pre-commit", "reference-transaction"):
        shutil.copy(planted(tmp_path / "bad", "hook"), own / ".git/hooks" / hook)
    (own / "fer_kit/__init__.py").touch()  # the index is older than the file, so that git would write it
    os.utime(own / "fer_kit/__init__.py", (2e9, 2e9))
    assert commit_of(own) == git(own, "rev-parse", "HEAD")
    assert not (tmp_path / "bad/ran").exists()


@pytest.mark.parametrize("path", [".", "", "relative"])
def test_a_program_git_of_the_current_folder_is_not_run(own, tmp_path, monkeypatch, path):
    planted(tmp_path / "bad", "git")
    planted(tmp_path / "bad", "relative/git")
    monkeypatch.chdir(tmp_path / "bad")
    monkeypatch.setenv("PATH", f"{path}{os.pathsep}{os.environ['PATH']}")
    assert revision.untracked(own / "fer_kit", "*.py") == []
    assert not (tmp_path / "bad/ran").exists()


def test_why_a_commit_is_unknown(tmp_path):
    alone = tmp_path / "alone"
    shutil.copytree(repository(tmp_path / "made") / "fer_kit", alone / "fer_kit")
    assert commit_of(alone) == "unknown (the code lies in no repository)"
    assert commit_of(tmp_path / "made") == "unknown (git tells no commit)"  # a repository without a commit
    assert commit_of(alone, PATH="relative") == "unknown (git is not installed)"


def test_a_wheel_brings_its_commit(own, tmp_path):
    """Whatever repository lies around the environment that it is installed in."""
    inside = own / ".venv/lib/site-packages"
    shutil.copytree(own / "fer_kit", inside / "fer_kit")
    (inside / "fer_kit/commit.txt").write_text("0123abc\n")
    assert commit_of(inside) == "0123abc"


@pytest.mark.slow
def test_the_build_writes_the_commit(tmp_path):
    for name in ("setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "fer_kit/files", tmp_path / "fer_kit/files")
    for name in ("__init__.py", "revision.py"):
        shutil.copy(ROOT / "fer_kit" / name, tmp_path / "fer_kit")
    for name in ("kernels/__init__.py", "kernels/inside/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    environ = {**os.environ, "FER_KIT_COMMIT": "0123abc"}
    command = [sys.executable, "setup.py", "-q", "build", "--build-base", "made"]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "made/lib/fer_kit/commit.txt").read_text() == "0123abc\n"
    assert not (tmp_path / "fer_kit/commit.txt").exists()
    assert (tmp_path / "made/lib/fer_kit/beside/kernels/inside/__init__.py").is_file()
    assert not (tmp_path / "made/lib/kernels").exists()  # Hugging Face's package of this name stays as it is
