"""What a section of the report is, and what it is built from.

A section is one file in `fer_kit.report.sections` and one line in `fer_kit.report.page.SECTIONS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from fer_kit.drawing import html
from fer_kit.evaluate.scores import Scores
from fer_kit.evaluate.sources import BLEND, ScoredSource
from fer_kit.report.found import Fold, Found
from fer_kit.runs.blend_record import BlendRecord
from fer_kit.runs.ledger import Entry

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fer_kit.data.loading import Competition

Pictures = Mapping[str, Callable[[], "Figure"]]  # a function that draws each picture, by file name


@dataclass(frozen=True)
class ReportOptions:
    """The options of the command.

    data: the data folder, None to search for one. sheets: how many of the best sources show faces and maps.
    map_folders: folders that may hold activation maps. made: (name, value) of the page itself: date, commit, command.
    """

    runs_dir: Path
    data: str | None
    ledger: Path
    sheets: int
    faces: bool
    map_folders: Sequence[Path]
    trials: bool = False
    made: Sequence[tuple[str, str]] = field(default_factory=list)

    @property
    def runs_option(self) -> str:
        """` --runs DIR` for a command that the page shows; empty for the default folder."""
        import shlex

        return "" if str(self.runs_dir) == "runs" else f" --runs {shlex.quote(str(self.runs_dir))}"


@dataclass(frozen=True, eq=False)
class Ranked:
    """A run or blend with its scores.

    record: its object in evaluate.json. folds: its fold folders, none for a blend. blend: blend.json, None for a run.
    against: its difference to the best source with all folds on the rows of both, as JSON; None for that source and
    for lookups, {} if the two share no rows.
    """

    source: ScoredSource
    scores: Scores
    record: dict[str, Any]
    folds: Sequence[Fold]
    blend: BlendRecord | None
    against: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """The name of the source."""
        return self.source.name

    @property
    def short_name(self) -> str:
        """The name without `blends/`."""
        return self.name.removeprefix("blends/")

    @property
    def accuracy(self) -> float:
        """Out-of-fold accuracy, 0 to 1."""
        return float(self.record["accuracy"])

    @property
    def is_blend(self) -> bool:
        """True for a blend, False for a run."""
        return self.source.kind == BLEND

    @property
    def of_folds(self) -> str:
        """`2 of 5` for a run."""
        done = len(self.source.folds)
        return f"{done} of {done + len(self.source.missing)}"

    def mean(self, key: str) -> float | None:
        """The mean of `key` in result.json over the finished folds; None if no fold has a number there."""
        values = [html.as_number(fold.result.get(key)) for fold in self.folds if fold.finished and fold.is_held_out]
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known else None


@dataclass(frozen=True, eq=False)
class Content:
    """Everything that is loaded for the page, once for all sections.

    ranked: runs and blends that compare fairly, best first. lookups: blends with twin lookup, best first; their
    accuracy uses labels of twins, so they are never ranked among the others. folds: every fold folder by run, the
    best run first. ledger: entries, oldest first. competition: None without faces, for the reason `no_faces`.
    """

    options: ReportOptions
    found: Found
    ranked: Sequence[Ranked]
    lookups: Sequence[Ranked]
    folds: Mapping[str, list[Fold]]
    ledger: Sequence[Entry]
    ledger_error: str
    competition: Competition | None
    no_faces: str

    @property
    def every(self) -> list[Ranked]:
        """All sources, lookups last."""
        return [*self.ranked, *self.lookups]


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a section computes besides its own fields.

    charts: SVG files by name. pictures: PNG files by name, drawn later. notes: lines that the command prints too.
    """

    charts: Mapping[str, str] = field(default_factory=dict)
    pictures: Pictures = field(default_factory=dict)
    notes: Sequence[str] = ()


P = TypeVar("P", bound=Part)


@dataclass(frozen=True)
class Section(Generic[P]):
    """A section of the page.

    anchor: its id in the page. build: computes what the section shows. html: writes it as HTML. style, script: CSS
    and JavaScript that only this section needs.
    """

    anchor: str
    title: str
    build: Callable[[Content], P]
    html: Callable[[P], str]
    style: str = ""
    script: str = ""


def unfolding(parts: Sequence[tuple[str, str]], opened: int = 1) -> str:
    """(summary, inside) each as <details>, the first `opened` of them open. summary: text; inside: HTML."""
    return "".join(
        f"<details{' open' * (number < opened)}><summary>{html.text(summary)}</summary>{inside}</details>"
        for number, (summary, inside) in enumerate(parts)
    )
