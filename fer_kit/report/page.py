"""The page of `report`: its sections in order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fer_kit.drawing import html, html_tables, svg_charts
from fer_kit.report.section import Content, Part, Section
from fer_kit.report.sections import (
    blends,
    comparison,
    curves,
    entries,
    leaderboard,
    lookups,
    maps,
    mistakes,
    provenance,
    searches,
    sweeps,
    what_next,
)

SECTIONS: tuple[Section[Any], ...] = (
    what_next.SECTION,
    leaderboard.SECTION,
    comparison.SECTION,
    curves.SECTION,
    mistakes.SECTION,
    maps.SECTION,
    sweeps.SECTION,
    searches.SECTION,
    blends.SECTION,
    lookups.SECTION,
    entries.SECTION,
    provenance.SECTION,
)
TITLE = "Facial expressions: runs and blends"
STYLE = """
body { max-width: 78rem; } #main:focus { outline: none; } h3 { font-size: 1rem; margin: 1.6rem 0 .2rem; }
h4 { font-size: .85rem; margin: .6rem 0 .2rem; color: var(--soft); font-weight: 600; }
.badge { font-size: .7rem; border: 1px solid var(--soft); border-radius: 1rem; padding: 0 .45rem; color: var(--soft);
  white-space: nowrap; }
.charts, .pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(19rem, 100%), 1fr));
  gap: 1rem 1.6rem; }
.charts figure { margin: .3rem 0; max-width: 32rem; }
.charts > *, .pair > * { min-width: 0; } .overview { max-width: 60rem; }
.overview > svg { max-width: 30rem; }
details { border-top: 1px solid var(--line); padding: .4rem 0; } details details, td details { border: 0; }
summary { cursor: pointer; font-weight: 600; padding: .25rem 0; } details details summary { font-weight: 400; }
dd, code { overflow-wrap: anywhere; }
dl { grid-template-columns: fit-content(22rem) 1fr; } .pair { margin-top: .8rem; } .pair figure { max-width: 26rem; }
.pair { grid-template-columns: repeat(auto-fit, minmax(min(27rem, 100%), 1fr)); }
@media (max-width: 40rem) { body { padding: .8rem; } dl { grid-template-columns: 1fr; } dd { margin-bottom: .4rem; } }
@media print { .stop, .skip, nav { display: none; } }
"""
ABSOLUTE = re.compile(r"(?<![\w.~/<&;:-])/(?:[\w.~+@%=-]+/)*([\w.~+@%=-]+)")


def build(content: Content) -> list[Part]:
    """What every section computes, in order of `SECTIONS`."""
    return [section.build(content) for section in SECTIONS]


def page(content: Content, parts: Sequence[Part]) -> str:
    """The whole page. A page without faces, which is made to be shown around, names no absolute path."""
    when = dict(content.options.made).get("page made", "")
    body = [html.paragraph(f"From the folder {content.options.runs_dir}, {when}", soft=True)]
    for section, part in zip(SECTIONS, parts, strict=True):
        heading = html.heading(section.title, section.anchor)
        body.append(f'<section aria-labelledby="{section.anchor}">{heading}{section.html(part)}</section>')
    style = svg_charts.STYLE + html_tables.STYLE + STYLE + "".join(section.style for section in SECTIONS)
    script = html_tables.SCRIPT + "".join(section.script for section in SECTIONS)
    contents = [(section.anchor, section.title) for section in SECTIONS]
    if not content.options.faces:
        body = [without_absolute_paths(part, folders_of(content)) for part in body]
    return html.page(TITLE, *body, contents=contents, style=style, script=script)


def folders_of(content: Content) -> list[Path]:
    """Absolute folders that texts of the page may name."""
    options = content.options
    named = [options.runs_dir, options.ledger.parent, *([Path(options.data)] if options.data else [])]
    found = {path.absolute() for path in named} | {path.resolve() for path in named} | {Path.cwd(), Path.home()}
    return sorted(found, key=lambda path: -len(str(path)))


def without_absolute_paths(text: str, folders: Sequence[Path]) -> str:
    """`text` with each absolute path cut down to its last name. folders: those that may hold spaces, longest first."""
    for folder in folders:
        if folder != Path(folder.anchor):
            for spelt in dict.fromkeys((str(folder), html.text(folder))):
                text = text.replace(f"{spelt}/", f"{folder.name}/").replace(spelt, folder.name)
    return ABSOLUTE.sub(r"\1", text)
