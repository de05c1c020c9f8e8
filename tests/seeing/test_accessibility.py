"""axe-core, the checker of accessibility rules that browsers' tools use, finds no serious fault on any page."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from fer_kit.explore import __main__ as explore
from fer_kit.report import __main__ as report
from tests.helpers import report_world
from tests.helpers.browser import DESKTOP_PX

PACKAGES = ("axe_playwright_python", "axe_core_python")  # both carry the script, the first a newer version
SECONDS = 120
PHONE_PX = (390, 844)
SERIOUS = ("moderate", "serious", "critical")
RUN = """
const done = arguments[arguments.length - 1];
document.querySelectorAll('details').forEach(one => one.open = true);
axe.run(document).then(found => done(found.violations.map(
  rule => [rule.impact, rule.id, rule.nodes.map(node => node.html.slice(0, 200))])));
"""


@pytest.fixture(scope="module")
def axe() -> str:
    """The script; the test is skipped, and says so, where no package brings it."""
    for name in PACKAGES:
        found = importlib.util.find_spec(name)
        script = Path(found.origin).parent / "axe.min.js" if found is not None and found.origin else None
        if script is not None and script.is_file():
            return script.read_text(encoding="utf-8")
    pytest.skip("no axe-core here; pip install axe-core-python")


@pytest.fixture(scope="module")
def pages(tmp_path_factory, competition_dir):
    world = report_world.make(tmp_path_factory.mktemp("axe"))
    out = world.folder / "report.html"
    argv = ["--runs", str(world.runs), "--data", str(world.data), "--ledger", str(world.ledger), "--out", str(out)]
    assert report.main([*argv, "--no-pictures"]) == 0
    folder = tmp_path_factory.mktemp("axe-explore")
    assert explore.main(["--data", str(competition_dir), "--runs", str(folder), "--out", str(folder)]) == 0
    return {"report": out, "explore": folder / "explore.html"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["report", "explore"])
@pytest.mark.parametrize(("size", "dark"), [(DESKTOP_PX, False), (PHONE_PX, True)])
def test_no_serious_fault(browser, pages, axe, name, size, dark):
    browser.driver.set_script_timeout(SECONDS)
    browser.open(pages[name], size, dark)
    browser.driver.execute_script(axe)
    found = browser.driver.execute_async_script(RUN)
    assert [one for one in found if one[0] in SERIOUS] == []
