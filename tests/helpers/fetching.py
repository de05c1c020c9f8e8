"""A pushed kernel whose output is fetched."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from fer_kit.kaggle.client import KernelState
from kernels import __main__ as commands
from kernels import push_log
from tests.helpers.kaggle_fixture import Site
from tests.helpers.kaggle_standin import KernelVersion
from tests.helpers.pushed_kernels import RUN, entry, files_of, save_output, save_runs

LOG = "09:00:00 run id   {}\n09:00:01 fold 0 | epoch 1\n09:00:02 Traceback\n09:00:03 MemoryError\n"


class Evening:
    """One push, recorded here and at the stand-in, whose output a test may spoil."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site, self.folder, self.served = site, folder, 0
        self.knows_versions, self.asked = False, list[str]()
        self.push = entry()
        push_log.put(Path("runs"), self.push)
        self.version = KernelVersion(self.push.ref, 1, {})
        self.version.log = LOG.format(self.push.run_id)
        site.kernels[self.push.ref] = [self.version]
        self.trained = save_runs(folder / "trained")
        self.serve()

    def serve(self, run_id: str | None = None, **changes: object) -> None:
        self.served += 1
        folder = self.folder / f"output{self.served}"
        self.version.files = dict(files_of(save_output(folder, run_id or self.push.run_id, self.trained, **changes)))

    def serve_tar(self, *members: tarfile.TarInfo) -> None:
        """Serve an archive with these members added, and a manifest that fits it."""
        self.serve()
        told = json.loads(self.version.files["manifest.json"])
        content = io.BytesIO(self.version.files["runs-1.tar"])
        with tarfile.open(fileobj=content, mode="a") as tar:
            for member in members:
                member.size = 4 if member.isfile() else 0
                tar.addfile(member, io.BytesIO(b"evil"))
        self.version.files["runs-1.tar"] = whole = content.getvalue()
        told |= {"bytes": len(whole), "sha256": hashlib.sha256(whole).hexdigest()}
        self.version.files["manifest.json"] = json.dumps(told).encode()

    def spoil_fold(self) -> None:
        """Serve a fold whose predictions are not those that its result.json was written for."""
        (self.trained / RUN / "fold1/oof.npz").write_bytes(b"other")
        self.serve()

    # What the client would do, without starting it: for the many faults that lie in the files alone.

    def kernel_state(self, ref: str) -> KernelState:
        self.asked.append(ref)
        state = self.version.states[0]
        return KernelState(state.lower(), state, self.version.failure)

    def kernel_output(self, ref: str, folder: Path) -> list[Path]:
        self.asked.append(ref)
        for name, content in {**self.version.files, "fer-kit-small.log": self.version.log.encode()}.items():
            (folder / name).write_bytes(content)
        return list(folder.iterdir())


@pytest.fixture
def evening(kaggle_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evening:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    kaggle_site.cli_environ(monkeypatch)
    return Evening(kaggle_site, tmp_path / "there")


@pytest.fixture
def direct(evening: Evening, monkeypatch: pytest.MonkeyPatch) -> Evening:
    """`evening` without the kaggle program between."""
    monkeypatch.setattr(commands, "Client", lambda: evening)
    return evening


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The error of a fetch that must change nothing below runs/."""
    before = files_of(Path("runs"))
    capsys.readouterr()
    assert commands.main(["fetch", *argv]) == 2
    after = files_of(Path("runs"))
    assert {k: v for k, v in after.items() if k != "kernels.json"} == {
        k: v for k, v in before.items() if k != "kernels.json"
    }
    assert not list(Path("runs").glob(".fetch*"))
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    return message
