"""The fixture `kaggle_site`: a stand-in for Kaggle, and clients that can reach nothing else."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from fer_kit.kaggle.client import Client, Timeouts
from tests.helpers.kaggle_standin import StandIn

DROPPED = ("KAGGLE_", "NO_PROXY", "ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "VERBOSE")


def hermetic(names: dict[str, str] | os._Environ[str]) -> dict[str, str]:
    """An environment without anything that could lead the client elsewhere."""
    return {name: value for name, value in names.items() if not name.upper().startswith(DROPPED)}


class Site(StandIn):
    """A StandIn that runs, with `environ` for the client and `sleeps`, the pauses that the client's seam asked for."""

    def __init__(self, home: Path) -> None:
        super().__init__()
        self.home = home
        self.sleeps: list[float] = []

    @property
    def environ(self) -> dict[str, str]:
        """Hermetic environment for the client, with dummy credentials; a fresh copy each time."""
        folders = {
            "HOME": "home",
            "TMPDIR": "tmp",
            "KAGGLE_CONFIG_DIR": "home/.kaggle",
            "XDG_CONFIG_HOME": "home/.config",
        }
        for folder in folders.values():
            (self.home / folder).mkdir(parents=True, exist_ok=True)
        proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), self.url)
        own = {"KAGGLE_API_ENVIRONMENT": "LOCALHOST", "KAGGLE_USERNAME": self.username, "KAGGLE_KEY": self.key}
        return hermetic(os.environ) | {k: str(self.home / v) for k, v in folders.items()} | proxies | own

    def client(self, timeouts: Timeouts | None = None, **changes: str | None) -> Client:
        """A client of this site that notes pauses instead of sleeping; `changes` to its environment, None removes."""
        environ = {name: value for name, value in {**self.environ, **changes}.items() if value is not None}
        return Client(environ=environ, sleep=self.sleeps.append, random=random.Random(3).random, timeouts=timeouts)

    def cli_environ(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let commands that run in this process, `main([...])`, use this site, without pauses."""
        for name in os.environ.keys() - hermetic(os.environ).keys():
            monkeypatch.delenv(name)
        for name, value in self.environ.items():
            if os.environ.get(name) != value:
                monkeypatch.setenv(name, value)
        monkeypatch.setattr("fer_kit.kaggle.client._sleep", self.sleeps.append)


@pytest.fixture
def kaggle_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A running stand-in. The test fails if anything asked for another host, or if a hook broke."""
    site = Site(tmp_path_factory.mktemp("kaggle_site"))
    with site.running():
        yield site
    assert not site.leaks, f"requests left for other hosts: {site.leaks}"
    for bug in site.bugs:
        raise bug
