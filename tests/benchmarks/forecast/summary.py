"""Bias, spread and coverage of forecasts, from cases: by part, and by kind of model and part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fer_kit.cli import aligned
from tests.benchmarks.forecast.measure import PARTS, Case
from tests.benchmarks.forecast.pretend import SPLITS

NORMAL_95 = 1.959963984540054


def summary(cases: Sequence[Case]) -> dict[str, Any]:
    """All in percentage points but coverage, a share. own_error: what the estimator varies beyond sampling noise.

    "parts" is over the models that were measured on a whole partition of the train rows, or on all cases if none was.
    """
    models = list(dict.fromkeys(case.model for case in cases))
    number = {model: len({case.split for case in cases if case.model == model}) for model in models}
    whole = [case for case in cases if number[case.model] >= SPLITS] or list(cases)
    parts = {part: _of_part([case for case in whole if case.part == part]) for part in PARTS}
    by_model = {
        model: {part: _of_part([case for case in cases if (case.model, case.part) == (model, part)]) for part in PARTS}
        for model in models
    }
    for part, one in parts.items():
        biases = [by_model[model][part]["bias"] for model in {case.model for case in whole}]
        one["bias_rms_over_models"] = round(float(np.sqrt(np.square(biases).mean())), 4)
    splits = len({case.split for case in cases})
    return {"splits": splits, "parts": parts, "models": by_model, "halves_covered": _halves(whole)}


def table(found: dict[str, Any]) -> list[str]:
    """Lines: each model and part, then each part over all models."""
    rows = [("model", "part", "cases", "truth", "before", "bias", "forecast", "bias", "± split", "within 95%")]
    for model, parts in [*found["models"].items(), ("all", found["parts"])]:
        for part, one in parts.items():
            truth, new, old = one["truth"], one["bias"], one["earlier_bias"]
            covered = f"{one['covered']:.0%}"
            scores = (f"{truth:.2f}", f"{truth + old:.2f}", f"{old:+.2f}", f"{truth + new:.2f}", f"{new:+.2f}")
            rows.append((model, part, f"{one['cases']}", *scores, f"{one['spread']:.2f}", covered))
    lines = aligned(rows, left=(0, 1))
    return [*lines, f"halves within their 95% interval: {found['halves_covered']:.1%}"]


def _of_part(cases: Sequence[Case]) -> dict[str, Any]:
    truth = np.array([case.truth for case in cases])
    off, off_earlier = (np.array([getattr(case, name) for case in cases]) - truth for name in ("forecast", "earlier"))
    errors = np.array([case.error for case in cases])
    found = {
        "cases": len(cases),
        "truth": float(100 * truth.mean()),
        "bias": float(100 * off.mean()),
        "earlier_bias": float(100 * off_earlier.mean()),
        "spread": float(100 * off.std(ddof=1)) if len(cases) > 1 else 0.0,
        "rms": float(100 * np.sqrt((off**2).mean())),
        "earlier_rms": float(100 * np.sqrt((off_earlier**2).mean())),
        "covered": float((np.abs(off) <= NORMAL_95 * errors).mean()),
    }
    sampling = [case.sampling_error for case in cases if case.sampling_error is not None]
    if len(sampling) == len(cases):
        found["own_error"] = float(100 * np.sqrt(max(0.0, (off**2).mean() - np.square(sampling).mean())))
    earlier = [case.earlier_error for case in cases if case.earlier_error is not None]
    if len(earlier) == len(cases):
        found["earlier_covered"] = float((np.abs(off_earlier) <= NORMAL_95 * np.array(earlier)).mean())
    return {name: round(value, 4) for name, value in found.items()}


def _halves(cases: Sequence[Case]) -> float:
    inside = [
        abs(case.forecast - score) <= NORMAL_95 * case.half_error
        for case in cases
        if case.halves is not None and case.half_error is not None
        for score in case.halves
    ]
    return float(np.mean(inside)) if inside else float("nan")
