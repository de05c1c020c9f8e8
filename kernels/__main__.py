"""Train on Kaggle: `fer-kit kernels build|push|status|fetch|run|explore`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from fer_kit import cli
from fer_kit.config import recipes, suggest
from fer_kit.kaggle.client import Client
from fer_kit.kaggle.errors import NoCredentials
from fer_kit.pretrained import source
from fer_kit.runs import folders
from kernels import build, notebook, plan, push, push_log
from kernels.inside import accelerators, pipeline

ACCOUNT = "YOUR-ACCOUNT"  # shown by a dry run without credentials


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
        _add_what(_add(commands, name, about))
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
    add("--recipe", default=recipes.DEFAULT, help=f"one of {', '.join(recipes.RECIPES)}, or timm/NAME")
    add("--folds", default="0-4", help="folds to train: 0-4 or 0,2")
    add("--set", action="extend", nargs="+", default=[], metavar="K=V", help="change settings; needs --tag")
    add("--tag", help="suffix of the run's name: <recipe>-<tag>")
    add("--seed", type=int, metavar="N", help="as train's: another seed, as a run of its own")
    add("--accumulate", type=int, metavar="N", help="as train's: cut each step's batch in N parts; needs --tag")
    add("--compile", action="store_true", help="as train's: torch.compile the network")
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
    parser.add_argument("--partial", action="store_true", help="also fetch what a failed or interrupted kernel saved")
    parser.add_argument(
        "--replace-unfinished", action="store_true", help="replace unfinished local folds by the fetched ones"
    )


def body(args: argparse.Namespace) -> None:
    """Run the chosen subcommand."""
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
        print("next: python -m kernels status shows its state, python -m kernels fetch downloads the results")
        return None
    return wait_and_fetch(client, pushed, args)


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
        print(f"push it by hand: kaggle kernels push -p {folder}")


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
        bring_home(client, pushed, args)


def show_status(client: Client, args: argparse.Namespace) -> None:
    """Print one line on the push, and the next command."""
    chosen = push_log.choose(args.runs, args.kernel)
    state, sure = push.look(client, chosen, args.runs)
    print(push.tell(chosen, state, sure))
    if chosen.url:
        print(chosen.url)
    if state.word in push.ENDED and chosen.state != push_log.FETCHED:
        print("next: python -m kernels fetch")


def bring_home(client: Client, chosen: push_log.Push, args: argparse.Namespace) -> None:
    """Fetch the folds of one push and list them."""
    from kernels import fetch

    done = fetch.fetch(client, chosen, args.runs, partial=args.partial, replace=args.replace_unfinished)
    run = done.output.run
    print(f"{chosen.name}: run id {chosen.run_id}, trained on {done.output.device}, all checksums match")
    for fold in done.moved:
        folder = folders.fold_folder(args.runs, run, fold)
        if folders.is_finished(folder):
            from fer_kit.files import atomic

            print(f"{folder}: out of fold {atomic.read_json(folder / folders.RESULT)['oof_accuracy']:.2%}")
        else:
            print(
                f"{folder}: unfinished; continue here with --resume, or on Kaggle with "
                f"python -m kernels push --resume {chosen.ref}"
            )
    for fold in done.kept:
        print(f"{folders.fold_folder(args.runs, run, fold)}: already finished here, left unchanged")
    if not done.moved and not done.kept:
        print("the kernel finished no epoch; see its log on Kaggle")
    if done.output.failed:
        print(f"folds that failed on Kaggle: {', '.join(map(str, done.output.failed))}")


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
