"""Parts of an HTML page in a single file: light or dark by the reader's setting, for phones too, without network."""

from __future__ import annotations

import base64
import html
import math
import struct
from collections.abc import Sequence

COLOURS = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1d2430; --soft: #5b6472; --line: #d9dde3; --card: #f5f7f9;
  --bar: #3b6ea5; --heat-most: .72; --c1: #2f66a3; --c2: #b85c16; --c3: #1f8a5b; --c4: #a03a7c; --c5: #7a6a00;
  --c6: #6a52c7; --c7: #0c8599; --c8: #b3403a; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181f; --ink: #e4e8ee; --soft: #a3acb9; --line: #333b46;
  --card: #1c222b; --bar: #6ea3dc; --heat-most: .55; --c1: #79aee6; --c2: #eda35f; --c3: #5ec795; --c4: #df8bc1;
  --c5: #d1bf45; --c6: #ab9af0; --c7: #5cc6d8; --c8: #ee8780; } }
"""

STYLE = (
    f"""{COLOURS}"""
    + """
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.2rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: .4rem 0; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .4rem; }
p { max-width: 46rem; } .soft, figcaption { color: var(--soft); font-size: .9rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: .6rem; padding: 0;
  list-style: none; }
.cards li { background: var(--card); border-radius: .5rem; padding: .6rem .8rem; }
.cards b { display: block; font-size: 1.25rem; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; position: relative; } .wide + .wide { margin-top: 1rem; }
.wide:focus-visible { outline: 2px solid var(--bar); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); font-size: .9rem; padding-bottom: .3rem; }
caption span { position: sticky; left: 0; display: inline-block; max-width: min(100%, 90vw); }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } thead th { color: var(--soft); font-weight: 600; }
.share { display: inline-block; width: calc(var(--share) * var(--bar-room)); height: .7rem; background: var(--bar);
  border-radius: 2px; vertical-align: middle; }
td.bar { --bar-room: 8rem; text-align: left; min-width: 9rem; } td.bar .share { min-width: 2px; }
@media (max-width: 40rem) { body { padding: .8rem; } th, td { padding: .25rem .35rem; font-size: .88rem; }
  td.bar { --bar-room: 4.5rem; min-width: 5rem; } dl { grid-template-columns: 1fr; } }
dl { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr; gap: .35rem 1.2rem; }
dt { color: var(--soft); } dd { margin: 0; } figure { margin: 1rem 0; }
img { max-width: 100%; height: auto; border-radius: .3rem; }
a { color: var(--bar); } :focus-visible { outline: 2px solid var(--bar); outline-offset: 2px; }
.skip { position: absolute; left: -99rem; } .skip:focus { left: 1rem; top: .5rem; padding: .4rem .8rem; z-index: 2;
  background: var(--paper); }
.command span { display: inline-block; max-width: 100%; overflow-wrap: anywhere; }
nav ul { display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; padding: 0; list-style: none; }
nav a { display: inline-block; padding: .25rem 0; }
"""
)
# With this policy the browser refuses all access to the network.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def page(title: str, *parts: str, contents: Sequence[tuple[str, str]] = (), style: str = "", script: str = "") -> str:
    """A whole HTML page with `parts` as its body.

    contents: (anchor, name) of each section, linked at the top. style, script: further CSS and JavaScript.
    """
    head = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'  # without an icon a browser requests one from a server
        f"<title>{text(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n"
    )
    links = "".join(f'<li><a href="#{anchor}">{text(name)}</a></li>' for anchor, name in contents)
    way = '<a class="skip" href="#main">Skip to the content</a>\n' if contents else ""
    nav = f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n' if contents else ""
    body = "\n".join([f"{way}<header><h1>{text(title)}</h1>\n{nav}</header>", '<main id="main" tabindex="-1">', *parts])
    end = f"<script>{script}</script>\n" if script else ""
    return f"{head}{body}\n</main>\n{end}</body>\n</html>\n"


def text(value: object) -> str:
    """`value` escaped for HTML."""
    return html.escape(str(value))


def paragraph(value: object, soft: bool = False) -> str:
    """A paragraph of plain text."""
    opening = '<p class="soft">' if soft else "<p>"
    return f"{opening}{text(value)}</p>"


def heading(value: object, anchor: str = "") -> str:
    """The heading of a section. anchor: its id."""
    return f'<h2 id="{anchor}">{text(value)}</h2>' if anchor else f"<h2>{text(value)}</h2>"


def as_number(value: object) -> float | None:
    """`value` from a JSON file as a finite number; None for anything else."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return float(value)


def signed(value: float) -> str:
    """`value` with two digits and its sign; the minus is U+2212, so that a line never breaks behind it."""
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def command(value: str) -> str:
    """A command as <code>; a line breaks between its words, and inside a word only if it is wider than the line."""
    return f'<code class="command">{" ".join(f"<span>{text(word)}</span>" for word in value.split(" "))}</code>'


def sentence(value: str) -> str:
    """A paragraph of plain text in which commands stand between backticks."""
    return f"<p>{with_commands(value)}</p>"


def with_commands(value: str) -> str:
    """Plain text as HTML; what stands between backticks is a command."""
    return "".join(command(part) if number % 2 else text(part) for number, part in enumerate(value.split("`")))


def cards(items: Sequence[tuple[str, str]]) -> str:
    """Large numbers with their names: (number, name)."""
    return (
        '<ul class="cards">'
        + "".join(f"<li><b>{text(number)}</b> {text(what)}</li>" for number, what in items)
        + "</ul>"
    )


def pairs(items: Sequence[tuple[str, str]], commands: bool = False) -> str:
    """A list of (name, value). commands: what stands between backticks in a value is a command."""
    shown = with_commands if commands else text
    return "<dl>" + "".join(f"<dt>{text(what)}</dt><dd>{shown(found)}</dd>" for what, found in items) + "</dl>"


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], shares: Sequence[float] = ()) -> str:
    """A table of plain text, first column left, that scrolls sideways if it is too wide.

    shares: for each row a value from 0 to 1, shown as a bar in a last column.
    """
    heads = "".join(f'<th scope="col">{text(cell)}</th>' for cell in head) + ("<td></td>" if shares else "")
    lines = []
    for number, (first, *cells) in enumerate(rows):
        line = f'<th scope="row">{text(first)}</th>' + "".join(f"<td>{text(cell)}</td>" for cell in cells)
        if shares:
            line += f'<td class="bar"><span class="share" style="--share:{shares[number]:.3f}"></span></td>'
        lines.append(f"<tr>{line}</tr>")
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{text(caption)}"><table>'
        f"{caption_of(caption)}<thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def caption_of(caption: str) -> str:
    """The caption of a table; it stays on the screen while the table scrolls sideways."""
    return f"<caption><span>{text(caption)}</span></caption>"


def figure(light: bytes, dark: bytes, alt: str, caption: str) -> str:
    """A PNG in light and dark colours, embedded and scaled to the screen. alt: description of the picture."""
    width, height = struct.unpack(">II", light[16:24])  # of the PNG header
    return (
        f'<figure><picture><source media="(prefers-color-scheme: dark)" srcset="{_data(dark)}">'
        f'<img src="{_data(light)}" width="{width}" height="{height}" alt="{text(alt)}"></picture>'
        f"<figcaption>{text(caption)}</figcaption></figure>"
    )


def _data(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
