"""Photograph a report: the top of the page on a desk, and the mistaken faces on a phone in dark colours.

python docs/pictures/report.py runs/report/report.html docs/pictures/report.png
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image

from tests.helpers import browser

DESK_PX, PHONE_PX = (1100, 1000), (370, 1000)
GAP_PX = 12
MISTAKES = """
const title = [...document.querySelectorAll('h3')].find(title => title.textContent == 'Most confident mistakes');
title.closest('details').open = true;
title.scrollIntoView();
"""


def main(page: Path, picture: Path) -> None:
    """Write the picture of `page` to `picture`."""
    with tempfile.TemporaryDirectory() as folder:
        tab = browser.start(Path(folder))
        try:
            tab.open(page, DESK_PX)
            desk = tab.screenshot(Path(folder, "desk.png"), whole=False)
            tab.open(page, PHONE_PX, dark=True)
            tab.driver.execute_script(MISTAKES)
            phone = tab.screenshot(Path(folder, "phone.png"), whole=False)
        finally:
            tab.driver.quit()
        left, right = Image.open(desk).convert("RGB"), Image.open(phone).convert("RGB")
    both = Image.new("RGB", (left.width + GAP_PX + right.width, left.height), "#7d8590")
    both.paste(left, (0, 0))
    both.paste(right, (left.width + GAP_PX, 0))
    both.quantize(128).save(picture, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
