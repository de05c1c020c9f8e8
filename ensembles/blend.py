"""Blend runs: the plain mean of the members' probabilities, out-of-fold and on the test rows.

    python -m ensembles.blend NAME --members attention residual

Nothing is fitted, so the blend's out-of-fold accuracy is as honest as its members'.
"""

from __future__ import annotations

import argparse
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ensembles import members as choice
from fer_kit import cli, files, metrics, predictions, runs
from fer_kit.errors import FerKitError
from fer_kit.predictions import Predictions
from fer_kit.runs import BLEND, BLENDS, OOF, TEST, Run

SCHEMA = 1
RECIPE = "blend"


def build_parser() -> argparse.ArgumentParser:
    """The options of `python -m ensembles.blend`."""
    parser = cli.parser("python -m ensembles.blend", "Average the probabilities of finished runs.")
    parser.add_argument("name", metavar="NAME", help="what to call the blend; it is written to DIR/blends/NAME")
    parser.add_argument("--runs", metavar="DIR", default="runs", help="folder of runs")
    parser.add_argument(
        "--members",
        metavar="RUN",
        nargs="+",
        help="runs to blend, by name or glob such as 'attention*'; without it every run whose folds are all finished",
    )
    parser.add_argument("--force", action="store_true", help="replace a blend of that name with other content")
    return parser


def body(args: argparse.Namespace) -> None:
    """Choose, check, average, write, report."""
    runs_dir = Path(args.runs)
    name = runs.safe_name(args.name, "blend")
    chosen, left_out = choice.choose(runs_dir, args.members)
    if name in runs.list_runs(runs_dir):
        raise FerKitError(f"blend '{name}': {runs_dir} has a run of that name; choose another")
    members = choice.load(runs_dir, chosen)
    against_file = choice.check_folds_file(runs_dir, members[0])
    members.sort(key=lambda member: (-metrics.accuracy(member.oof.logits, _labels(member.oof)), member.name))
    meta = blend_meta(name, members)
    oof, test = average([member.oof for member in members], meta), average([member.test for member in members], meta)
    changed = write(runs_dir / BLENDS / name, oof, test, record_of(members, oof), args.force)

    for state in left_out:
        print(f"left out: {runs.unfinished_message(runs_dir, state)}")
    print("\n".join(table(members, oof)))
    print()
    print(f"accuracy is out-of-fold, over {len(oof):,} rows; ± is the standard deviation over folds")
    if not against_file:
        print(f"{runs_dir / choice.FOLDS} is not there: members were checked against each other only")
    print(f"{'wrote' if changed else 'unchanged:'} {runs_dir / BLENDS / name}/{{{OOF},{TEST},{BLEND}}}")
    print(f"next: {_next_command(members, oof, name, args.runs)}")


def average(parts: Sequence[Predictions], meta: dict[str, Any]) -> Predictions:
    """Mean of the probabilities of `parts`, which have the same ids; labels are the first one's.

    A single part keeps its logits to the bit.
    """
    logits = metrics.mean_of_probabilities([part.logits for part in parts])
    return Predictions(parts[0].ids, logits.astype(np.float32), meta, parts[0].labels)


def blend_meta(name: str, members: Sequence[Run]) -> dict[str, Any]:
    """meta of the blend's files; its config digest covers the members' files and weights."""
    parts = [
        {"run": member.name, "weight": 1 / len(members), "sha256": member.sha256}
        for member in sorted(members, key=lambda member: member.name)
    ]
    first = members[0].oof.meta
    meta = predictions.build_meta(
        recipe=RECIPE,
        run=name,
        fold=first["fold"],
        epoch=None,
        views=_common([member.oof.meta["views"] for member in members]),
        config_digest=files.digest_of(parts),
        folds_digest=first["folds_digest"],
        data_digest=first["data_digest"],
        commit=_common([member.oof.meta["commit"] for member in members]),
    )
    return {**meta, "members": parts}


