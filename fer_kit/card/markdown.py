"""A model card as Markdown, with the metadata block of Hugging Face's hub."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from fer_kit.card.facts import Facts, TrainedRun
from fer_kit.competition import CLASSES

LIMITS = """\
- The labels of FER2013 follow the word by which a photo was found on the web ("angry face"), checked by hand. People
  who look at the faces agree with the labels for about 65% of them (Goodfellow et al. 2013): no network can be expected
  to know what a person feels, and a large part of the errors are disagreements about the label.
- The classes are uneven: there are 16 Happy rows for each Disgust row, and recall of rare classes is lower.
- Faces are grey, 48×48 pixels, frontal, cut out by OpenCV's Haar cascade. Other crops, turned or covered faces, and
  children or groups that are rare in photos of the web of 2013 were not measured.
- Nobody knows the age, sex or origin of the people shown, so fairness between groups was not measured.
- **Not for judging persons**: not for hiring, schooling, policing, insurance, border control, health, or any decision
  about somebody, and not for inferring emotions at workplaces and schools, which Article 5 of the EU's AI Act forbids.
  Meant for the competition, for research and for learning."""


def card(facts: Facts, extra: Sequence[str] = ()) -> str:
    """The text of the card. extra: lines on an exported file, such as the check against the original."""
    parts = [
        f"---\n{metadata(facts)}---",
        f"# {facts.name}",
        "Classifies faces (48×48 pixels, grey) into seven expressions: "
        f"{', '.join(CLASSES)}. Made with fer_kit for Kaggle's FER2013 competition. {_what(facts)}",
        "## Scores\n\n" + _scores(facts),
        "## Training\n\n" + "\n".join(_training(facts)),
        "## Limits and use\n\n" + LIMITS,
    ]
    if extra:
        parts.insert(3, "## Files\n\n" + "\n".join(f"- {line}" for line in extra))
    return "\n\n".join(parts) + "\n"


def metadata(facts: Facts) -> str:
    """The YAML block between the --- lines; strings are written as JSON, which YAML reads."""
    lines = [
        "license: mit",
        "library_name: fer_kit",
        "pipeline_tag: image-classification",
        'tags: ["facial-expression-recognition", "fer2013", "emotion-recognition", "fer_kit"]',
    ]
    if facts.scores is not None:
        task = {"type": "image-classification", "name": "Facial expression recognition"}
        data = {"type": "fer2013", "name": "FER2013, train rows", "split": "out-of-fold"}
        values = {"accuracy": facts.scores.accuracy, "f1": facts.scores.macro_f1}
        names = {"accuracy": "Out-of-fold accuracy", "f1": "Out-of-fold macro F1"}
        found = [{"type": key, "value": round(value, 4), "name": names[key]} for key, value in values.items()]
        index: list[Any] = [{"name": facts.name, "results": [{"task": task, "dataset": data, "metrics": found}]}]
        lines.append(f"model-index: {json.dumps(index)}")
    return "\n".join(lines) + "\n"


def _what(facts: Facts) -> str:
    if facts.kind == "blend":
        assert facts.blend is not None
        return f"A blend ({facts.blend.method}) of {len(facts.blend.members)} members."
    [run] = facts.runs
    if len(run.folds) == 1:
        return f"One network: {run.folds[0]} of the recipe `{run.config.recipe}`."
    return f"The mean of the networks of {', '.join(run.folds)} of the recipe `{run.config.recipe}`."


def _scores(facts: Facts) -> str:
    """Scores, scores by class, calibration, forecast."""
    lines = [f"Of {facts.scored}."]
    if facts.scores is None:
        return lines[0]
    found = facts.scores
    unit = (
        "groups of photos (twins count together)"
        if facts.twins
        else "rows (twins count as independent: folds.csv is missing)"
    )
    lines += [
        f"Intervals hold 95% of bootstrap samples of {unit}.",
        "",
        "| score | value | interval |",
        "| --- | --- | --- |",
        f"| accuracy | {found.accuracy:.2%} | {_range(found.interval)} |",
        f"| balanced accuracy | {found.balanced_accuracy:.2%} | {_range(found.balanced_interval)} |",
        f"| macro F1 | {found.macro_f1:.2%} | {_range(found.macro_f1_interval)} |",
        f"| log loss | {found.log_loss:.3f} | |",
        f"| calibration error | {found.calibration.error:.2%} | mean confidence {found.confidence:.2%} |",
        "",
        "| class | rows | precision | recall | recall, interval | F1 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {one.name} | {one.rows:,} | {one.precision:.1%} | {one.recall:.1%} "
        f"| {_range(one.recall_interval, 1)} | {one.f1:.1%} |"
        for one in found.classes
    ]
    lines += ["", "| confidence | rows | mean confidence | accuracy |", "| --- | --- | --- | --- |"]
    bins = found.calibration
    count = len(bins.rows)
    lines += [
        f"| {number / count:.0%} to {(number + 1) / count:.0%} | {rows:,} | {sure:.1%} | {right:.1%} |"
        for number, (rows, sure, right) in enumerate(zip(bins.rows, bins.confidence, bins.accuracy, strict=True))
        if rows
    ]
    forecast = facts.blend.forecast if facts.blend is not None else None
    if forecast is not None:
        between = f" ({_range(forecast.interval)})" if forecast.interval is not None else ""
        lines += ["", f"Forecast of the leaderboard score: {forecast.accuracy:.2%}{between}."]
    elif facts.kind == "run":
        lines += ["", f"Leaderboard forecasts are made for blends: `fer-kit blend NAME --members {facts.name}`."]
    return "\n".join(lines)


def _range(interval: Sequence[float], digits: int = 2) -> str:
    low, high = interval
    return f"{low:.{digits}%} to {high:.{digits}%}"


def _training(facts: Facts) -> list[str]:
    """Data, twins, folds, and each run."""
    folds = f"{facts.folds} folds" if facts.folds else "folds"
    lines = [
        "- Data: train rows of FER2013 (28,709 in the genuine files), without outside data unless initial weights are "
        f"named below; digest `{facts.data_digest}`.",
        f"- {folds}, stratified; images of the same photo (twins) stay in one fold; digest `{facts.folds_digest}`.",
    ]
    if facts.blend is not None:
        shares = ", ".join(
            f"{one.run}" + (f" ({one.weight:.3f})" if one.weight is not None else "") for one in facts.blend.members
        )
        lines.append(f"- Members and weights: {shares}.")
        if facts.blend.twins is not None:
            lines.append(
                "- These predictions use the labels of train rows that show the same photo (a leak of the data)."
            )
    for run in facts.runs:
        lines += _run(run)
    return lines


def _run(run: TrainedRun) -> list[str]:
    changed = ", ".join(f"{name}={value}" for name, value in run.settings.items()) or "as in the recipe"
    weights = f"; initial weights: `{run.config.weights}`" if run.config.weights else ""
    device = f"{', '.join(run.devices) or 'an unknown device'} in {', '.join(run.precisions) or 'unknown precision'}"
    return [
        f"- `{run.name}`: recipe `{run.config.recipe}`, network `{run.config.model}`, settings {changed}, test-time "
        f"views `{run.config.views}`{weights}; {', '.join(run.folds)}; {run.hours:.2f} hours on {device}; commit "
        f"{', '.join(run.commits) or 'unknown'}; config digest `{run.config_digest}`."
    ]
