"""Two kinds of HTML tables: tables that the reader sorts by their headers, and tables with shaded cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fer_kit.drawing.html import caption_of, text

NUMBER, WORDS = "number", "words"
UP, DOWN = "ascending", "descending"

STYLE = """
table.board { min-width: 100%; } table.board td { vertical-align: middle; }
.board th:first-child, .heat th:first-child, .heat thead td, .sticky th:first-child { position: sticky; left: 0;
  background: var(--paper); z-index: 1; }
.board tbody th { white-space: normal; overflow-wrap: anywhere; min-width: 11rem; max-width: 15rem; }
th button { font: inherit; color: inherit; background: none; border: 0; padding: .35rem .1rem; cursor: pointer; }
th button::after { content: "\\2195"; display: inline-block; width: 1em; opacity: .45; }
th[aria-sort] button { color: var(--ink); } th[aria-sort] button::after { opacity: 1; }
th[aria-sort=ascending] button::after { content: "\\2191"; }
th[aria-sort=descending] button::after { content: "\\2193"; }
.board small { display: block; color: var(--soft); } .grouped tr:not(.more) > * { border-bottom: 0; }
.board .more td { text-align: left; white-space: normal; padding-top: 0; } .board small { white-space: normal; }
.board tr:not(.more) > * { padding-bottom: 0; }
.board .more details { max-width: min(60rem, calc(100vw - 2.4rem)); position: sticky; left: .7rem; padding: 0; }
.board .more summary { font-size: .8rem; font-weight: 400; color: var(--soft); padding: 0; }
.board .more dl { margin: .2rem 0 .6rem; }
.heat { font-size: .85rem; }
.heat tbody td { text-align: center; padding: .35rem .55rem; border: 1px solid var(--paper);
  background: color-mix(in srgb, var(--bar) calc(var(--s) * var(--heat-most) * 100%), var(--card)); }
.heat thead th { text-align: center; padding: .25rem .3rem; font-size: .75rem; vertical-align: bottom; }
.heat thead th span { writing-mode: vertical-rl; transform: rotate(180deg); }
.heat td small { display: block; font-size: .7rem; } .heat td.same { font-weight: 700; }
@media (max-width: 40rem) { .board .roomy { display: none; } 
  .board thead th { white-space: normal; vertical-align: bottom; }
  .board small { max-width: 6rem; margin-left: auto; } th, td { padding: .25rem .35rem; font-size: .88rem; }
  .board tbody th { min-width: 5rem; max-width: 7rem; } .heat tbody td { padding: .3rem .1rem; }
  .heat { font-size: .75rem; } .heat td small { font-size: .62rem; }
  .heat thead th { font-size: .7rem; padding: .2rem .1rem; } .heat th:first-child { font-size: .7rem; } }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
"""

SCRIPT = """
for (const table of document.querySelectorAll("table.board")) {
  const heads = [...table.tHead.rows[0].cells], grouped = table.classList.contains("grouped");
  const status = table.parentElement.parentElement.querySelector("[role=status]");
  heads.forEach((head, column) => head.querySelector("button")?.addEventListener("click", () => {
    const now = head.getAttribute("aria-sort");
    const way = !now ? head.dataset.first : now === "ascending" ? "descending" : "ascending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", way);
    const units = grouped ? [...table.tBodies] : [...table.tBodies[0].rows];
    const value = unit => (grouped ? unit.rows[0] : unit).cells[column].dataset.value ?? "";
    const sign = way === "ascending" ? 1 : -1;
    const words = (a, b) => a.localeCompare(b, "en", {numeric: true});
    const order = head.dataset.kind === "number" ? (a, b) => a - b : words;
    (grouped ? table : table.tBodies[0]).append(...units.sort((a, b) => {
      const x = value(a), y = value(b);
      return x === "" || y === "" ? (x === "") - (y === "") : sign * order(x, y);  // what is not known goes last
    }));
    if (status) status.textContent = `Sorted by ${head.innerText.trim()}, ${way}`;
  }));
}
"""


@dataclass(frozen=True)
class Column:
    """A column of `board`.

    kind: NUMBER or WORDS, how rows are sorted by this column; "" if they cannot be. first: the order after the first
    click, best on top. html: shown in the header in place of the name. wide_only: hidden on a phone.
    """

    name: str
    kind: str = NUMBER
    first: str = DOWN
    html: str = ""
    wide_only: bool = False


@dataclass(frozen=True)
class Cell:
    """A cell. html: its content. value: the value to sort by, "" if unknown."""

    html: str
    value: str | float = ""


def number(shown: str, value: float | None) -> Cell:
    """A cell with a number and its text `shown`; `–` if `value` is None or NaN."""
    return Cell("–") if value is None or value != value else Cell(text(shown), value)


def board(
    caption: str, columns: Sequence[Column], rows: Sequence[Sequence[Cell]], by: str, details: Sequence[str] = ()
) -> str:
    """A table that the reader sorts by its headers; `rows` are sorted by the column `by`, in its first order.

    details: HTML of a second row below each row, over all columns; both rows move together.
    """
    heads = []
    wide_only = [' class="roomy"' if column.wide_only else "" for column in columns]
    for column, kind in zip(columns, wide_only, strict=True):
        if not column.kind:
            heads.append(f'<th scope="col"{kind}>{column.html or text(column.name)}</th>')
            continue
        sort = f' aria-sort="{column.first}"' if column.name == by else ""
        heads.append(
            f'<th scope="col"{kind} data-kind="{column.kind}" data-first="{column.first}"{sort}>'
            f'<button type="button">{text(column.name)}</button></th>'
        )
    lines = []
    for number, (first, *cells) in enumerate(rows):
        line = f'<th scope="row" data-value="{text(first.value)}">{first.html}</th>'
        line += "".join(
            f'<td{kind} data-value="{text(cell.value)}">{cell.html}</td>'
            for cell, kind in zip(cells, wide_only[1:], strict=True)
        )
        more = f'<tr class="more"><td colspan="{len(columns)}">{details[number]}</td></tr>' if details else ""
        lines.append(f"<tbody><tr>{line}</tr>{more}</tbody>" if details else f"<tr>{line}</tr>")
    bodies = "".join(lines) if details else f"<tbody>{''.join(lines)}</tbody>"
    grouped = " grouped" if details else ""
    return (
        f'<div><div class="wide" tabindex="0" role="region" aria-label="{text(caption)}"><table class="board{grouped}">'
        f"{caption_of(caption)}<thead><tr>{''.join(heads)}</tr></thead>"
        f'{bodies}</table></div><p class="unseen" role="status"></p></div>'
    )


def heat(
    caption: str,
    down: Sequence[str],
    across: Sequence[str],
    shades: Sequence[Sequence[float]],
    shown: Sequence[Sequence[tuple[str, str]]],
) -> str:
    """A table with cells shaded by `shades`, 0 to 1. shown: text of each cell, (large, small below)."""
    heads = "".join(f'<th scope="col"><span>{text(name)}</span></th>' for name in across)
    lines = []
    for row, name in enumerate(down):
        cells = []
        for column, (large, small) in enumerate(shown[row]):
            below = f"<small>{text(small)}</small>" if small else ""
            same = ' class="same"' if name == across[column] else ""
            cells.append(f'<td{same} style="--s:{min(max(shades[row][column], 0), 1):.3f}">{text(large)}{below}</td>')
        lines.append(f'<tr><th scope="row">{text(name)}</th>{"".join(cells)}</tr>')
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{text(caption)}"><table class="heat">'
        f"{caption_of(caption)}<thead><tr><td></td>{heads}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )
