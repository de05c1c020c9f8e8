"""The pages of `report` and `explore` in a real browser: what a reader with a mouse, a keyboard or a phone gets."""

from __future__ import annotations

import re

import pytest

from fer_kit.drawing import html
from fer_kit.explore import __main__ as explore
from fer_kit.report import __main__ as report
from tests.helpers import report_world
from tests.helpers.browser import DESKTOP_PX, PHONE_PX, missing

BOARD = "document.querySelector('table.board')"
NAMES = f"[...{BOARD}.tBodies[0].rows].map(row => row.cells[0].dataset.value)"
SORTED = f"[...{BOARD}.tHead.rows[0].cells].map(head => head.getAttribute('aria-sort'))"
FOCUS = "document.activeElement"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    world = report_world.make(tmp_path_factory.mktemp("browser"))
    out = world.folder / "report.html"
    argv = ["--runs", str(world.runs), "--data", str(world.data), "--ledger", str(world.ledger), "--out", str(out)]
    assert report.main([*argv, "--no-pictures"]) == 0
    return out


@pytest.fixture(scope="module")
def explored(competition_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("explored")
    assert explore.main(["--data", str(competition_dir), "--runs", str(folder), "--out", str(folder)]) == 0
    return folder / "explore.html"


def check(browser, page):
    """No complaint, nothing loaded but the page, as wide as a phone, and other colours in the dark."""
    browser.open(page)
    assert browser.complaints() == []
    assert browser.addresses() == [page.resolve().as_uri()]
    paper = "getComputedStyle(document.body).backgroundColor"
    papers = set()
    for dark in (False, True):
        browser.look(PHONE_PX, dark)
        assert browser.overflow() == 0
        papers.add(browser.run(paper))
        assert browser.run("[...document.images].filter(one => one.complete && !one.naturalWidth).length") == 0
    assert papers == {"rgb(255, 255, 255)", "rgb(20, 24, 31)"}
    browser.look(DESKTOP_PX)
    assert browser.overflow() == 0
    assert browser.complaints() == []


def test_the_report_opens_anywhere(browser, page):
    check(browser, page)
    browser.look(PHONE_PX)
    browser.run("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert browser.overflow() == 0  # with everything unfolded, too


def test_the_page_of_explore_opens_anywhere(browser, explored):
    check(browser, explored)


def test_a_click_sorts_the_leaderboard(browser, page):
    browser.open(page)
    names = browser.run(NAMES)
    assert names[-1] == "weak" and browser.run(SORTED)[1] == "descending"
    browser.click("table.board th:nth-child(2) button")  # accuracy, once more: the worst first
    assert browser.run(NAMES)[0] == "weak" and browser.run(SORTED).count("ascending") == 1
    browser.click("table.board th:nth-child(1) button")
    assert browser.run(NAMES) == sorted(names)
    assert browser.run(SORTED)[:2] == ["ascending", None]
    seconds = browser.run(f"[...{BOARD}.tHead.rows[0].cells].findIndex(head => /folds done/.test(head.innerText)) + 1")
    browser.click(f"table.board th:nth-child({seconds}) button")
    assert browser.run(NAMES)[-1] == "blends/first"  # has no such number, so it comes last
    browser.click(f"table.board th:nth-child({seconds}) button")
    assert browser.run(NAMES)[-1] == "blends/first"


def test_the_keyboard_is_enough(browser, page):
    from selenium.webdriver.common.keys import Keys

    browser.open(page)
    browser.press(Keys.TAB)
    assert browser.run(f"{FOCUS}.textContent") == "Skip to the content"
    left, outline = browser.run(f"[{FOCUS}.getBoundingClientRect().left, getComputedStyle({FOCUS}).outlineStyle]")
    assert left >= 0 and outline != "none"  # it comes into sight, and the focus is seen
    browser.press(Keys.ENTER)
    assert browser.run(f"{FOCUS}.id") == "main"
    for _ in range(3):  # the scrolling region, then the first two headers
        browser.press(Keys.TAB)
    assert browser.run(f"{FOCUS}.tagName + ' ' + {FOCUS}.innerText") == "BUTTON accuracy"
    browser.press(Keys.SPACE)
    assert browser.run(NAMES)[0] == "weak" and browser.run(SORTED)[1] == "ascending"
    assert browser.run(f"{FOCUS}.innerText") == "accuracy"  # the focus stays
    assert re.search(
        "Sorted by accuracy, ascending", browser.run("document.querySelector('[role=status]').textContent")
    )
    browser.run("document.querySelector('#curves ~ details > summary').focus()")
    before = browser.run("document.querySelector('#curves ~ details').open")
    browser.press(Keys.ENTER)
    assert browser.run("document.querySelector('#curves ~ details').open") != before


def test_a_chart_tells_its_values_under_the_pointer(browser, page):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    browser.open(page)
    stop = browser.driver.find_elements(By.CSS_SELECTOR, "#curves ~ details .chart .stop rect")[2]
    words = "[...document.querySelectorAll('.stop:hover text')].map(one => one.textContent)"
    assert browser.run(words) == []
    ActionChains(browser.driver).scroll_to_element(stop).move_to_element(stop).perform()
    (told,) = browser.run(words)
    assert re.fullmatch(r"epoch 3: train \d\d\.\d\d% · watched \d\d\.\d\d%", told)
    assert browser.run("getComputedStyle(document.querySelector('.stop:hover text')).opacity") == "1"


def test_tables_keep_apart(browser, tmp_path):
    rows = html.table("one", ["a"], [["1"]])
    (tmp_path / "two.html").write_text(html.page("two", rows, rows))
    browser.open(tmp_path / "two.html")
    tables = "[...document.querySelectorAll('.wide')].map(one => one.getBoundingClientRect())"
    (above, below) = browser.run(f"{tables}.map(box => [box.top, box.bottom])")
    assert below[0] - above[1] >= 12


def test_a_missing_browser_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert missing() == "no chromium here; on Debian: apt-get install chromium"
