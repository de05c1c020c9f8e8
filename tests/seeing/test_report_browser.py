"""The pages of `report` and `explore` in a real browser: what a reader with a mouse, a keyboard or a phone gets."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from fer_kit.drawing import html
from fer_kit.drawing.html_tables import SCRIPT, UP, WORDS, Cell, Column, board, number
from fer_kit.explore import __main__ as explore
from fer_kit.report import __main__ as report
from tests.helpers import report_world
from tests.helpers.browser import DESKTOP_PX, PHONE_PX, missing

BOARD = "document.querySelector('table.board')"
NAMES = f"[...{BOARD}.tBodies].map(body => body.rows[0].cells[0].dataset.value)"
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


@pytest.mark.slow
def test_the_report_opens_anywhere(browser, page):
    check(browser, page)
    browser.look(PHONE_PX)
    browser.run("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert browser.overflow() == 0  # with everything unfolded, too


@pytest.mark.slow
def test_the_page_of_explore_opens_anywhere(browser, explored):
    check(browser, explored)


@pytest.mark.slow
def test_a_click_sorts_the_leaderboard(browser, page):
    browser.open(page)
    names = browser.run(NAMES)
    assert names[-1] == "weak" and browser.run(SORTED)[1] == "descending"
    browser.click("table.board th:nth-child(2) button")  # accuracy, once more: the worst first
    assert browser.run(NAMES)[0] == "weak" and browser.run(SORTED).count("ascending") == 1
    browser.click("table.board th:nth-child(1) button")
    assert browser.run(NAMES) == sorted(names)
    assert browser.run(SORTED)[:2] == ["ascending", None]
    assert browser.run(f"[...{BOARD}.tBodies].every(body => body.rows[1].className === 'more')")  # details move along


def test_numbers_that_are_not_known_come_last(browser, tmp_path):
    columns = [Column("name", WORDS, UP), Column("value")]
    rows = [[Cell("a", "a"), number("1", 1.0)], [Cell("b", "b"), number("", None)], [Cell("c", "c"), number("2", 2.0)]]
    (tmp_path / "page.html").write_text(html.page("x", board("x", columns, rows, "name"), script=SCRIPT))
    browser.open(tmp_path / "page.html")
    names = f"[...{BOARD}.tBodies[0].rows].map(row => row.cells[0].dataset.value).join('')"
    for expected in ("cab", "acb"):
        browser.click("table.board th:nth-child(2) button")
        assert browser.run(names) == expected


def test_two_are_compared_by_ticking_them_in_the_leaderboard(browser, page):
    browser.open(page)
    names = browser.run(NAMES)
    for place in (3, 2):
        browser.run(f"document.querySelectorAll('.pick')[{place}].click()")
    head = browser.run("[...document.querySelectorAll('#compared thead th')].map(cell => cell.textContent)")
    assert head == [names[2], names[3]]
    assert re.match(rf"{names[2]} minus {names[3]}: ", browser.run("document.querySelector('#compared p').textContent"))
    browser.run("document.querySelectorAll('.pick')[0].click()")  # a third takes the place of the first
    assert browser.run("[...document.querySelectorAll('.pick')].map(one => one.checked)") == [True, False, True, False]
    browser.run("document.getElementById('compare-1').focus()")
    browser.press("w")  # by keyboard: the list goes to the name with this letter
    head = browser.run("[...document.querySelectorAll('#compared thead th')].map(cell => cell.textContent)")
    assert head == [names[0], "weak"]


def test_the_keyboard_is_enough(browser, page):
    from selenium.webdriver.common.keys import Keys

    browser.open(page)
    browser.press(Keys.TAB)
    assert browser.run(f"{FOCUS}.textContent") == "Skip to the content"
    left, outline = browser.run(f"[{FOCUS}.getBoundingClientRect().left, getComputedStyle({FOCUS}).outlineStyle]")
    assert left >= 0 and outline != "none"  # it comes into sight, and the focus is seen
    browser.press(Keys.ENTER)
    assert browser.run(f"{FOCUS}.id") == "main"
    browser.run("document.querySelector('table.board th button').focus()")
    browser.press(Keys.TAB)
    assert browser.run(f"{FOCUS}.tagName + ' ' + {FOCUS}.innerText") == "BUTTON accuracy"
    browser.press(Keys.SPACE)
    assert browser.run(NAMES)[0] == "weak" and browser.run(SORTED)[1] == "ascending"
    assert browser.run(f"{FOCUS}.innerText") == "accuracy"  # the focus stays
    assert re.search(
        "Sorted by accuracy, ascending", browser.run("document.querySelector('[role=status]').textContent")
    )
    browser.press(Keys.TAB)
    browser.press(Keys.TAB)  # over the third header to the first row
    assert browser.run(f"{FOCUS}.className") == "pick"
    browser.press(Keys.TAB)
    assert browser.run(f"{FOCUS}.tagName + ' ' + getComputedStyle({FOCUS}).outlineStyle") == "SUMMARY solid"
    browser.press(Keys.ENTER)
    assert browser.run(f"{FOCUS}.parentElement.open")
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


@pytest.mark.parametrize("size", [PHONE_PX, DESKTOP_PX], ids=["phone", "desktop"])
@pytest.mark.parametrize("which", ["page", "explored"])
def test_axe_finds_no_serious_fault(browser, request, which, size):
    """axe-core, where it is there: AXE_CORE=path/to/axe.min.js, or node_modules; `npm pack axe-core` brings it."""
    places = [os.environ.get("AXE_CORE") or "node_modules/axe-core/axe.min.js"]
    script = next((Path(place) for place in places if Path(place).is_file()), None)
    if script is None:
        pytest.skip(f"no {places[0]} here; npm install axe-core, or set AXE_CORE to its axe.min.js")
    for dark in (False, True):
        browser.open(request.getfixturevalue(which), size, dark)
        browser.run("document.querySelectorAll('details').forEach(one => one.open = true)")
        browser.driver.execute_script(script.read_text())
        found = browser.driver.execute_async_script("axe.run().then(arguments[0])")
        assert len(found["passes"]) > 10  # it did look
        serious = [one for one in found["violations"] if one["impact"] in ("serious", "critical")]
        assert not serious, [(one["id"], one["help"], one["nodes"][0]["html"][:200]) for one in serious]


@pytest.mark.slow
def test_pictures_are_scaled_to_a_phone(browser, explored):
    browser.open(explored, PHONE_PX)
    widths = browser.run("[...document.images].map(one => one.getBoundingClientRect().right)")
    assert widths and max(widths) <= PHONE_PX[0]


def test_bars_of_classes_fit_a_phone(browser, tmp_path):
    rows = [["Angry", "3,995", "13.9%", "9.16"], ["Happy", "7,215", "25.1%", "16.55"]]
    table = html.table("classes", ["class", "rows", "share", "× rarest"], rows, [0.5, 1.0])
    (tmp_path / "bars.html").write_text(html.page("bars", table))
    browser.open(tmp_path / "bars.html", PHONE_PX)
    boxes = "[...document.querySelectorAll('.share')].map(one => one.getBoundingClientRect())"
    (half, whole), (_, right) = browser.run(f"[{boxes}.map(box => box.width), {boxes}.map(box => box.right)]")
    assert whole == pytest.approx(2 * half, abs=1) and right <= PHONE_PX[0]


def test_words_of_a_command_stay_whole_on_a_phone(browser, tmp_path):
    words = html.sentence("Make the activation maps of the best run with `fer-kit explain run --fold 0 --runs r`.")
    (tmp_path / "command.html").write_text(html.page("command", words))
    for width in range(220, 400, 30):
        browser.open(tmp_path / "command.html", (width, 700))
        heights = browser.run("[...document.querySelectorAll('.command span')].map(one => one.offsetHeight)")
        assert len(heights) == 7 and len(set(heights)) == 1


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
