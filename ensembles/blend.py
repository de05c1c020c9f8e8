"""Blend runs, other blends and other people's files, and say honestly how good the blend is.

    python -m ensembles.blend NAME --members attention 'residual*' --method weights

Writes DIR/blends/NAME: oof.npz (cross-fitted rows), test.npz (the fit to all rows), blend.json, two pictures.

The method is chosen by default: with similar members the plain mean is hard to beat and costs nothing to believe,
with uneven ones weights are better; which of the two is the case, cross-fitting tells, and so it does whether any
blend is better than the best member alone.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ensembles import blend_files, full_fit, report
from ensembles import members as choice
from ensembles import rows as common_rows
from ensembles.fit import crossfit, methods
from ensembles.fit.crossfit import AUTO
from ensembles.fit.methods import METHODS
from ensembles.members import Member
from ensembles.rows import Rows
from ensembles.scores import ScoredBlend, alone, score_blend
from ensembles.twins import blend as twin_blend
from ensembles.twins.blend import Twins
from ensembles.twins.pairs import MODES, OFF
from fer_kit import cli
from fer_kit.drawing import pictures
from fer_kit.errors import FerKitError, did_you_mean
from fer_kit.files import atomic, lock
from fer_kit.runs import folders
from fer_kit.runs.blend_record import BlendRecord, FullFitRecord
from fer_kit.runs.folders import BLEND, BLENDS, OOF, TEST
from fer_kit.runs.predictions import Predictions
from fer_kit.track import follow

CORRELATION, WEIGHTS = "correlation.png", "weights.png"
FITTED = "fitted"
TEMPERATURES = (FITTED, "none")
FOLDS_TO_CHOOSE = 3  # one to score the choice on, two to cross-fit it over
SLOW = 2_000_000  # members × rows × classes from which fitting takes more than a few seconds


def build_parser() -> argparse.ArgumentParser:
    """The options of `python -m ensembles.blend`."""
    ways = "; ".join(f"{name}: {method.about}" for name, method in METHODS.items())
    parser = cli.parser("python -m ensembles.blend", "Blend finished runs and score the blend on rows it never saw.")
    parser.add_argument("name", metavar="NAME", help="what to call the blend; it is written to DIR/blends/NAME")
    parser.add_argument("--runs", metavar="DIR", default="runs", help="folder of runs")
    parser.add_argument(
        "--members",
        metavar="MEMBER",
        nargs="+",
        help="runs by name or glob such as 'attention*', blends by name, folders with an oof.npz and a test.npz; "
        "without it every run whose folds are all finished",
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
        help="scale each member's log-probabilities by a temperature of its own first, or take them as they are",
    )
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="take the weights of this JSON file, {member: weight} or a blend.json, for --method mean or logmean; "
        "without --method for that which a blend.json was made by, else for logmean",
    )
    parser.add_argument(
        "--twins",
        choices=MODES,
        default=OFF,
        help="update predictions by the labels of train rows that show the same photo: copies of the same pixels "
        "(exact) or all twins (near); written as a second blend, NAME-twins, beside the one without",
    )
    parser.add_argument(
        "--full-fit",
        choices=full_fit.WAYS,
        default=full_fit.OFF,
        help="let the full fit (foldall) of a run predict the test rows with the weight of its folds: instead of their "
        "mean, or beside them as one more network",
    )
    parser.add_argument("--data", metavar="DIR", help="folder with the competition's files, for the kinds of twins")
    follow.add_option(parser)
    parser.add_argument("--no-pictures", action="store_true", help="leave out correlation.png and weights.png")
    parser.add_argument("--force", action="store_true", help="replace a blend of that name with other content")
    return parser


@dataclass(frozen=True)
class BlendRequest:
    """What a blend is to be made of, and how: the options of `python -m ensembles.blend`."""

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


def body(args: argparse.Namespace) -> None:
    """Make the blend that the arguments ask for."""
    options = {**vars(args), "runs": Path(args.runs), "pictures": not args.no_pictures}
    options["members"] = None if args.members is None else tuple(args.members)
    run(BlendRequest(**{key: value for key, value in options.items() if key != "no_pictures"}))


def run(request: BlendRequest) -> None:
    """Lock the names that are written to, then blend.

    Raises:
        FerKitError: a name that a run has, a member that is missing or does not match, another blend of that name.
    """
    name = folders.safe_name(request.name, "blend")
    names = [name] if request.twins == OFF else [name, folders.safe_name(name + twin_blend.SUFFIX, "blend")]
    for one in names:
        if one in folders.list_runs(request.runs):
            raise FerKitError(f"blend '{one}': {request.runs} has a run of that name; choose another")
    with contextlib.ExitStack() as locks:
        for one in names:
            folder = request.runs / BLENDS / one
            locks.enter_context(lock.held(folder, "another process makes this blend"))
            atomic.sweep(folder)
        blend(request, name)


def blend(request: BlendRequest, name: str) -> None:
    """Choose, check, fit, score, write, report."""
    runs_dir = request.runs
    folder = runs_dir / BLENDS / name
    members, left_out = choice.gather(runs_dir, request.members)
    _refuse_itself(name, folder, members)
    rows = common_rows.common(runs_dir, members)
    table, why_none = twin_blend.table_for(runs_dir, members, rows, request.twins, request.data)
    members, full = full_fit.put(runs_dir, members, request.full_fit)
    members = choice.by_recipe(members)
    made, pool = make(members, rows, request)
    mode, tried = request.twins, made.methods
    twins = twin_blend.look_up_and_forecast(members, rows, made.oof, made.test, mode, table, why_none, tried)

    meta = full_fit.marked(blend_files.build_meta(name, members, rows, made), request.full_fit, full)
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
    # every refusal comes before any file is written
    unchanged = [blend_files.is_there(place, told, request.force) for place, *_, told in blends]
    for one, there in zip(blends, unchanged, strict=True):
        if not there:
            blend_files.write(*one)
    drawn = draw(folder, name, members, made, unchanged[0]) if request.pictures else []

    for line in left_out:
        print(line)
    print("\n".join(report.report(name, members, rows, made, str(request.runs), twins.methods)))
    used = [full_fit.line(request.full_fit, full, members)] if full else []
    print("\n".join([*used, *twin_blend.lines(twins, name)]))
    for note in [*report.doubles(members), *twin_blend.stale(folder, meta)]:
        print(note)
    for (place, *_), there, more in zip(blends, unchanged, (drawn, []), strict=False):
        written = ",".join([OOF, TEST, BLEND, *more])
        print(f"{'unchanged:' if there else 'wrote'} {place}/{{{written}}}")
    print(f"next: {report.next_command(name, members, rows, made, f'{request.runs}')}")
    for place, *_ in blends:
        follow.send(place, request.wandb, request.data)


def make(members: Sequence[Member], rows: Rows, request: BlendRequest) -> tuple[ScoredBlend, str]:
    """The blend that the options ask for, and whether given weights are for a mean of "mean" or "logmean"."""
    method, pool, weights = request.method, "logmean", None
    if request.weights is not None:
        if method not in (AUTO, "mean", "logmean"):
            raise FerKitError(f"--weights with --method {method}, which fits its own; allowed are mean and logmean")
        weights = methods.read(Path(request.weights), [member.name for member in members])
        pool = methods.pool(Path(request.weights)) if method == AUTO else method
        method = crossfit.GIVEN
    if len(members) == 1:
        return alone(members[0], rows), pool
    if method == AUTO and len(rows.fold_numbers) < FOLDS_TO_CHOOSE:
        raise FerKitError(
            f"--method auto needs {FOLDS_TO_CHOOSE} folds or more to score its choice, the members have "
            f"{len(rows.fold_numbers)}; name a method, e.g. --method weights"
        )
    if len(members) * len(rows) * 7 > SLOW and sys.stderr.isatty():
        print(f"fitting {len(members)} members over {len(rows.fold_numbers)} folds …", file=sys.stderr)
    fits = crossfit.cross_fit(members, rows, request.temperatures == FITTED, weights, pool)
    return score_blend(members, rows, fits, method), pool


def with_twins(
    folder: Path, oof: Predictions, test: Predictions, about: BlendRecord, twins: Twins
) -> list[tuple[Path, Predictions, Predictions, BlendRecord]]:
    """What is to be written of the blend with twin lookup, beside the one without; nothing where there is none."""
    if twins.twinned is None:
        return []
    place = folder.with_name(folder.name + twin_blend.SUFFIX)
    meta = twin_blend.meta_of(oof.meta, place.name, twins.twinned.mode)
    looked_up = replace(oof, logits=twins.twinned.oof, meta=meta), replace(test, logits=twins.twinned.test, meta=meta)
    return [(place, *looked_up, twin_blend.record_of(about, meta, twins))]


def draw(folder: Path, name: str, members: Sequence[Member], made: ScoredBlend, unchanged: bool) -> list[str]:
    """Write the pictures, where there is something to see and they are not there yet; their names."""
    if made.values is None:
        return []
    names = [member.name for member in members]
    if not (unchanged and (folder / CORRELATION).is_file()):
        pictures.save(pictures.alike(names, made.correlation, made.disagreement), folder / CORRELATION)
    if not (unchanged and (folder / WEIGHTS).is_file()):
        title = f"blend '{name}' by {made.method}, {made.scores.held_out.accuracy:.2%} cross-fitted"
        shares = None if made.shares is None else made.shares.tolist()
        value, error = made.values.accuracy.tolist(), made.values.error.tolist()
        pictures.save(pictures.members(names, shares, value, error, title), folder / WEIGHTS)
    return [CORRELATION, WEIGHTS]


def _refuse_itself(name: str, folder: Path, members: Sequence[Member]) -> None:
    """A blend that is part of itself could never be made again."""
    for member in members:
        inside = [source.path.resolve() for source in member.sources] + member.inside
        if folder.resolve() in inside:
            raise FerKitError(f"blend '{name}' would be a part of itself, by '{member.name}'; choose another name")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
