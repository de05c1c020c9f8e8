"""Small charts as SVG inside a page: coloured by the style sheet of the page, with values shown under the pointer.

The SVG of matplotlib has fixed colours, and identifiers that clash when a page holds two charts. `alone` turns a chart
into a file of its own that still follows the light or dark setting of the reader.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from fer_kit.drawing.html import COLOURS, text

WIDTH, HEIGHT = 340, 210  # as wide as a phone: there a unit is a pixel
LEFT, RIGHT, TOP, BOTTOM = 46, 16, 20, 30
STRIP = 180, 24  # the size of a line of dots
SHORT_NAME = 5  # letters that fit below the other axis, left of the numbers
STOPS = 60  # most places with values under the pointer
COLOURED = 8  # number of line colours, `c1` to `c8`

STYLE = """
.chart { width: 100%; height: auto; display: block; font: 11px system-ui, sans-serif; }
.chart text { fill: var(--soft); } .chart .grid { stroke: var(--line); stroke-width: 1; }
.chart .line { fill: none; stroke-width: 1.8; stroke-linejoin: round; } .chart .faint { opacity: .55; }
.chart .dashed { stroke-dasharray: 4 3; } .chart .dot { stroke: var(--paper); stroke-width: 1.5; }
.chart .c1, .c1 { stroke: var(--c1); fill: var(--c1); } .chart .c2, .c2 { stroke: var(--c2); fill: var(--c2); }
.chart .c3, .c3 { stroke: var(--c3); fill: var(--c3); } .chart .c4, .c4 { stroke: var(--c4); fill: var(--c4); }
.chart .c5, .c5 { stroke: var(--c5); fill: var(--c5); } .chart .c6, .c6 { stroke: var(--c6); fill: var(--c6); }
.chart .c7, .c7 { stroke: var(--c7); fill: var(--c7); } .chart .c8, .c8 { stroke: var(--c8); fill: var(--c8); }
.chart .soft { stroke: var(--soft); fill: var(--soft); } .chart .line { fill: none; }
.strip { width: 180px; min-width: 140px; font-size: 10px; } .strip .interval { fill: var(--bar); opacity: .45; }
.strip .value { stroke: var(--ink); stroke-width: 2; } .strip .dot { stroke-width: 1; }
@media (max-width: 40rem) { .strip { width: 116px; min-width: 116px; } }
.chart .stop rect { fill: transparent; } .chart .stop line { stroke: var(--soft); stroke-dasharray: 2 2; opacity: 0; }
.chart .stop text { opacity: 0; fill: var(--ink); paint-order: stroke; stroke: var(--paper); stroke-width: 4px; }
.chart .stop:hover line, .chart .stop:hover text { opacity: 1; }
"""


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    group: its name under the pointer; lines of one group are averaged there. points: (x, y). colour: a class of the
    style sheet, `c1` to `c8` or `soft`. mark: a highlighted point.
    """

    group: str
    points: Sequence[tuple[float, float]]
    colour: str = "c1"
    faint: bool = False
    dashed: bool = False
    mark: tuple[float, float] | None = None


@dataclass(frozen=True)
class Axis:
    """An axis from `low` to `high`.

    share: shown in percent. whole: only whole numbers have ticks. log: the values are decimal logarithms. names: of
    the values 0, 1, 2 …, which are choices.
    """

    name: str
    low: float
    high: float
    share: bool = False
    whole: bool = False
    log: bool = False
    names: Sequence[str] = ()

    def shown(self, value: float, fine: bool = False) -> str:
        """A value as text: short for the axis, fine for values under the pointer."""
        if self.names:
            return self.names[round(value)]
        if self.log:
            return f"{10**value:.3g}"
        if self.share:
            return f"{100 * value:.2f}%" if fine else f"{100 * value:.4g}%"
        if 0 < abs(value) < 0.001:
            mantissa, power = f"{value:.2e}".split("e")
            return f"{float(mantissa):g}e{int(power)}"
        return f"{value:.4g}" if fine else f"{value:.3g}"

    def ticks(self, most: int) -> list[float]:
        """Round values between the ends, at most `most` + 1."""
        if self.names:
            return [float(number) for number in range(len(self.names))]
        if self.log and (found := self._log_ticks(most)):
            return found
        step = _round_step((self.high - self.low) / most)
        if self.whole:
            step = math.ceil(step)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]

    def _log_ticks(self, most: int) -> list[float]:
        """1, 2 and 5, 1 and 3, or 1 in each power of ten; nothing where fewer than two of them are on the axis."""
        powers = range(math.floor(self.low), math.ceil(self.high) + 1)
        for digits in ((1, 2, 5), (1, 3), (1,)):
            found = [
                at for power in powers for digit in digits if self.low <= (at := power + math.log10(digit)) <= self.high
            ]
            if len(found) < most:
                return found if len(found) > 1 else []
        return []


