"""Twin lookups: blends that use labels of train rows which show the same photo, apart from everything else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fer_kit.drawing import html
from fer_kit.evaluate.tables import interval
from fer_kit.report.section import Content, Part, Ranked, Section
from fer_kit.report.sections.blends import forecast


@dataclass(frozen=True, kw_only=True)
class Lookups(Part):
    """lookups: best first."""

    lookups: Sequence[Ranked]


def build(content: Content) -> Lookups:
    """All blends that looked up twins."""
    return Lookups(lookups=content.lookups)


def as_html(part: Lookups) -> str:
    """One table; forecasts compare with those of other blends, out-of-fold accuracies do not."""
    if not part.lookups:
        return html.sentence("No twin lookup yet. Make one beside a blend with `fer-kit blend NAME --twins near`.")
    head = ["blend", "twins", "made of", "out of fold without", "with", "forecast with lookup", "test rows changed"]
    return html.paragraph(
        "A twin lookup changes predictions by the labels of train rows that show the same photo. That is knowledge "
        "about the data files, not about faces: it raises the leaderboard score and helps with no other face. The "
        "out-of-fold accuracy with lookup uses labels of held-out rows, so the leaderboard above leaves these blends "
        "out."
    ) + html.table("Blends with twin lookup", head, [_row(one) for one in part.lookups])


def _row(one: Ranked) -> list[str]:
    twins = None if one.blend is None else one.blend.twins
    ahead = forecast(one)
    expected = "–" if ahead is None else f"{ahead[0]:.2%}" + (f" ({interval(ahead[1])})" if ahead[1] else "")
    if twins is None:
        return [one.short_name, "in a member", "–", "–", f"{one.accuracy:.2%}", expected, "–"]
    return [
        one.short_name,
        twins.mode,
        twins.blend,
        f"{twins.without.oof_accuracy:.2%}",
        f"{one.accuracy:.2%}",
        expected,
        f"{twins.rows_changed:,} of {twins.rows:,}",
    ]


SECTION = Section("lookups", "Twin lookups", build, as_html)
