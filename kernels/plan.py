"""The plan of a push, from the arguments of the command line; all faults of the arguments are found here."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from fer_kit import revision
from fer_kit.batches.pipeline_file import AugmentFile
from fer_kit.config.networks import OWN_NAME
from fer_kit.errors import FerKitError
from fer_kit.folds import fold_spec
from fer_kit.folds.table import Folds, read
from fer_kit.sweep import plan as sweep_plan
from fer_kit.sweep.plan import SweepRequest
from fer_kit.track import follow
from fer_kit.train.request import ResolvedRequest, resolve
from kernels.inside import accelerators, weights

SHORTEST_TITLE, LONGEST_TITLE = 5, 50
FOLD_COUNT = 5  # folds that `fer_kit.folds` makes in a kernel without local folds
SHORTEST_MINUTES, LONGEST_MINUTES = 15.0, 690.0  # 10 minutes are reserved for saving; sessions end after 9 to 12 hours
DEFAULT_MINUTES = 500.0


MOST_PARTS = 20


@dataclass(frozen=True)
class Part:
    """Folds of one further run that a kernel trains."""

    recipe: str
    settings: tuple[str, ...]
    tag: str | None
    seed: int | None
    run: str
    folds: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """A kernel that can be built.

    run: name of the run folder of the first run; more: the further runs. table: local folds that the script contains;
    None to make folds in the kernel. weights: Kaggle model or dataset, or `hub` or `none`. augment: pipeline that the
    script contains. earlier: kernel whose output is continued.
    """

    recipe: str
    settings: tuple[str, ...]
    tag: str | None
    seed: int | None
    accumulate: int | None
    compile: bool
    run: str
    folds: tuple[int, ...]
    table: Folds | None
    accelerator: str
    owner: str
    title: str
    internet: bool
    weights: str | None
    augment: AugmentFile | None
    limit_minutes: float
    earlier: str | None
    commit: str
    run_id: str
    batch_size: int | None = None
    wandb: str = follow.OFF
    more: tuple[Part, ...] = ()

    @property
    def runs(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Names and folds of all runs."""
        return ((self.run, self.folds), *((part.run, part.folds) for part in self.more))

    @property
    def slug(self) -> str:
        """Name of the kernel in its address, which Kaggle derives from the title."""
        return slugify(self.title)

    @property
    def ref(self) -> str:
        """The kernel, as "owner/slug"."""
        return f"{self.owner}/{self.slug}"


def of(args: argparse.Namespace, owner: str) -> list[Plan]:
    """Make the plans from the arguments of `kernels build`, one for each kernel.

    Args:
        owner: the Kaggle account.

    Raises:
        FerKitError: a recipe, setting, fold, accelerator, title, model or limit is not allowed.
    """
    asked = request_of(args)
    accelerators.get(args.accelerator)
    if not SHORTEST_MINUTES <= args.limit_minutes <= LONGEST_MINUTES:
        raise FerKitError(
            f"--limit-minutes {args.limit_minutes:g}: give {SHORTEST_MINUTES:g} to {LONGEST_MINUTES:g}; "
            "10 minutes are reserved for saving, and sessions end after 9 to 12 hours"
        )
    if args.resume is not None and not re.fullmatch(r"[A-Za-z0-9_-]+/[A-Za-z0-9_-]+", args.resume):
        raise FerKitError(f"--resume {args.resume!r}: write OWNER/SLUG, as in the address kaggle.com/code/OWNER/SLUG")
    source = None if asked.weights is None else weights.check(asked.weights)
    runs = resolved_runs(args, asked, source)
    path = args.runs / "folds.csv"
    table = read(path) if path.exists() else None
    folds = parse_folds(asked.folds, FOLD_COUNT if table is None else table.count)
    found = []
    shares = shared_out(runs, folds, args.parts)
    if args.part is not None and not 1 <= args.part <= len(shares):
        raise FerKitError(f"--part {args.part}: give 1 to {len(shares)}, the number of --parts")
    for number, share in enumerate(shares, 1):
        if args.part not in (None, number):
            continue
        first, *more = (
            Part(one.request.recipe, one.request.settings, one.request.tag, one.request.seed, one.run, theirs)
            for one, theirs in share
        )
        title = title_of(args, first, more, f"part {number} of {len(shares)}" if len(shares) > 1 else "")
        plan = Plan(
            recipe=first.recipe,
            settings=first.settings,
            tag=first.tag,
            seed=first.seed,
            accumulate=asked.accumulate,
            batch_size=asked.batch_size,
            compile=asked.compile,
            run=first.run,
            folds=first.folds,
            table=table,
            accelerator=args.accelerator,
            owner=owner,
            title=title,
            internet=args.internet,
            weights=source,
            augment=runs[0].pipeline,
            limit_minutes=args.limit_minutes,
            earlier=args.resume,
            commit=revision.commit(),
            run_id=new_run_id(),
            wandb=asked.wandb,
            more=tuple(more),
        )
        if plan.earlier == plan.ref:
            raise FerKitError(
                f"--resume {plan.earlier}: a kernel cannot continue its own output; choose another title with --title"
            )
        found.append(plan)
    return found


