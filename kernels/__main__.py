"""Kaggle kernels from a terminal: `python -m kernels build|push|status|fetch|run`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from fer_kit import cli
from fer_kit.config import recipes
from fer_kit.kaggle.client import Client
from fer_kit.kaggle.errors import NoCredentials
from fer_kit.pretrained import source
from fer_kit.runs import folders
from kernels import build, notebook, plan, push, push_log
from kernels.inside import accelerators, pipeline, weights

ACCOUNT = "YOUR-ACCOUNT"  # shown by a dry run without credentials


def build_parser() -> argparse.ArgumentParser:
    """The command line of `python -m kernels`."""
    parser = cli.parser(
        "python -m kernels",
        "Train on Kaggle: one self-contained script is built, pushed as a private kernel, and its run folders fetched.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, about in (
        ("build", "write the kernel's folder; `kaggle kernels push -p FOLDER` pushes it"),
        ("push", "build and push, which starts the training at Kaggle"),
        ("run", "push, wait until it has ended, and fetch"),
    ):
        _add_what(_add(commands, name, about))
    _add_wait(commands.choices["run"])
    _add_which(_add(commands, "status", "say how far the last push is"))
    explore = _add(commands, "explore", "write the exploration notebook's folder, with the package in it")
    explore.add_argument("--owner", help="Kaggle account; that of the credentials where not given")
    explore.add_argument("--out", type=Path, default=build.FOLDER, help="the kernel's folder is written below this one")
    explore.add_argument("--push", action="store_true", help="push it too, which runs it at Kaggle")
    explore.add_argument("--dry-run", action="store_true", help="show what would be built and stop")
    fetch = _add(commands, "fetch", "bring the trained folds of the last push home, once all of it is checked")
    _add_which(fetch)
    _add_fetch(fetch)
    _add_fetch(commands.choices["run"])
    return parser


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, about: str
) -> argparse.ArgumentParser:
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


def _add_what(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--recipe", default=recipes.DEFAULT, help=f"one of {', '.join(recipes.RECIPES)}, or timm/NAME")
    add("--folds", default="0-4", help="which folds to train: 0-4 or 0,2")
    add("--set", action="extend", nargs="+", default=[], metavar="K=V", help="change settings; needs --tag")
    add("--tag", help="names the changed run: <recipe>-<tag>")
    add("--accelerator", default=accelerators.DEFAULT, help=f"one of {', '.join(accelerators.KNOWN)}")
    add("--limit-minutes", type=float, default=plan.DEFAULT_MINUTES, help="everything is saved before this is over")
    add("--resume", metavar="OWNER/SLUG", help="go on with what this earlier kernel left unfinished")
    add(
        "--weights",
        metavar=weights.FORM.upper(),
        help=f"pretrained weights: a Kaggle model that is attached to the kernel, or {source.DATASET_FORM}, hub "
        "or none; needs --tag",
    )
    add(
        pipeline.OPTION,
        metavar="FILE",
        help="a pipeline saved by albumentations (.json or .yaml), which travels in the script, or v3; needs --tag",
    )
    add("--internet", action="store_true", help="let the kernel reach the internet")
    add("--owner", help="Kaggle account; that of the credentials where not given")
    add("--title", help="of the kernel, 5 to 50 letters, digits, spaces, hyphens; from run and folds where not given")
    add("--out", type=Path, default=build.FOLDER, help="the kernel's folder is written below this one")
    add("--dry-run", action="store_true", help="show what would be built and stop")


def _add_which(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kernel", nargs="?", help="slug, owner/slug or run id; the last open push where not given")


def _add_wait(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--deadline-minutes", type=float, help="stop waiting then; 3 hours more than --limit-minutes where not given"
    )


def _add_fetch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--partial", action="store_true", help="take what a failed or interrupted kernel had saved")
    parser.add_argument(
        "--replace-unfinished", action="store_true", help="let fetched folds take the place of unfinished local ones"
    )


def body(args: argparse.Namespace) -> None:
    """Do the command."""
    client = Client()
    if args.command == "status":
        return show_status(client, args)
    if args.command == "explore":
        return write_notebook(client, args)
    if args.command == "fetch":
        return bring_home(client, push_log.choose(args.runs, args.kernel), args)
    built = build.make(plan.of(args, _owner(client, args)), os.environ)
    print(build.describe(built))
    if args.dry_run:
        print("dry run: nothing was written or pushed")
        return None
    folder = build.write(built, args.out)
    if args.command == "build":
        push_log.put(args.runs, push.entry(built, push_log.BUILT))
        slug = built.plan.slug
        print(
            f"wrote        {folder}\npush it by hand: kaggle kernels push -p {folder} --accelerator "
            f"{args.accelerator}; then python -m kernels fetch {slug} --runs {args.runs}"
        )
        return None
    pushed = push.push(client, built, folder, args.runs)
    print(f"pushed       {pushed.name}: {pushed.url}")
    if args.command == "push":
        print("look at it with python -m kernels status, bring it home with python -m kernels fetch")
        return None
    return wait_and_fetch(client, pushed, args)


def write_notebook(client: Client, args: argparse.Namespace) -> None:
    """Build the exploration notebook, and push it where asked."""
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
        print(f"push it by hand: kaggle kernels push -p {folder}")


def wait_and_fetch(client: Client, pushed: push_log.Push, args: argparse.Namespace) -> None:
    """The second half of `run`."""
    from kernels import fetch

    def ours() -> bool:
        """Whether an end that may be an older version's is this push's after all: its output says."""
        try:
            bring_home(client, pushed, args)
        except fetch.OlderOutput:
            return False
        return True

    minutes = args.deadline_minutes or args.limit_minutes + 180
    push.wait(client, pushed, args.runs, minutes, ours=ours)
    if push_log.choose(args.runs, pushed.run_id).state != push_log.FETCHED:
        bring_home(client, pushed, args)


def show_status(client: Client, args: argparse.Namespace) -> None:
    """One line on the push, and what to do next."""
    chosen = push_log.choose(args.runs, args.kernel)
    state, sure = push.look(client, chosen, args.runs)
    print(push.tell(chosen, state, sure))
    if chosen.url:
        print(chosen.url)
    if state.word in push.ENDED and chosen.state != push_log.FETCHED:
        print("next: python -m kernels fetch")


def bring_home(client: Client, chosen: push_log.Push, args: argparse.Namespace) -> None:
    """Fetch one push and tell what came."""
    from kernels import fetch

    done = fetch.fetch(client, chosen, args.runs, partial=args.partial, replace=args.replace_unfinished)
    run = done.output.run
    print(f"{chosen.name}: run id {chosen.run_id}, trained on {done.output.device}, all sums right")
    for fold in done.moved:
        folder = folders.fold_folder(args.runs, run, fold)
        if folders.is_finished(folder):
            from fer_kit.files import atomic

            print(f"{folder}: out of fold {atomic.read_json(folder / folders.RESULT)['oof_accuracy']:.2%}")
        else:
            print(
                f"{folder}: unfinished; go on here with --resume, or with python -m kernels push --resume {chosen.ref}"
            )
    for fold in done.kept:
        print(f"{folders.fold_folder(args.runs, run, fold)}: finished here already, kept as it is")
    if not done.moved and not done.kept:
        print("it had not trained a single epoch; see its log on Kaggle")
    if done.output.failed:
        print(f"folds that failed at Kaggle: {', '.join(map(str, done.output.failed))}")


def _owner(client: Client, args: argparse.Namespace) -> str:
    if args.owner is not None:
        return plan.check_owner(args.owner, "--owner")
    try:
        return plan.check_owner(client.user(), "user name of the Kaggle credentials")
    except NoCredentials as error:
        if args.dry_run:
            return ACCOUNT
        if args.command in ("build", "explore"):
            raise NoCredentials(f"{error} (or name the account with --owner)") from None
        raise


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0, 2 for a user error, 130 when interrupted."""
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
