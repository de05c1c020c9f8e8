"""Train on Kaggle: `fer-kit kernels build|push|status|fetch|run|explore`."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from fer_kit import cli
from fer_kit.config import recipes, suggest
from fer_kit.errors import FerKitError
from fer_kit.kaggle.client import Client
from fer_kit.kaggle.errors import KernelFailed, NoCredentials
from fer_kit.pretrained import source
from fer_kit.runs import finished_folder
from fer_kit.sweep import options
from fer_kit.track import follow
from kernels import build, notebook, plan, push, push_log
from kernels.inside import accelerators, pipeline

ACCOUNT = "YOUR-ACCOUNT"  # in a kernel that is built without credentials


class FoldsFailed(KernelFailed):
    """A kernel was fetched, but some of its folds failed on Kaggle."""


def build_parser() -> argparse.ArgumentParser:
    """The command line of `python -m kernels`."""
    parser = cli.parser(
        "python -m kernels",
        "Train on Kaggle: build one self-contained script, push it as a private kernel, and fetch its run folders.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, about in (
        ("build", "write the kernel's folder; `kaggle kernels push -p FOLDER` pushes it"),
        ("push", "build the kernel and push it, which starts the training on Kaggle"),
        ("run", "push, wait until the kernel has ended, and fetch its folds"),
    ):
        _add_what(added := _add(commands, name, about))
        if name != "build":
            added.add_argument("--yes", action="store_true", help="push without asking over a version not fetched yet")
    _add_wait(commands.choices["run"])
    _add_which(_add(commands, "status", "show the state of the last push"))
    explore = _add(commands, "explore", "write a folder with the exploration notebook, which contains the package")
    explore.add_argument("--owner", help="Kaggle account; default: the account of the credentials")
    explore.add_argument("--out", type=Path, default=build.FOLDER, help="parent folder of the kernel's folder")
    explore.add_argument("--push", action="store_true", help="also push the notebook, which runs it on Kaggle")
    explore.add_argument("--dry-run", action="store_true", help="show what would be built, and write nothing")
    fetch = _add(
        commands, "fetch", "download the trained folds of the last push, and check them before they are put in place"
    )
    _add_which(fetch)
    fetch.add_argument(
        "--every", action="store_true", help="fetch all pushes that were not fetched, as those of --parts"
    )
    _add_fetch(fetch)
    _add_fetch(commands.choices["run"])
    return parser


def _add(commands: argparse._SubParsersAction[cli.Parser], name: str, about: str) -> cli.Parser:
    parser = commands.add_parser(
        name,
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        allow_abbrev=False,
        formatter_class=cli.HelpFormatter,
    )
    parser.add_argument(
        "--runs", type=Path, default=Path("runs"), help="folder of runs, with folds.csv and kernels.json"
    )
    return parser


def _add_what(parser: cli.Parser) -> None:
    parser.hint = suggest.as_settings
    add = parser.add_argument
    recipe, seed = parser.add_mutually_exclusive_group(), parser.add_mutually_exclusive_group()
    recipe.add_argument("--recipe", default=recipes.DEFAULT, help=f"one of {', '.join(recipes.RECIPES)}, or timm/NAME")
    recipe.add_argument("--recipes", nargs="+", default=[], metavar="R", help="several recipes, as fer-kit sweep")
    add(
        "--plan", type=Path, metavar="FILE", help="a plan file of fer-kit sweep in place of recipes, seeds and settings"
    )
    add("--folds", default="0-4", help="folds to train: 0-4, 0,2 or every")
    add("--set", action="extend", nargs="+", default=[], metavar="K=V", help="change settings; needs --tag")
    add("--tag", help="suffix of the run's name: <recipe>-<tag>")
    seed.add_argument("--seed", type=int, metavar="N", help="as train's: another seed, as a run of its own")
    seed.add_argument("--seeds", nargs="+", type=int, default=[], metavar="N", help="several seeds, as fer-kit sweep")
    options.add_settings(parser)
    add(
        "--parts",
        type=int,
        default=1,
        metavar="N",
        help="divide the trainings among N kernels of about equal work, for plans that one session is too short for",
    )
    add("--part", type=int, metavar="K", help="only part K of --parts, from 1, such as one that Kaggle did not accept")
    add("--accumulate", type=int, metavar="N", help="as train's: cut each step's batch in N parts; needs --tag")
    add(
        "--batch-size",
        type=int,
        metavar="N",
        help="as train's: images per step, which scale other settings; needs --tag",
    )
    add("--compile", action="store_true", help="as train's: torch.compile the network")
    add(
        "--wandb",
        choices=(follow.OFF, follow.OFFLINE),
        default=follow.OFF,
        help="offline: write files of Weights & Biases into the run folders, for `wandb sync` after the fetch",
    )
    add("--accelerator", default=accelerators.DEFAULT, help=f"one of {', '.join(accelerators.KNOWN)}")
    add(
        "--limit-minutes",
        type=float,
        default=plan.DEFAULT_MINUTES,
        help="time limit; all results are saved before it is reached",
    )
    add("--resume", metavar="OWNER/SLUG", help="continue the unfinished folds of this earlier kernel")
    add(
        "--weights",
        metavar=source.MODEL_FORM.upper(),
        help=f"pretrained weights: a Kaggle model, which is attached to the kernel, or {source.DATASET_FORM}, hub "
        "or none; needs --tag",
    )
    add(
        pipeline.OPTION,
        metavar="FILE",
        help="a pipeline saved by albumentations (.json or .yaml), stored in the script, or v3; needs --tag",
    )
    add("--internet", action="store_true", help="give the kernel access to the internet")
    add("--owner", help="Kaggle account; default: the account of the credentials")
    add("--title", help="title of the kernel, 5 to 50 letters, digits, spaces, hyphens; default: run and folds")
    add("--out", type=Path, default=build.FOLDER, help="parent folder of the kernel's folder")
    add("--dry-run", action="store_true", help="show what would be built, and write nothing")


def _add_which(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "kernel", nargs="?", help="slug, owner/slug or run id; default: the last push that was not fetched"
    )


def _add_wait(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--deadline-minutes",
        type=float,
        help="stop waiting after this time; default: 3 hours more than --limit-minutes",
    )


def _add_fetch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--partial", action="store_true", help="also fetch what an interrupted kernel had saved")
    parser.add_argument(
        "--replace-unfinished", action="store_true", help="replace unfinished local folds by the fetched ones"
    )


def body(args: argparse.Namespace) -> None:
    """Run the chosen subcommand."""
    client = Client()
    if args.command == "status":
        show_status(client, args)
    elif args.command == "explore":
        write_notebook(client, args)
    elif args.command == "fetch" and args.every:
        fetch_every(client, args)
    elif args.command == "fetch":
        bring_home(client, owned(client, push_log.choose(args.runs, args.kernel)), args)
    else:
        make(client, args)


def make(client: Client, args: argparse.Namespace) -> None:
    """Build the kernels; push them and wait for them, where the command says so."""
    built = [build.make(one, os.environ) for one in plan.of(args, _owner(client, args))]
    for one in built:
        print(build.describe(one))
    if args.dry_run:
        print("dry run: nothing was written or pushed")
        return
    kernels = [(one, build.write(one, args.out)) for one in built]
    if args.command == "build":
        for one, folder in kernels:
            write_by_hand(one, folder, args)
        return
    for one, _ in kernels:
        push.refuse_open(push_log.read(args.runs), one.plan.ref, args.yes)
    pushes = []
    for one, folder in kernels:
        pushes.append(push.push(client, one, folder, args.runs))
        print(f"pushed       {pushes[-1].name}: {pushes[-1].url}")
    if args.command == "push":
        every = " --every" * (len(pushes) > 1)
        print(f"next: python -m kernels status shows its state, python -m kernels fetch{every} downloads the results")
        return
    for pushed in pushes:
        wait_and_fetch(client, pushed, args)


def write_by_hand(built: build.Built, folder: Path, args: argparse.Namespace) -> None:
    """Log a kernel that was only built, and say how to push it."""
    push_log.put(args.runs, push.entry(built, push_log.BUILT))
    slug = built.plan.slug
    print(f"wrote        {folder}")
    if built.plan.owner == ACCOUNT:
        print(f"first write your Kaggle account in place of {ACCOUNT} in {folder / build.METADATA}")
    accelerator = "" if args.accelerator == accelerators.NONE else f" --accelerator {args.accelerator}"
    print(
        f"push it by hand: kaggle kernels push -p {folder}{accelerator}; "
        f"then python -m kernels fetch {slug} --runs {args.runs}"
    )


def write_notebook(client: Client, args: argparse.Namespace) -> None:
    """Build the exploration notebook, and push it if --push is given."""
    metadata, text = notebook.make(_owner(client, args), os.environ)
    print(f"notebook     {metadata['id']}, private, {len(text.encode()):,} bytes")
    if args.dry_run:
        print("dry run: nothing was written or pushed")
        return
    folder = notebook.write(metadata, text, args.out)
    print(f"wrote        {folder}")
    if args.push:
        print(f"pushed       {client.push(folder).url}")
    else:
        if metadata["id"].startswith(f"{ACCOUNT}/"):
            print(f"first write your Kaggle account in place of {ACCOUNT} in {folder / build.METADATA}")
        print(f"push it by hand: kaggle kernels push -p {folder}")


def owned(client: Client, chosen: push_log.Push) -> push_log.Push:
    """The push with the account of the credentials, where its kernel was built without an account."""
    owner, _, slug = chosen.ref.partition("/")
    if owner != ACCOUNT:
        return chosen
    return dataclasses.replace(chosen, ref=f"{plan.check_owner(client.user(), 'user name of the credentials')}/{slug}")


def fetch_every(client: Client, args: argparse.Namespace) -> None:
    """Fetch all pushes that have not been fetched.

    Raises:
        FerKitError: one or more of them cannot be fetched yet; the others are in place.
    """
    if args.kernel is not None:
        raise FerKitError(f"{args.kernel} with --every: name one kernel, or give --every alone")
    waiting = [one for one in push_log.read(args.runs) if one.state == push_log.PUSHED]
    faults = []
    for one in waiting or [push_log.choose(args.runs, None)]:
        try:
            bring_home(client, one, args)
        except FoldsFailed as error:
            faults.append(str(error))
        except FerKitError as error:
            print(f"{one.name}: not fetched")
            faults.append(str(error))
    if faults:
        raise FerKitError(f"{len(faults)} of {len(waiting)} kernels failed or were not fetched; the first: {faults[0]}")


def wait_and_fetch(client: Client, pushed: push_log.Push, args: argparse.Namespace) -> None:
    """Wait for the kernel that `run` pushed, and fetch its folds."""
    from kernels import fetch

    def ours() -> bool:
        """Whether an end that may be that of an older version is this push's: the output tells."""
        try:
            bring_home(client, pushed, args)
        except fetch.OlderOutput:
            return False
        return True

    minutes = args.deadline_minutes or args.limit_minutes + 180
    push.wait(client, pushed, args.runs, minutes, ours=ours)
    if push_log.choose(args.runs, pushed.run_id).state != push_log.FETCHED:
        push.patiently(lambda: bring_home(client, pushed, args), pushed, args.runs)


def show_status(client: Client, args: argparse.Namespace) -> None:
    """Print one line on the push, and the next command."""
    chosen = owned(client, push_log.choose(args.runs, args.kernel))
    state, sure = push.look(client, chosen, args.runs)
    print(push.tell(chosen, state, sure))
    if chosen.url:
        print(chosen.url)
    if state.word in push.ENDED and chosen.state != push_log.FETCHED:
        print("next: python -m kernels fetch")


def bring_home(client: Client, chosen: push_log.Push, args: argparse.Namespace) -> None:
    """Fetch the folds of one push and list them.

    Raises:
        FoldsFailed: some folds failed on Kaggle; the others are in place.
    """
    from kernels import fetch

    done = fetch.fetch(client, chosen, args.runs, partial=args.partial, replace=args.replace_unfinished)
    print(f"{chosen.name}: run id {chosen.run_id}, trained on {done.output.device}, all checksums match")
    for folder in done.moved:
        if finished_folder.is_finished(folder):
            from fer_kit.files import atomic

            print(f"{folder}: out of fold {atomic.read_json(folder / finished_folder.RESULT)['oof_accuracy']:.2%}")
        else:
            print(
                f"{folder}: unfinished; continue here with --resume, or on Kaggle with "
                f"python -m kernels push --resume {chosen.ref}"
            )
    for folder in done.kept:
        print(f"{folder}: already finished here, left unchanged")
    if not done.moved and not done.kept:
        print("the kernel finished no epoch; see its log on Kaggle")
    failed = [f"{part.run} {', '.join(map(str, part.failed))}" for part in done.output.runs if part.failed]
    if failed:
        raise FoldsFailed(
            f"{chosen.name}: folds that failed on Kaggle: {'; '.join(failed)}; what the others saved is in place, and "
            f"the log at {chosen.page} says why"
        )


def _owner(client: Client, args: argparse.Namespace) -> str:
    if args.owner is not None:
        return plan.check_owner(args.owner, "--owner")
    try:
        return plan.check_owner(client.user(), "user name of the Kaggle credentials")
    except NoCredentials:
        if args.dry_run or args.command == "build" or (args.command == "explore" and not args.push):
            return ACCOUNT
        raise


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0, 2 for a user error, 130 when interrupted."""
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
