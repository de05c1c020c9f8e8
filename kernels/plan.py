"""The plan of a push, from the arguments of the command line; all faults of the arguments are found here."""

from __future__ import annotations

import argparse
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
from fer_kit.folds.table import Folds, read
from fer_kit.train.request import TrainRequest, resolve
from kernels.inside import accelerators, weights

SHORTEST_TITLE, LONGEST_TITLE = 5, 50
FOLD_COUNT = 5  # folds that `fer_kit.folds` makes in a kernel without local folds
SHORTEST_MINUTES, LONGEST_MINUTES = 15.0, 690.0  # 10 minutes are reserved for saving; sessions end after 9 to 12 hours
DEFAULT_MINUTES = 500.0


@dataclass(frozen=True)
class Plan:
    """A kernel that can be built.

    run: name of the run folder. table: local folds that the script contains; None to make folds in the kernel.
    weights: Kaggle model or dataset, or `hub` or `none`. augment: pipeline that the script contains. earlier: kernel
    whose output is continued.
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

    @property
    def slug(self) -> str:
        """Name of the kernel in its address, which Kaggle derives from the title."""
        return slugify(self.title)

    @property
    def ref(self) -> str:
        """The kernel, as "owner/slug"."""
        return f"{self.owner}/{self.slug}"


def of(args: argparse.Namespace, owner: str) -> Plan:
    """Make the plan from the arguments of `kernels build`.

    Args:
        owner: the Kaggle account.

    Raises:
        FerKitError: a recipe, setting, fold, accelerator, title, model or limit is not allowed.
    """
    for setting in args.set:
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
    resolved = resolve(
        TrainRequest(0, args.recipe, tuple(args.set), args.tag, args.seed, args.accumulate, augment=args.augment)
    )
    config, run = resolved.config, resolved.run
    if OWN_NAME.fullmatch(config.model):
        raise FerKitError(
            f"--set model={config.model}: a kernel does not include networks of your own; train this run locally with "
            "fer-kit train"
        )
    source = None if args.weights is None else weights.check(args.weights)
    if source is not None and source != config.weights and args.tag is None:
        raise FerKitError(f"--weights {args.weights} changes the recipe; name the changed run with --tag NAME")
    weights.check_reachable(config, source, args.internet)
    accelerators.get(args.accelerator)
    if not SHORTEST_MINUTES <= args.limit_minutes <= LONGEST_MINUTES:
        raise FerKitError(
            f"--limit-minutes {args.limit_minutes:g}: give {SHORTEST_MINUTES:g} to {LONGEST_MINUTES:g}; "
            "10 minutes are reserved for saving, and sessions end after 9 to 12 hours"
        )
    if args.resume is not None and not re.fullmatch(r"[A-Za-z0-9_-]+/[A-Za-z0-9_-]+", args.resume):
        raise FerKitError(f"--resume {args.resume!r}: write OWNER/SLUG, as in the address kaggle.com/code/OWNER/SLUG")
    path = args.runs / "folds.csv"
    table = read(path) if path.exists() else None
    folds = parse_folds(args.folds, FOLD_COUNT if table is None else table.count)
    title = check_title(default_title(run, folds, args.resume) if args.title is None else args.title)
    plan = Plan(
        recipe=args.recipe,
        settings=tuple(args.set),
        tag=args.tag,
        seed=args.seed,
        accumulate=args.accumulate,
        compile=args.compile,
        run=run,
        folds=folds,
        table=table,
        accelerator=args.accelerator,
        owner=owner,
        title=title,
        internet=args.internet,
        weights=source,
        augment=resolved.pipeline,
        limit_minutes=args.limit_minutes,
        earlier=args.resume,
        commit=revision.commit(),
        run_id=new_run_id(),
    )
    if plan.earlier == plan.ref:
        raise FerKitError(
            f"--resume {plan.earlier}: a kernel cannot continue its own output; choose another title with --title"
        )
    return plan


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
    if "all" in text:
        raise FerKitError(
            f"--folds {text}: a kernel trains numbered folds, e.g. 0-4 or 0,2; train on all rows locally, with "
            "fer-kit train --fold all"
        )
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
    tail = f" fold{'s' if len(folds) > 1 else ''} {numbers}"
    if earlier is not None:
        before = re.search(r"-on-(\d+)$", earlier)
        tail += f" on {int(before[1]) + 1 if before else 2}"
    name = re.sub(r"[^A-Za-z0-9]+", "-", f"fer-kit-{run}").strip("-")
    room = LONGEST_TITLE - len(tail)
    if room < len("fer-kit-") + 6:
        raise FerKitError(
            f"--folds: a title with {len(folds)} folds is longer than {LONGEST_TITLE} characters; give one as --title"
        )
    if len(name) > room:  # the hash keeps titles of long names different
        name = f"{name[: room - 7].rstrip('-')}-{hashlib.sha256(run.encode()).hexdigest()[:6]}"
    return name + tail


def new_run_id() -> str:
    """A unique id that sorts by time, e.g. 20260131T120000-1a2b3c4d."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
