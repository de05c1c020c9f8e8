"""Links lead somewhere, pictures can be drawn again, the README stays short."""

from __future__ import annotations

import re
import runpy

import pytest

from tests.docs.pages import PAGES, README, ROOT, anchors, name

README_LINES = 200


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files_and_headings(page):
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_mark_is_left_where_a_number_was_to_come(page):
    assert "@@" not in page.read_text() and "TODO" not in page.read_text()


def test_the_readme_is_short_and_leads_to_every_page():
    text = README.read_text()
    assert len(text.splitlines()) <= README_LINES
    for page in PAGES[1:]:
        assert f"]({name(page)})" in text, name(page)


def test_the_readme_quotes_the_ten_lines_of_the_python_page():
    [quoted] = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    assert f"```python\n{quoted}```" in (ROOT / "docs/python.md").read_text()


def test_every_picture_is_shown_and_every_shown_picture_is_there():
    text = "".join(page.read_text() for page in PAGES)
    for picture in (ROOT / "docs/pictures").glob("*.png"):
        assert f"pictures/{picture.name})" in text, picture.name


def test_the_picture_of_twins_can_be_drawn_again(tmp_path):
    draw = runpy.run_path(str(ROOT / "docs/pictures/twins.py"))["main"]
    draw(tmp_path / "twins.png")
    drawn, shown = (path.read_bytes() for path in (tmp_path / "twins.png", ROOT / "docs/pictures/twins.png"))
    assert drawn[16:24] == shown[16:24]  # width and height of a PNG
