"""Two runs or blends side by side, chosen in the leaderboard or from two lists: scores, difference, settings."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import Any

from fer_kit.drawing import html
from fer_kit.evaluate.tables import SIGNIFICANCE
from fer_kit.report.content import difference
from fer_kit.report.section import Content, Part, Ranked, Section
from fer_kit.report.sections.leaderboard import numbers
from fer_kit.report.settings import shown

PAIRS_OF = 24  # best sources of which every two are tested; a test takes some milliseconds


@dataclass(frozen=True, kw_only=True)
class Pairs(Part):
    """sources: name, numbers and settings of each, as JSON. differences: sentence by `i,j`, i < j.

    first: the two that are shown at first, by number.
    """

    sources: list[dict[str, Any]]
    differences: dict[str, str]
    first: tuple[int, int]


def build(content: Content) -> Pairs:
    """Everything that the script shows for any two sources."""
    tested = content.every[:PAIRS_OF]
    differences = {
        f"{i},{j}": _sentence(a, b, difference(a, b, content.found.groups))
        for (i, a), (j, b) in itertools.combinations(enumerate(tested), 2)
    }
    sources = [_source(one, lookup=one in content.lookups) for one in content.every]
    whole = [number for number, one in enumerate(content.ranked) if not one.source.missing]
    first = (whole[0], whole[1]) if len(whole) > 1 else (0, 1)
    return Pairs(sources=sources, differences=differences, first=first)


def _source(one: Ranked, lookup: bool) -> dict[str, Any]:
    config = next((fold.config for fold in one.folds if fold.config), {})
    settings = {str(name): shown(value) for name, value in config.items()}
    if one.blend is not None:
        settings = {"method": shown(one.blend.method), "pool": shown(one.blend.pool)}
    note = "looked up labels of twins, so its accuracy does not compare" if lookup else ""
    return {
        "name": one.name,
        "kind": one.source.kind,
        "numbers": dict(numbers(one)),
        "settings": settings,
        "note": note,
    }


def _sentence(a: Ranked, b: Ranked, found: dict[str, Any]) -> str:
    if not found:
        return f"{a.name} and {b.name} share no out-of-fold rows."
    if not (found["won"] or found["lost"]):
        return f"{a.name} and {b.name} are right on the same rows, of {found['rows']:,} common rows."
    points, error = 100 * found["difference"], 100 * found["standard_error"]
    verdict = "more than chance" if found["p"] < SIGNIFICANCE else "within chance"
    return (
        f"{a.name} minus {b.name}: {html.signed(points)} ± {error:.2f} points on {found['rows']:,} common rows, "
        f"p = {found['p']:.2g}: {verdict}. Only {a.name} is right on {found['won']:,} rows, only {b.name} on "
        f"{found['lost']:,}."
    )


def as_html(part: Pairs) -> str:
    """Two lists to choose from, and the place that the script fills."""
    if len(part.sources) < 2:
        return html.paragraph("There are fewer than two finished runs and blends.", soft=True)
    lists = []
    for number, label in enumerate(("First", "Second")):
        options = "".join(
            f'<option value="{i}"{" selected" * (i == part.first[number])}>{html.text(source["name"])}</option>'
            for i, source in enumerate(part.sources)
        )
        lists.append(f'<label>{label} <select id="compare-{number}">{options}</select></label>')
    data = json.dumps({"sources": part.sources, "differences": part.differences}).replace("<", "\\u003c")
    return (
        html.paragraph("Tick two names in the leaderboard, or choose them here.", soft=True)
        + f'<div class="choose">{"".join(lists)}</div><div id="compared" role="status">'
        + html.sentence("The comparison needs JavaScript; `fer-kit evaluate` prints the same.")
        + f'</div><script type="application/json" id="compare-data">{data}</script>'
    )


STYLE = """
.choose { display: flex; flex-wrap: wrap; gap: .5rem 1.2rem; } .choose label { min-width: 0; max-width: 100%; }
.choose select { font: inherit; max-width: 100%; padding: .3rem; color: var(--ink); background: var(--card);
  border: 1px solid var(--soft); border-radius: .3rem; }
#compared { margin-top: .6rem; overflow-x: auto; } #compared td, #compared th { white-space: normal;
  overflow-wrap: anywhere; } #compared thead th { min-width: 5.5rem; }
#compared tbody th, #compared thead td { min-width: 6.5rem; overflow-wrap: normal; }
.pick { display: none; } .scripted .pick { display: inline-block; margin: 0 .4rem 0 0; width: 1rem; height: 1rem;
  accent-color: var(--bar); vertical-align: -.1rem; } .scripted .board label { cursor: pointer; }
"""
SCRIPT = """
{
  const source = document.getElementById("compare-data");
  if (source) {
    const {sources, differences} = JSON.parse(source.textContent), place = document.getElementById("compared");
    const lists = [0, 1].map(number => document.getElementById(`compare-${number}`));
    const picks = [...document.querySelectorAll(".pick")];
    document.documentElement.classList.add("scripted");
    const element = (name, words, parent) => {
      const made = document.createElement(name);
      if (words !== undefined) made.textContent = words;
      parent?.append(made);
      return made;
    };
    const compare = () => {
      const [i, j] = lists.map(list => +list.value), [a, b] = [sources[i], sources[j]];
      const known = differences[`${Math.min(i, j)},${Math.max(i, j)}`];
      place.replaceChildren();
      element("p", i === j ? "Choose two different ones." : known ?? "Not tested on this page; use fer-kit evaluate.",
        place);
      for (const one of new Set([a, b])) if (one.note) element("p", `${one.name} ${one.note}.`, place);
      if (i === j) return;
      const table = element("table", undefined, place), top = element("thead", undefined, table);
      const head = element("tr", undefined, top);
      for (const name of ["", a.name, b.name]) {
        const cell = element(name ? "th" : "td", name, head);
        if (name) cell.scope = "col";
      }
      const body = element("tbody", undefined, table);
      const add = (name, x, y) => {
        const row = element("tr", undefined, body), cell = element("th", name, row);
        cell.scope = "row";
        for (const value of [x, y]) element("td", value ?? "–", row);
      };
      for (const name of new Set([...Object.keys(a.numbers), ...Object.keys(b.numbers)]))
        add(name, a.numbers[name], b.numbers[name]);
      const settings = new Set([...Object.keys(a.settings), ...Object.keys(b.settings)]);
      for (const name of settings)
        if (a.kind === b.kind ? a.settings[name] !== b.settings[name] : ["recipe", "method"].includes(name))
          add(name, a.settings[name], b.settings[name]);
    };
    let order = [];
    for (const pick of picks) pick.addEventListener("change", () => {
      order = order.filter(one => one !== pick);
      if (pick.checked) order.push(pick);
      while (order.length > 2) order.shift().checked = false;
      if (order.length < 2) return;
      const chosen = order.map(one => sources.findIndex(each => each.name === one.dataset.pick)).sort((x, y) => x - y);
      lists.forEach((list, number) => { list.value = chosen[number]; });
      compare();
      document.getElementById("compare").scrollIntoView({block: "start"});
    });
    for (const list of lists) list.addEventListener("change", compare);
    compare();
  }
}
"""
SECTION = Section("compare", "Two side by side", build, as_html, style=STYLE, script=SCRIPT)