def request_of(args: argparse.Namespace) -> SweepRequest:
    """What the options or the file of --plan ask for, as a sweep.

    Raises:
        FerKitError: --plan comes with options that belong into the file, or the file asks for what kernels lack.
    """
    options = {**vars(args), "recipes": args.recipes or [args.recipe]}
    options["seeds"] = args.seeds if args.seed is None else [args.seed]
    asked = sweep_plan.request_of(options)
    if args.plan is not None:
        default = SweepRequest(recipes=(args.recipe,), folds=args.folds)
        sweep_plan.refuse_beside_file(args.plan, vars(asked), vars(default))
        asked = sweep_plan.read_file(args.plan)
        for name in ("workers", "deterministic", "smoke"):
            if getattr(asked, name) != getattr(SweepRequest, name):
                raise FerKitError(f"--plan {args.plan}: kernels have no {name}; leave it out")
    if asked.wandb == follow.ONLINE:
        raise FerKitError("--wandb online: a kernel has no account of Weights & Biases; give offline, or off")
    return asked


def resolved_runs(args: argparse.Namespace, asked: SweepRequest, source: str | None) -> list[ResolvedRequest]:
    """The runs that are asked for, checked as train checks them, and for what a kernel cannot carry.

    Raises:
        FerKitError: a run is not allowed, or two runs have one name.
    """
    found: list[ResolvedRequest] = []
    for request in sweep_plan.requests_of(dataclasses.replace(asked, weights=None), args.runs):
        if args.seed is not None:
            request = dataclasses.replace(request, seed=args.seed)
        for setting in request.settings:
            refuse_setting(setting)
        resolved = resolve(request)
        config = resolved.config
        if OWN_NAME.fullmatch(config.model):
            refuse_setting(f"model={config.model}")
        if source is not None and source != config.weights and request.tag is None:
            raise FerKitError(f"--weights {asked.weights} changes the recipe; name the changed run with --tag NAME")
        weights.check_reachable(config, source, args.internet)
        if resolved.run in [one.run for one in found]:
            raise FerKitError(f"two runs of the plan would both be {resolved.run}; name a thing only once")
        found.append(resolved)
    return found


def refuse_setting(setting: str) -> None:
    """Refuse a setting that names a file or a network which a kernel does not include."""
    name, _, value = setting.partition("=")
    if value.strip() and name.strip() == "targets":
        raise FerKitError(
            f"--set {setting}: a kernel does not include files of soft targets; train this run locally with "
            "fer-kit train"
        )
    if name.strip() == "model" and OWN_NAME.fullmatch(value.strip()):
        raise FerKitError(
            f"--set {setting}: a kernel does not include networks of your own; train this run locally with "
            "fer-kit train, or add the network to fer_kit/models"
        )


Share = list[tuple[ResolvedRequest, tuple[int, ...]]]


def shared_out(runs: Sequence[ResolvedRequest], folds: Sequence[int], parts: int) -> list[Share]:
    """The folds of all runs, divided among `parts` kernels of about equal work.

    Raises:
        FerKitError: there are more parts than trainings.
    """
    trainings = [(run, fold) for run in runs for fold in folds]
    if not 1 <= parts <= min(MOST_PARTS, len(trainings)):
        raise FerKitError(f"--parts {parts}: give 1 to {min(MOST_PARTS, len(trainings))}")
    if parts == 1:
        return [[(run, tuple(folds)) for run in runs]]
    work = {run.run: sweep_plan.flops_of(run.config) * run.config.epochs for run in runs}
    found: list[Share] = []
    for left in range(parts, 0, -1):  # the folds of a run stay together, as far as the parts are then of equal work
        fair = sum(work[run.run] for run, _ in trainings) / left
        taken, load = 0, 0.0
        while len(trainings) - taken > left - 1:
            next_one = work[trainings[taken][0].run]
            if taken and left > 1 and load + next_one / 2 > fair:
                break
            load, taken = load + next_one, taken + 1
        part: dict[str, tuple[ResolvedRequest, tuple[int, ...]]] = {}
        for run, fold in trainings[:taken]:
            part[run.run] = run, (*part.get(run.run, (run, ()))[1], fold)
        found.append(list(part.values()))
        trainings = trainings[taken:]
    return found


