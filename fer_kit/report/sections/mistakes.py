"""Errors: confusion matrix, classes, calibration, and the most confident mistakes as faces."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fer_kit.competition import CLASSES
from fer_kit.drawing import html, svg_charts
from fer_kit.drawing.html_tables import heat
from fer_kit.drawing.svg_charts import Axis, Line
from fer_kit.evaluate import figures
from fer_kit.report.section import Content, Part, Ranked, Section, unfolding

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Images = NDArray[np.uint8]

STYLE = """
.faces { display: flex; flex-wrap: wrap; gap: .7rem; padding: 0; margin: .2rem 0 1rem; list-style: none; }
.faces li { width: 5.2rem; font-size: .75rem; line-height: 1.25; color: var(--soft); }
.faces img { width: 5.2rem; height: 5.2rem; image-rendering: pixelated; display: block; margin-bottom: .15rem; }
.faces span { display: block; } .faces b { color: var(--ink); font-weight: 600; display: block; }
@media (max-width: 40rem) { .faces { gap: .5rem; } .faces li { width: 4.6rem; }
  .faces img { width: 4.6rem; height: 4.6rem; } }
"""


@dataclass(frozen=True, kw_only=True)
class Mistakes(Part):
    """ranked: best first. images: uint8 (N, 48, 48), all train faces, None where none are shown, for `no_faces`."""

    ranked: Sequence[Ranked]
    images: Images | None
    no_faces: str
    sheets: int


def build(content: Content) -> Mistakes:
    """The pictures of `evaluate` for every source, with a sheet of mistakes for the best ones."""
    drawn: dict[str, Callable[[], Figure]] = {}
    for number, one in enumerate(content.every):
        faces = content.competition if number < content.options.sheets else None
        drawn |= figures.of_sources([one.source], [one.scores], [one.record], faces)
    return Mistakes(
        ranked=content.ranked,
        images=None if content.competition is None else content.competition.train.images,
        no_faces=content.no_faces,
        sheets=content.options.sheets,
        pictures=drawn,
        notes=[content.no_faces] if content.no_faces else [],
    )


def as_html(part: Mistakes) -> str:
    """Each source, the best unfolded."""
    if not part.ranked:
        return html.paragraph("Nothing is finished yet.")
    found = [
        (f"{one.name}, {one.accuracy:.2%}", _source(part, one, number < part.sheets))
        for number, one in enumerate(part.ranked)
    ]
    return ("" if part.images is not None else html.paragraph(part.no_faces, soft=True)) + unfolding(found)


def _source(part: Mistakes, one: Ranked, with_faces: bool) -> str:
    record = one.record
    caption = f"Calibration error {record['calibration_error']:.2%}; on the dashed line the probabilities are right."
    kept = f"<figure>{reliability(one.name, record)}<figcaption>{caption}</figcaption></figure>"
    inside = f'<div class="pair"><div>{confusion(one.name, record)}</div>'
    inside += f"<div>{classes(one.name, record)}{kept}</div></div>"
    if part.images is None:
        return inside
    if with_faces:
        return (
            f"{inside}<h3>Most confident mistakes</h3>{mistakes(one.name, record['confident_mistakes'], part.images)}"
        )
    more = f"Its mistakes as faces: fer-kit evaluate {one.name}, or this page with --sheets {len(part.ranked)}."
    return inside + html.paragraph(more, soft=True)


def confusion(name: str, record: dict[str, Any]) -> str:
    """The confusion matrix as a shaded table: shares of the true class, rows below."""
    counts = np.array(record["confusion"])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shown = [[(f"{s:.0%}", f"{n:,}") for s, n in zip(*row, strict=True)] for row in zip(shares, counts, strict=True)]
    caption = f"{name}: share of each true class (row) that was predicted as each class (column), and how many rows"
    return heat(caption, CLASSES, CLASSES, shares.tolist(), shown)


def classes(name: str, record: dict[str, Any]) -> str:
    """Precision, recall and F1 of each class, and the pairs that are confused most."""
    rows = [
        [one["name"], f"{one['rows']:,}", f"{one['precision']:.1%}", f"{one['recall']:.1%}", f"{one['f1']:.1%}"]
        for one in record["classes"]
    ]
    pairs = "; ".join(
        f"{pair['true']} answered as {pair['answer']} {pair['share']:.0%}" for pair in record["most_confused"][:5]
    )
    table = html.table(f"{name}: classes", ["class", "rows", "precision", "recall", "F1"], rows)
    return table + html.paragraph(f"Most rows lost: {pairs}." if pairs else "Not one row is wrong.", soft=True)


def reliability(name: str, record: dict[str, Any]) -> str:
    """Probability of the predicted class against the share of right predictions."""
    bins = [one for one in record["reliability"] if one["rows"]]
    line = Line("right", [(one["confidence"], one["accuracy"]) for one in bins], "c1")
    promised = Line("expected", [(0.0, 0.0), (1.0, 1.0)], "soft", dashed=True)
    x, y = Axis("probability of the prediction", 0, 1, True), Axis("right predictions", 0, 1, True)
    each = ", ".join(f"{one['confidence']:.0%} expected {one['accuracy']:.0%} right" for one in bins)
    alt = f"{name}: calibration error {record['calibration_error']:.2%}; {each}"
    return svg_charts.lines([promised, line], x, y, alt, hover=False)


def mistakes(name: str, wrong: Sequence[dict[str, Any]], images: Images) -> str:
    """The most confident mistakes, class by class, as faces with words below each.

    wrong: as in evaluate.json; images: uint8 (N, 48, 48), all train faces by id.
    """
    parts = []
    for label in CLASSES:
        ones = [one for one in wrong if one["true"] == label]
        if ones:
            parts.append(f"<h4>{html.text(label)}, predicted as</h4>")
            parts.append(f'<ul class="faces">{"".join(_face(one, images[one["id"]]) for one in ones)}</ul>')
    return "".join(parts) or html.paragraph(f"{name} has not one row wrong.")


def _face(one: dict[str, Any], image: Images) -> str:
    alt = f"Face of train row {one['id']}, labelled {one['true']}, answered {one['answer']}"
    return (
        f'<li><img src="{picture(image, "PNG", "image/png")}" width="48" height="48" alt="{html.text(alt)}">'
        f"<b>{html.text(one['answer'])}</b> {one['probability']:.1%} <span>row {one['id']}</span></li>"
    )


def picture(image: Images, form: str, media: str, **options: Any) -> str:
    """Pixels, grey (H, W) or coloured (H, W, 3), as a data: address."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, form, **options)
    return f"data:{media};base64,{base64.b64encode(buffer.getvalue()).decode()}"


SECTION = Section("errors", "Errors", build, as_html, style=STYLE)