@dataclass(frozen=True)
class Dot:
    """A dot of `scatter`. words: under the pointer. colour: as in `Line`."""

    x: float
    y: float
    words: str
    colour: str = "c1"
    faint: bool = False


def axis_of(name: str, values: Sequence[float], share: bool = False, from_zero: bool = False) -> Axis:
    """An axis that covers all `values`, with a margin."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    return Axis(name, 0.0 if from_zero else low - room, high + room, share)


def lines(series: Sequence[Line], x: Axis, y: Axis, alt: str, hover: bool = True) -> str:
    """A line chart. alt: description of the chart. hover: show values under the pointer."""
    across = _scale(x.low, x.high, LEFT, WIDTH - RIGHT)
    down = _scale(y.low, y.high, HEIGHT - BOTTOM, TOP)
    drawn = [_frame(x, y, across, down)]
    for one in series:
        kind = f"line {one.colour}{' faint' * one.faint}{' dashed' * one.dashed}"
        if len(one.points) > 1:
            path = " ".join(f"{across(a):.1f},{down(b):.1f}" for a, b in one.points)
            drawn.append(f'<polyline class="{kind}" points="{path}"/>')
        dots = [*one.points] if len(one.points) == 1 else []
        for a, b in [*dots, *([one.mark] if one.mark else [])]:
            drawn.append(f'<circle class="dot {one.colour}" cx="{across(a):.1f}" cy="{down(b):.1f}" r="4"/>')
    if hover:
        drawn += _stops(series, x, y, across)
    return _svg(WIDTH, HEIGHT, alt, drawn)


def points(found: Sequence[tuple[float, float, str]], x: Axis, y: Axis, alt: str) -> str:
    """Points (x, y, label), and the line on which x equals y."""
    across = _scale(x.low, x.high, LEFT, WIDTH - RIGHT)
    down = _scale(y.low, y.high, HEIGHT - BOTTOM, TOP)
    low, high = max(x.low, y.low), min(x.high, y.high)
    drawn = [_frame(x, y, across, down)]
    if low < high:
        ends = f'x1="{across(low):.1f}" y1="{down(low):.1f}" x2="{across(high):.1f}" y2="{down(high):.1f}"'
        drawn.append(f'<line class="line soft dashed" {ends}/>')
    for a, b, mark in found:
        drawn.append(
            f'<circle class="dot c1" cx="{across(a):.1f}" cy="{down(b):.1f}" r="5"/>'
            f'<text x="{across(a) + 7:.1f}" y="{down(b) + 4:.1f}">{text(mark)}</text>'
        )
    return _svg(WIDTH, HEIGHT, alt, drawn)


def scatter(dots: Sequence[Dot], x: Axis, y: Axis, alt: str) -> str:
    """A dot for each pair of values."""
    across = _scale(x.low, x.high, LEFT, WIDTH - RIGHT)
    down = _scale(y.low, y.high, HEIGHT - BOTTOM, TOP)
    drawn = [
        f'<circle class="dot {dot.colour}{" faint" * dot.faint}" cx="{across(dot.x):.1f}" cy="{down(dot.y):.1f}" r="5">'
        f"<title>{text(dot.words)}</title></circle>"
        for dot in dots
    ]
    return _svg(WIDTH, HEIGHT, alt, [_frame(x, y, across, down), *drawn])


def strip(dots: Sequence[tuple[str, float]], around: tuple[float, float], value: float, ends: Axis, alt: str) -> str:
    """The strip of a leaderboard row: a dot for each (name, value), the interval as a bar, the value as a tick."""
    width, height = STRIP
    at = _scale(ends.low, ends.high, 8, width - 8)
    low, high = (at(min(max(end, ends.low), ends.high)) for end in around)
    drawn = [
        *(f'<line class="grid" x1="{at(t):.1f}" x2="{at(t):.1f}" y1="2" y2="{height - 2}"/>' for t in ends.ticks(4)),
        f'<rect class="interval" x="{low:.1f}" y="9" width="{max(high - low, 1):.1f}" height="6" rx="3"/>',
        *(
            f'<circle class="dot c2" cx="{at(share):.1f}" cy="{height / 2}" r="4">'
            f"<title>{text(name)}: {share:.2%}</title></circle>"
            for name, share in dots
        ),
        f'<line class="value" x1="{at(value):.1f}" x2="{at(value):.1f}" y1="3" y2="{height - 3}"/>',
    ]
    return _svg(width, height, alt, drawn, "chart strip")


def strip_scale(ends: Axis) -> str:
    """The scale of `strip`, for the header of its column."""
    at = _scale(ends.low, ends.high, 8, STRIP[0] - 8)
    ticks = (f'<text x="{at(t):.1f}" y="13" text-anchor="middle">{100 * t:.4g}</text>' for t in ends.ticks(4))
    return _svg(STRIP[0], 16, f"scale from {ends.low:.0%} to {ends.high:.0%}", [*ticks], "chart strip")


def alone(chart: str) -> str:
    """A chart of this module as an SVG file."""
    style = f"<style>{COLOURS}{STYLE}svg {{ background: var(--paper); }}</style>"
    opened = chart.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    end = opened.index(">") + 1
    return opened[:end] + style + opened[end:] + "\n"


def _frame(x: Axis, y: Axis, across: Callable[[float], float], down: Callable[[float], float]) -> str:
    """Grid, tick labels and the names of both axes."""
    drawn = []
    for value in y.ticks(5):
        place = f"{down(value):.1f}"
        drawn.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{place}" y2="{place}"/>')
        drawn.append(f'<text x="{LEFT - 5}" y="{down(value) + 4:.1f}" text-anchor="end">{text(y.shown(value))}</text>')
    beside = len(x.name) <= SHORT_NAME  # a longer name stands below the tick labels, which then stand higher
    for value in x.ticks(6):
        drawn.append(
            f'<text x="{across(value):.1f}" y="{HEIGHT - BOTTOM + (16 if beside else 13)}" text-anchor="middle">'
            f"{text(x.shown(value))}</text>"
        )
    at = (LEFT - 10, HEIGHT - BOTTOM + 16) if beside else (WIDTH - RIGHT, HEIGHT - 2.5)
    drawn.append(f'<text x="{at[0]}" y="{at[1]}" text-anchor="end">{text(x.name)}</text>')
    drawn.append(f'<text x="2" y="11">{text(y.name)}</text>')
    return "".join(drawn)


def _stops(series: Sequence[Line], x: Axis, y: Axis, across: Callable[[float], float]) -> list[str]:
    """For each x an invisible stripe that shows the mean of every group under the pointer or finger."""
    places = sorted({a for one in series for a, _ in one.points})
    places = places[:: math.ceil(len(places) / STOPS)] if places else []
    values: dict[float, dict[str, list[float]]] = {place: {} for place in places}
    for one in series:
        for a, b in one.points:
            if a in values:
                values[a].setdefault(one.group, []).append(b)
    edges = [LEFT, *((across(a) + across(b)) / 2 for a, b in pairwise(places)), WIDTH - RIGHT]
    drawn = []
    for number, place in enumerate(places):
        left, right, at = edges[number], edges[number + 1], across(place)
        means = " · ".join(f"{name} {y.shown(sum(v) / len(v), fine=True)}" for name, v in values[place].items())
        drawn.append(
            f'<g class="stop"><rect x="{left:.1f}" y="{TOP}" width="{right - left:.1f}" '
            f'height="{HEIGHT - TOP - BOTTOM}"/><line x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
            f'<text x="{WIDTH - RIGHT}" y="11" text-anchor="end">{text(f"{x.name} {place:g}: {means}")}</text></g>'
        )
    return drawn


def _svg(width: int, height: int, alt: str, drawn: Sequence[str], kind: str = "chart") -> str:
    return (
        f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" aria-label="{text(alt)}">{"".join(drawn)}</svg>'
    )


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    span = (high - low) or 1.0
    return lambda value: start + (value - low) * (end - start) / span


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that is not below `least`."""
    power = 10.0 ** math.floor(math.log10(max(least, 1e-12)))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= least * (1 - 1e-9))
