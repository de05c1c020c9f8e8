"""Blend runs, other blends and prediction files, and score the blend by cross-fitting.

    python -m ensembles.blend NAME --members attention 'residual*' --method weights

Writes DIR/blends/NAME: oof.npz (cross-fitted predictions), test.npz (by the fit to all rows), blend.json, two
pictures.

The default method is chosen by cross-fitted scores. The plain mean is hard to beat if the members are equally good,
and has nothing to overfit; fitted weights are better if the members are uneven. The best member alone is chosen if no
blend beats it.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ensembles import blend_files, full_fit, report
from ensembles.fit import crossfit, methods
from ensembles.fit.crossfit import AUTO
from ensembles.fit.methods import METHODS
from ensembles.members import Member, by_recipe, gather
from ensembles.rows import Rows, common_rows
from ensembles.scores import ScoredBlend, alone, score_blend
from ensembles.twins import twin_blend
from ensembles.twins.pairs import MODES, OFF
from ensembles.twins.twin_blend import Twins
from fer_kit import cli
from fer_kit.drawing import pictures
from fer_kit.errors import FerKitError, did_you_mean
from fer_kit.files import atomic, lock
from fer_kit.folds.table import unordered
from fer_kit.runs import folders
from fer_kit.runs.blend_record import BlendRecord, FullFitRecord
from fer_kit.runs.finished_folder import BLEND, OOF, TEST
from fer_kit.runs.folders import BLENDS
from fer_kit.runs.predictions import Predictions
from fer_kit.track import follow

CORRELATION, WEIGHTS = "correlation.png", "weights.png"
FITTED = "fitted"
TEMPERATURES = (FITTED, "none")
FOLDS_TO_CHOOSE = 3  # one fold scores the chosen method; the choice itself is cross-fitted over two others
SLOW = 2_000_000  # members × rows × classes; above this, fitting takes more than a few seconds


def build_parser() -> argparse.ArgumentParser:
    """The options of `python -m ensembles.blend`."""
    ways = "; ".join(f"{name}: {method.about}" for name, method in METHODS.items())
    parser = cli.parser("python -m ensembles.blend", "Blend finished runs and score the blend on held-out rows.")
    parser.add_argument("name", metavar="NAME", help="name of the blend, which is written to DIR/blends/NAME")
    parser.add_argument("--runs", metavar="DIR", default="runs", help="folder of runs")
    parser.add_argument(
        "--members",
        metavar="MEMBER",
        nargs="+",
        help="runs by name or glob such as 'attention*', blends by name, folders with oof.npz and test.npz; by "
        "default every run whose folds are all finished",
    )
    parser.add_argument(
        "--method",
        choices=(AUTO, *METHODS),
        default=AUTO,
        help=f"{ways}; auto: the simplest of these within one standard error of the best, or the best single member",
    )
    parser.add_argument(
        "--temperatures",
        choices=TEMPERATURES,
        default=FITTED,
        help="fitted: first divide the log-probabilities of each member by a temperature fitted to log loss; none: "
        "do not scale them",
    )
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="take the weights from this JSON file, {member: weight} or a blend.json; they apply to --method mean or "
        "logmean (default: the kind of mean that the blend.json was made with, else logmean)",
    )
    parser.add_argument(
        "--twins",
        choices=MODES,
        default=OFF,
        help="also write a second blend, NAME-twins, whose predictions are updated by the labels of train rows that "
        "show the same photo: copies of the same pixels (exact) or all twins (near)",
    )
    parser.add_argument(
        "--full-fit",
        choices=full_fit.WAYS,
        default=full_fit.OFF,
        help="predict the test rows of a run by its full fit (foldall) instead of the mean of its folds, or beside "
        "the folds as one more network; the weight of the run stays the same",
    )
    parser.add_argument(
        "--data", metavar="DIR", help="folder with the competition's files, to compare twins; searched for if not given"
    )
    follow.add_option(parser)
    parser.add_argument("--no-pictures", action="store_true", help="do not draw correlation.png and weights.png")
    parser.add_argument("--force", action="store_true", help="replace an existing blend that has other content")
    parser.add_argument(
        "--details", action="store_true", help="also print the scores of each member and each method, and comparisons"
    )
    cli.add_output_options(parser, "print nothing; the exit code and blend.json tell the result")
    return parser


@dataclass(frozen=True)
class BlendRequest:
    """The members and the options of a blend, as for `python -m ensembles.blend`.

    Raises:
        FerKitError: `method`, `temperatures`, `twins`, `full_fit` or `wandb` is not an allowed value.
    """

    name: str
    runs: Path = Path("runs")
    members: tuple[str, ...] | None = None
    method: str = AUTO
    temperatures: str = FITTED
    weights: str | None = None
    twins: str = OFF
    full_fit: str = full_fit.OFF
    data: str | None = None
    wandb: str = follow.OFF
    pictures: bool = True
    force: bool = False
    details: bool = False

    def __post_init__(self) -> None:
        choices = (
            ("method", (AUTO, *METHODS)),
            ("temperatures", TEMPERATURES),
            ("twins", MODES),
            ("full_fit", full_fit.WAYS),
            ("wandb", follow.MODES),
        )
        for option, allowed in choices:
            value = getattr(self, option)
            if value not in allowed:
                hint = did_you_mean(f"{value}", allowed)
                raise FerKitError(f"{option}={value!r}{hint}; allowed are {', '.join(allowed)}")


def body(args: argparse.Namespace) -> dict[str, Any]:
    """Turn the arguments into a `BlendRequest` and run it; the result is the value for --json."""
    options = {**vars(args), "runs": Path(args.runs), "pictures": not args.no_pictures}
    options["members"] = None if args.members is None else tuple(args.members)
    ours = ("no_pictures", "json", "quiet")
    return run(BlendRequest(**{key: value for key, value in options.items() if key not in ours}))


def run(request: BlendRequest) -> dict[str, Any]:
    """Lock the folders of the blend, and of its NAME-twins if requested, then make, write and print the blend.

    Returns:
        The result as JSON: folder and blend.json of the blend; those of NAME-twins, or None; notes on the members;
        the next command.

    Raises:
        FerKitError: the name is invalid or a run's; a member is missing or does not match the others; another blend
            has this name and `force` is False.
    """
    name = folders.safe_name(request.name, "blend")
    names = [name] if request.twins == OFF else [name, folders.safe_name(name + twin_blend.SUFFIX, "blend")]
    for one in names:
        if one in folders.list_runs(request.runs):
            raise FerKitError(f"blend '{one}': {request.runs} has a run of that name; choose another name")
    with contextlib.ExitStack() as locks:
        for one in names:
            folder = request.runs / BLENDS / one
            locks.enter_context(lock.held(folder, "another process makes this blend"))
            atomic.sweep(folder)
        return blend(request, name)


def blend(request: BlendRequest, name: str) -> dict[str, Any]:
    """Read and check the members, fit and score the blend, write its files and print the report; see `run`."""
    runs_dir = request.runs
    folder = runs_dir / BLENDS / name
    members, left_out = gather(runs_dir, request.members)
    _refuse_itself(name, folder, members)
    rows = common_rows(runs_dir, members)
    table, why_none = twin_blend.table_for(runs_dir, members, rows, request.twins, request.data)
    members, full = full_fit.with_full_fits(runs_dir, members, request.full_fit)
    instead = full_fit.alone(members, request.full_fit, full)
    members = by_recipe(members)
    made, pool = make(members, rows, request)
    twins = twin_blend.look_up_and_forecast(members, rows, made, request.twins, table, why_none, instead)

    meta = full_fit.meta_with_full_fits(blend_files.build_meta(name, members, rows, made), request.full_fit, full)
    oof = Predictions(rows.ids, made.oof, meta, rows.labels)
    test = Predictions(members[0].test.ids, made.test, meta)
    about = blend_files.build(runs_dir, members, rows, made, meta, pool)
    about = replace(
        about,
        full_fit=FullFitRecord(how=request.full_fit, sha256=full) if full else None,
        forecast=twin_blend.forecast_record(twins, with_lookup=False),
        methods=tuple(
            replace(one, forecast=twins.methods[one.method].accuracy if twins.methods else None)
            for one in about.methods
        ),
    )
    blends = [(folder, oof, test, about), *with_twins(folder, oof, test, about, twins)]
    # all errors are raised before the first file is written
    unchanged = [blend_files.is_there(place, record, request.force) for place, *_, record in blends]
    for one, there in zip(blends, unchanged, strict=True):
        if not there:
            blend_files.write(*one)
    drawn = draw(folder, name, members, made, unchanged[0]) if request.pictures else []

    notes = [*left_out, *report.warnings(rows, f"{request.runs}"), *report.doubles(members)]
    notes += [*([full_fit.line(request.full_fit, full, members)] if full else []), *twin_blend.stale(folder, meta)]
    command = report.next_command(name, members, rows, made, f"{request.runs}", request.data)
    if request.details:
        lines = report.details(name, members, rows, made, twins.methods) + twin_blend.lines(twins, name)
        print("\n".join([*lines, ""]))
    print("\n".join([*report.short(name, members, rows, made, twins), *notes]))
    for (place, *_), there, more in zip(blends, unchanged, (drawn, []), strict=False):
        written = ",".join([OOF, TEST, BLEND, *more])
        print(f"{'unchanged:' if there else 'wrote'} {place}/{{{written}}}")
    why = unordered(Path(request.runs))
    print(f"no submission can be built: {why}" if why else f"next: {command}")
    for place, *_ in () if why else blends[1:]:
        options = report.path_options(f"{request.runs}", request.data)
        print(f"or:   python -m submissions build {place.name}{options}   (with the labels of twins)")
    for place, *_ in blends:
        follow.send(place, request.wandb, request.data)
    found = [{"folder": str(place), "blend": atomic.read_json(place / BLEND)} for place, *_ in blends]
    return {
        **found[0],
        "unchanged": unchanged[0],
        "twins": found[1] if found[1:] else None,
        "notes": notes,
        "next": command,
    }


def make(members: Sequence[Member], rows: Rows, request: BlendRequest) -> tuple[ScoredBlend, str]:
    """Fit and score the blend.

    Returns:
        The blend, and the kind of mean that weights from a file apply to: "mean" or "logmean".

    Raises:
        FerKitError: `method` does not take weights from a file, the file is invalid, or `auto` has too few folds.
    """
    method, pool, weights = request.method, "logmean", None
    if request.weights is not None:
        if method not in (AUTO, "mean", "logmean"):
            raise FerKitError(
                f"--weights with --method {method}, which fits its own weights; allowed are --method mean and logmean"
            )
        weights = methods.read(Path(request.weights), [member.name for member in members])
        pool = methods.pool(Path(request.weights)) if method == AUTO else method
        method = crossfit.GIVEN
    if len(members) == 1:
        return alone(members[0], rows), pool
    if method == AUTO and len(rows.fold_numbers) < FOLDS_TO_CHOOSE:
        raise FerKitError(
            f"--method auto needs at least {FOLDS_TO_CHOOSE} folds to score its choice, the members have "
            f"{len(rows.fold_numbers)}; choose a method, for example --method weights"
        )
    if len(members) * len(rows) * 7 > SLOW and sys.stderr.isatty():
        print(f"fitting {len(members)} members over {len(rows.fold_numbers)} folds …", file=sys.stderr)
    fits = crossfit.cross_fit(members, rows, request.temperatures == FITTED, weights, pool)
    return score_blend(members, rows, fits, method), pool


def with_twins(
    folder: Path, oof: Predictions, test: Predictions, about: BlendRecord, twins: Twins
) -> list[tuple[Path, Predictions, Predictions, BlendRecord]]:
    """Folder, predictions and record of the blend with twin lookup, as a list of one; empty without lookup."""
    if twins.twinned is None:
        return []
    place = folder.with_name(folder.name + twin_blend.SUFFIX)
    meta = twin_blend.meta_of(oof.meta, place.name, twins.twinned.mode)
    looked_up = replace(oof, logits=twins.twinned.oof, meta=meta), replace(test, logits=twins.twinned.test, meta=meta)
    return [(place, *looked_up, twin_blend.record_of(about, meta, twins))]


def draw(folder: Path, name: str, members: Sequence[Member], made: ScoredBlend, unchanged: bool) -> list[str]:
    """Draw the pictures of two or more members, if they are missing or the blend has changed; returns their names."""
    if made.values is None:
        return []
    names = [member.name for member in members]
    if not (unchanged and (folder / CORRELATION).is_file()):
        pictures.save(pictures.alike(names, made.correlation, made.disagreement), folder / CORRELATION)
    if not (unchanged and (folder / WEIGHTS).is_file()):
        kind = "cross-fitted" if made.cross_fitted else "out of fold"
        title = f"blend '{name}' by {made.method}, {made.scores.held_out.accuracy:.2%} {kind}"
        shares = None if made.shares is None else made.shares.tolist()
        value, error = made.values.accuracy.tolist(), made.values.error.tolist()
        pictures.save(pictures.members(names, shares, value, error, title), folder / WEIGHTS)
    return [CORRELATION, WEIGHTS]


def _refuse_itself(name: str, folder: Path, members: Sequence[Member]) -> None:
    """Raise FerKitError if the blend is a part of itself: such a blend could not be made again."""
    for member in members:
        inside = [source.path.resolve() for source in member.sources] + member.inside
        if folder.resolve() in inside:
            raise FerKitError(
                f"blend '{name}' would contain itself through its member '{member.name}'; choose another name"
            )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    return cli.run(build_parser, cli.data_command(body), argv)


if __name__ == "__main__":
    raise SystemExit(main())
