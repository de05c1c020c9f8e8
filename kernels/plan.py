"""What a push is to do, from its arguments: every fault of them is found here, before anything is built."""

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
from fer_kit.folds import table as fold_files
from fer_kit.folds.table import Folds
from fer_kit.train.request import TrainRequest, resolve
from kernels.inside import accelerators, weights

SHORTEST_TITLE, LONGEST_TITLE = 5, 50
FOLD_COUNT = 5  # what `fer_kit.folds` makes where no local folds are sent along
SHORTEST_MINUTES, LONGEST_MINUTES = 15.0, 690.0  # 10 are kept for saving; sessions end after 9 to 12 hours
DEFAULT_MINUTES = 500.0


@dataclass(frozen=True)
class Plan:
    """A kernel to be: run is the name of the run folder, table the local folds, earlier a kernel to go on from.

    augment: the pipeline that travels with it.
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
        """The kernel's name in its address: what Kaggle makes of the title."""
        return slugify(self.title)

    @property
    def ref(self) -> str:
        """The kernel, as "owner/slug"."""
        return f"{self.owner}/{self.slug}"


def of(args: argparse.Namespace, owner: str) -> Plan:
    """The plan that the arguments of `kernels build` ask for; `owner` is the Kaggle account.

    Raises:
        FerKitError: a recipe, setting, fold, accelerator, title or model that cannot be; one line says why.
    """
    for setting in args.set:
        name, _, value = setting.partition("=")
        if value.strip() and name.strip() == "targets":
            raise FerKitError(
                f"--set {setting}: a file of soft targets does not travel with a kernel; train this run here, with "
                "python -m fer_kit.train"
            )
        if name.strip() == "model" and OWN_NAME.fullmatch(value.strip()):
            raise FerKitError(
                f"--set {setting}: a network of your own does not travel with a kernel; train this run here, with "
                "python -m fer_kit.train, or add the network to fer_kit/models"
            )
    resolved = resolve(
        TrainRequest(0, args.recipe, tuple(args.set), args.tag, args.seed, args.accumulate, augment=args.augment)
    )
    config, run = resolved.config, resolved.run
    if OWN_NAME.fullmatch(config.model):
        raise FerKitError(
            f"--set model={config.model}: a network of your own does not travel with a kernel; train this run here, "
            "with python -m fer_kit.train"
        )
    source = None if args.weights is None else weights.check(args.weights)
    if source is not None and source != config.weights and args.tag is None:
        raise FerKitError(f"--weights {args.weights} changes the recipe; name the changed run with --tag NAME")
    weights.check_reachable(config, source, args.internet)
    accelerators.get(args.accelerator)
    if not SHORTEST_MINUTES <= args.limit_minutes <= LONGEST_MINUTES:
        raise FerKitError(
            f"--limit-minutes {args.limit_minutes:g}: give {SHORTEST_MINUTES:g} to {LONGEST_MINUTES:g}; "
            "10 are kept for saving, and sessions end after 9 to 12 hours"
        )
    if args.resume is not None and not re.fullmatch(r"[A-Za-z0-9_-]+/[A-Za-z0-9_-]+", args.resume):
        raise FerKitError(f"--resume {args.resume!r}: write OWNER/SLUG, as in the address kaggle.com/code/OWNER/SLUG")
    path = args.runs / "folds.csv"
    table = fold_files.read(path) if path.exists() else None
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
            f"--resume {plan.earlier}: a kernel cannot take up its own output; name another one with --title"
        )
    return plan


def check_owner(name: str, origin: str) -> str:
    """`name` if it can be a Kaggle account; it becomes a part of addresses and of records.

    Raises:
        FerKitError: it has other characters; `origin` says where it comes from.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise FerKitError(f"{origin} {name!r}: an account name has ASCII letters, digits, - and _ alone; correct it")
    return name


def parse_folds(text: str, count: int) -> tuple[int, ...]:
    """Fold numbers of `0-4`, `0,2` or `0,2-4`, in the order given.

    Raises:
        FerKitError: not of that form, a fold twice, or one that does not exist among `count`.
    """
    if "all" in text:
        raise FerKitError(
            f"--folds {text}: a kernel trains folds by their numbers, write 0-4 or 0,2; train on every row here, with "
            "python -m fer_kit.train --fold all"
        )
    folds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,3})(?:\s*-\s*(\d{1,3}))?\s*", part)
        if match is None:
            raise FerKitError(f"--folds {text}: write 0-4 or 0,2")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise FerKitError(f"--folds {text}: {first}-{last} runs backwards; write {last}-{first}")
        folds += range(first, last + 1)
    for fold in folds:
        if fold >= count:
            raise FerKitError(f"--folds {text}: fold {fold} does not exist: choose 0 to {count - 1}")
        if folds.count(fold) > 1:
            raise FerKitError(f"--folds {text}: fold {fold} is named twice")
    return tuple(folds)


def slugify(title: str) -> str:
    """What Kaggle makes of a title of ASCII letters, digits, spaces and hyphens."""
    return re.sub(r"[ -]+", "-", title.strip().lower()).strip("-")


def check_title(title: str) -> str:
    """`title` if its slug can be foretold: Kaggle slugs it, and another address than the one asked for is an error.

    Raises:
        FerKitError: other characters, or too short or long.
    """
    slug = slugify(title)
    if not re.fullmatch(r"[A-Za-z0-9 -]+", title) or not SHORTEST_TITLE <= len(slug) <= len(title) <= LONGEST_TITLE:
        raise FerKitError(
            f"--title {title!r}: use ASCII letters, digits, spaces and hyphens, "
            f"{SHORTEST_TITLE} to {LONGEST_TITLE} of them"
        )
    return title


def default_title(run: str, folds: Sequence[int], earlier: str | None) -> str:
    """`fer-kit attention folds 0-4`: another run, other folds or a continuation is another kernel."""
    whole = len(folds) > 1 and list(folds) == list(range(folds[0], folds[-1] + 1))
    numbers = f"{folds[0]}-{folds[-1]}" if whole else " ".join(map(str, folds))
    tail = f" fold{'s' if len(folds) > 1 else ''} {numbers}"
    if earlier is not None:
        before = re.search(r"-on-(\d+)$", earlier)
        tail += f" on {int(before[1]) + 1 if before else 2}"
    name = re.sub(r"[^A-Za-z0-9]+", "-", f"fer-kit-{run}").strip("-")
    room = LONGEST_TITLE - len(tail)
    if room < len("fer-kit-") + 6:
        raise FerKitError("so many folds make no title of 50 characters; give one with --title")
    if len(name) > room:  # two long names must not become one
        name = f"{name[: room - 7].rstrip('-')}-{hashlib.sha256(run.encode()).hexdigest()[:6]}"
    return name + tail


def new_run_id() -> str:
    """Unlike any other, and in order of time: 20260131T120000-1a2b3c4d."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