def record_of(members: Sequence[Run], oof: Predictions) -> dict[str, Any]:
    """blend.json but for the hashes of the files: members best first, weights, scores, digests."""
    accuracies = fold_accuracies(oof, members[0])
    return {
        "schema": SCHEMA,
        "name": oof.meta["run"],
        "method": "mean of probabilities",
        "members": [
            {
                "run": member.name,
                "recipe": member.oof.meta["recipe"],
                "weight": 1 / len(members),
                **_scores(member.oof, member.accuracies),
                "config_digest": member.oof.meta["config_digest"],
                "sha256": member.sha256,
            }
            for member in members
        ],
        **_scores(oof, accuracies),
        "oof_rows": len(oof),
        "folds": members[0].count,
        **{key: oof.meta[key] for key in ("config_digest", "folds_digest", "data_digest")},
    }


def fold_accuracies(oof: Predictions, member: Run) -> tuple[float, ...]:
    """Accuracy on the rows of each fold, as `member` has them."""
    return tuple(
        metrics.accuracy(oof.logits[member.fold_of_row == fold], _labels(oof)[member.fold_of_row == fold])
        for fold in member.folds
    )


def write(folder: Path, oof: Predictions, test: Predictions, record: dict[str, Any], force: bool) -> bool:
    """Write the blend, blend.json last; False where the very same blend is there already.

    Raises:
        FerKitError: another blend is there and `force` is not given.
    """
    mark = folder / BLEND
    if mark.exists() and not force:
        there = runs.load_blend(folder.parent.parent, folder.name).record
        hashes = {key: there[key] for key in ("oof_sha256", "test_sha256")}
        if there == {**record, **hashes}:
            return False
        names = ", ".join(str(member["run"]) for member in there["members"])
        raise FerKitError(
            f"{folder}: holds another blend (of {names}); choose another name, or replace it with --force"
        )
    mark.unlink(missing_ok=True)  # first, so that a kill leaves an unfinished blend and not a mixed one
    predictions.write(folder / OOF, oof)
    predictions.write(folder / TEST, test)
    hashes = {"oof_sha256": files.sha256_of(folder / OOF), "test_sha256": files.sha256_of(folder / TEST)}
    files.write_json(mark, {**record, **hashes})
    return True


def table(members: Sequence[Run], oof: Predictions) -> list[str]:
    """Lines of the report: members as they come, then the blend."""
    rows = [("member", "folds", "accuracy", "± folds", "log loss", "weight")]
    for member in members:
        rows.append((member.name, *_cells(member.oof, member.accuracies), f"{1 / len(members):.3f}"))
    rows.append((f"blend '{oof.meta['run']}'", *_cells(oof, fold_accuracies(oof, members[0])), ""))
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
    rule = "-" * len(lines[0])
    return [line.rstrip() for line in (lines[0], rule, *lines[1:-1], rule, lines[-1])]


def _cells(oof: Predictions, accuracies: Sequence[float]) -> tuple[str, str, str, str]:
    scores = _scores(oof, accuracies)
    spread = "–" if scores["oof_spread"] is None else f"{scores['oof_spread']:.2%}"
    return f"{len(accuracies)}", f"{scores['oof_accuracy']:.2%}", spread, f"{scores['log_loss']:.4f}"


def _scores(oof: Predictions, accuracies: Sequence[float]) -> dict[str, Any]:
    spread = metrics.spread(accuracies)
    return {
        "oof_accuracy": metrics.accuracy(oof.logits, _labels(oof)),
        "oof_spread": None if math.isnan(spread) else spread,
        "fold_accuracies": list(accuracies),
        "log_loss": metrics.log_loss(oof.logits, _labels(oof)),
    }


def _labels(oof: Predictions) -> Any:
    assert oof.labels is not None  # runs.load refuses oof files without labels
    return oof.labels


def _common(values: Sequence[Any]) -> Any:
    """The one value that all have, else the list of them."""
    return values[0] if all(value == values[0] for value in values) else list(values)


def _next_command(members: Sequence[Run], oof: Predictions, name: str, runs_dir: str) -> str:
    """What to type next: submit the blend, or the best member where that is better alone."""
    options = "" if runs_dir == "runs" else f" --runs {shlex.quote(runs_dir)}"
    best = members[0]
    if metrics.accuracy(oof.logits, _labels(oof)) < metrics.accuracy(best.oof.logits, _labels(best.oof)):
        return f"python -m submissions build {best.name}{options}   ('{best.name}' alone is better than the blend)"
    return f"python -m submissions build {name}{options}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
