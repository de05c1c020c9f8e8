"""Write a model card for a run, fold or blend.

python -m fer_kit.card vgg_small
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from fer_kit import cli
from fer_kit.errors import FerKitError
from fer_kit.files import atomic


def build_parser() -> argparse.ArgumentParser:
    """The command line of `python -m fer_kit.card`."""
    parser = cli.parser(
        "python -m fer_kit.card",
        "Write a model card (Markdown with the metadata of Hugging Face's hub): data, twins, folds, recipe, settings, "
        "scores by class with intervals, calibration, forecast, device, time, digests, limits. fer-kit export writes "
        "the same card beside its file.",
    )
    parser.add_argument("source", metavar="SOURCE", help="a run, a fold (RUN/fold0) or a blend")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write to FILE.md in place of the terminal")
    parser.add_argument(
        "--push", metavar="OWNER/NAME", help="upload the card to this repository of the hub, as README.md"
    )
    parser.add_argument("--files", type=Path, nargs="+", metavar="FILE", help="with --push: upload these files, too")
    parser.add_argument("--public", action="store_true", help="with --push: a new repository is public, not private")
    return parser


def body(args: argparse.Namespace) -> None:
    """Gather, print or write, upload."""
    from fer_kit.card import facts, hub, markdown

    if args.push is None and (args.files or args.public):
        raise FerKitError(
            f"{'--files' if args.files else '--public'} has no effect without --push; add --push OWNER/NAME"
        )
    if args.push is not None:
        hub.check_repo(args.push)
    for file in args.files or []:
        if not file.is_file():
            raise FerKitError(f"--files {file}: no such file")
    text = markdown.card(facts.gather(args.runs, args.source))
    if args.out is not None:
        with atomic.replacing(args.out) as opened:
            opened.write(text.encode())
        print(f"wrote {args.out}")
    elif args.push is None:
        print(text, end="")
    if args.push is not None:
        print(f"uploaded to {hub.push(args.push, text, args.files or [], args.public)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0, 2 for a user error, 130 when interrupted."""
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