def title_of(args: argparse.Namespace, first: Part, more: Sequence[Part], part: str) -> str:
    """The title of a kernel: --title, or a name from its runs and folds."""
    if args.title is not None:
        return check_title(f"{args.title} {part}".strip())
    if not more:
        return check_title(default_title(first.run, first.folds, args.resume))
    everything = ";".join(f"{one.run} {one.folds}" for one in (first, *more))
    digest = hashlib.sha256(everything.encode()).hexdigest()[:6]
    return check_title(f"fer-kit {1 + len(more)} runs {digest}{again(args.resume)}" + f" {part}" * bool(part))


def check_owner(name: str, origin: str) -> str:
    """Return `name` if it is a valid name of a Kaggle account; it becomes a part of addresses and records.

    Args:
        origin: where the name comes from, for the message.

    Raises:
        FerKitError: the name has other characters.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise FerKitError(
            f"{origin} {name!r}: account names have only ASCII letters, digits, - and _; correct the name"
        )
    return name


def parse_folds(text: str, count: int) -> tuple[int, ...]:
    """Parse fold numbers such as `0-4`, `0,2` or `0,2-4`; the order is kept.

    Raises:
        FerKitError: the text has another form, a fold occurs twice, or a fold is not below `count`.
    """
    if "all" in text or fold_spec.FULL_WORDS[0] in text:
        raise FerKitError(
            f"--folds {text}: a kernel trains numbered folds, e.g. 0-4 or 0,2; train on all rows locally, with "
            "fer-kit train --fold all"
        )
    if text.strip() == fold_spec.EVERY:
        return tuple(range(count))
    folds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,3})(?:\s*-\s*(\d{1,3}))?\s*", part)
        if match is None:
            raise FerKitError(f"--folds {text}: allowed are numbers and ranges, e.g. 0-4 or 0,2")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise FerKitError(f"--folds {text}: {first}-{last} is descending; write {last}-{first}")
        folds += range(first, last + 1)
    for fold in folds:
        if fold >= count:
            raise FerKitError(f"--folds {text}: fold {fold} does not exist; allowed are 0 to {count - 1}")
        if folds.count(fold) > 1:
            raise FerKitError(f"--folds {text}: fold {fold} occurs twice; name each fold once")
    return tuple(folds)


def slugify(title: str) -> str:
    """The slug that Kaggle derives from a title of ASCII letters, digits, spaces and hyphens."""
    return re.sub(r"[ -]+", "-", title.strip().lower()).strip("-")


def check_title(title: str) -> str:
    """Return `title` if `slugify` predicts its slug; Kaggle refuses a push whose id differs from the slug of the title.

    Raises:
        FerKitError: the title has other characters, or is too short or too long.
    """
    slug = slugify(title)
    if not re.fullmatch(r"[A-Za-z0-9 -]+", title) or not SHORTEST_TITLE <= len(slug) <= len(title) <= LONGEST_TITLE:
        raise FerKitError(
            f"--title {title!r}: use ASCII letters, digits, spaces and hyphens, "
            f"{SHORTEST_TITLE} to {LONGEST_TITLE} of them"
        )
    return title


def default_title(run: str, folds: Sequence[int], earlier: str | None) -> str:
    """The default title, e.g. `fer-kit-attention folds 0-4`; other runs, folds and continuations get other titles."""
    whole = len(folds) > 1 and list(folds) == list(range(folds[0], folds[-1] + 1))
    numbers = f"{folds[0]}-{folds[-1]}" if whole else " ".join(map(str, folds))
    tail = f" fold{'s' if len(folds) > 1 else ''} {numbers}{again(earlier)}"
    name = re.sub(r"[^A-Za-z0-9]+", "-", f"fer-kit-{run}").strip("-")
    room = LONGEST_TITLE - len(tail)
    if room < len("fer-kit-") + 6:
        raise FerKitError(
            f"--folds: a title with {len(folds)} folds is longer than {LONGEST_TITLE} characters; give one as --title"
        )
    if len(name) > room:  # the hash keeps titles of long names different
        name = f"{name[: room - 7].rstrip('-')}-{hashlib.sha256(run.encode()).hexdigest()[:6]}"
    return name + tail


def again(earlier: str | None) -> str:
    """The end of the title of a kernel that continues another one: ` on 2`, ` on 3` and so on."""
    if earlier is None:
        return ""
    before = re.search(r"-on-(\d+)$", earlier)
    return f" on {int(before[1]) + 1 if before else 2}"


def new_run_id() -> str:
    """A unique id that sorts by time, e.g. 20260131T120000-1a2b3c4d."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
