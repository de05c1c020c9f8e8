"""A real browser for tests of pages: headless Chromium, steered by Selenium, that tells what a page did.

In CI a missing browser fails the tests; elsewhere they are skipped, with the reason.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PHONE_PX, DESKTOP_PX = (360, 780), (1280, 900)
# as root there is no sandbox; the rest keeps the browser itself from talking to anybody
ARGUMENTS = """headless=new no-sandbox disable-gpu disable-quic no-first-run disable-background-networking
disable-component-update disable-sync disable-dev-shm-usage hide-scrollbars"""
LOADED = ("http://", "https://", "ws://", "wss://", "file://", "ftp://")  # all but data: and chrome's own


def missing() -> str:
    """What there is none of here, in words; "" where everything is there."""
    for program, package in (("chromium", "chromium"), ("chromedriver", "chromium-driver")):
        if shutil.which(program) is None:
            return f"no {program} here; on Debian: apt-get install {package}"
    return "" if importlib.util.find_spec("selenium") else "no selenium here; pip install -e '.[dev]'"


class Browser:
    """One tab. Sizes are in CSS pixels."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, page: Path, size: tuple[int, int] = DESKTOP_PX, dark: bool = False) -> None:
        """Load a file as somebody who double-clicks it, on a screen of this size and colour scheme."""
        self.driver.get("about:blank")
        self.driver.get_log("browser"), self.driver.get_log("performance")  # what was before is not this page's
        self.look(size, dark)
        self.driver.get(page.resolve().as_uri())

    def look(self, size: tuple[int, int], dark: bool = False) -> None:
        """Change the screen."""
        width, height = size
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})

    def run(self, script: str, *values: Any) -> Any:
        """The value of a JavaScript expression; `values` are its `arguments`."""
        return self.driver.execute_script(f"return {script}", *values)

    def press(self, *keys: str) -> None:
        """Keys for whatever has the focus, e.g. `Keys.TAB`."""
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)

    def click(self, selector: str) -> None:
        """Click the first element that `selector` finds."""
        from selenium.webdriver.common.by import By

        self.driver.find_element(By.CSS_SELECTOR, selector).click()

    def complaints(self) -> list[str]:
        """What stands on the console since `open`."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def addresses(self) -> list[str]:
        """What was loaded since `open`, the page itself first."""
        told = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [one["params"]["request"]["url"] for one in told if one["method"] == "Network.requestWillBeSent"]
        return [address for address in sent if address.startswith(LOADED)]

    def overflow(self) -> int:
        """How many pixels the page is wider than the screen."""
        return int(self.run("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def screenshot(self, path: Path, whole: bool = True) -> Path:
        """A PNG of the whole page, or of what is on the screen."""
        options = {"captureBeyondViewport": whole, "optimizeForSpeed": False}
        if whole:
            width, height = self.run("[document.documentElement.clientWidth, document.documentElement.scrollHeight]")
            options["clip"] = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        path.write_bytes(base64.b64decode(self.driver.execute_cdp_cmd("Page.captureScreenshot", options)["data"]))
        return path


def start(profile: Path) -> Browser:
    """A browser with an empty profile; `browser.driver.quit()` ends it."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in [*ARGUMENTS.split(), f"user-data-dir={profile}"]:
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))  # named, else Selenium looks for one online
    return Browser(webdriver.Chrome(options, service))


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser for all tests of the session."""
    why_not = missing()
    if why_not and os.environ.get("CI"):
        pytest.fail(f"{why_not}; CI must test the pages in a browser")
    if why_not:
        pytest.skip(why_not)
    started = start(tmp_path_factory.mktemp("chromium"))
    yield started
    started.driver.quit()
