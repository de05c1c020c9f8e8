"""Classify faces in photos, folders, csv files of pixels and .npz files of faces.

python -m fer_kit.classify party.jpg holiday/ --by vgg_small
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fer_kit import cli
from fer_kit.errors import FerKitError
from fer_kit.output import print_json

FIND, WHOLE = "find", "whole"
EXIT_SOME_UNANSWERED = 1


def build_parser() -> argparse.ArgumentParser:
    """The command line of `python -m fer_kit.classify`."""
    parser = cli.parser(
        "python -m fer_kit.classify",
        "Find the faces in photos and classify their expressions. Prints a table; files that cannot be answered get a "
        "line on stderr and never stop the others.",
        epilog="Exit code: 0 if every file was answered, 1 if some were not (unreadable, or no face found), 2 for a "
        "usage error, 130 when interrupted.",
    )
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="FILE",
        help="photos, folders of photos (with their subfolders), .csv files with a column pixels, .npz files with an "
        "array faces, uint8 (N, 48, 48)",
    )
    parser.add_argument(
        "--by",
        metavar="SOURCE",
        help="run, fold (RUN/fold0), blend or packed file (*.safetensors) that classifies; without it the network that "
        "ships with fer_kit",
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs")
    parser.add_argument(
        "--faces",
        choices=(FIND, WHOLE),
        default=FIND,
        help="find: search each photo for faces, except photos of 48×48 pixels; whole: each photo is one face",
    )
    parser.add_argument(
        "--detector",
        type=Path,
        metavar="FILE",
        help="a YuNet model (.onnx) or another cascade (.xml); without it the Haar cascade of OpenCV 4",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write all answers to FILE.csv or FILE.json")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="draw boxes and bars on each photo")
    cli.add_output_options(parser, "print nothing but the lines about files without an answer")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    return parser


def body(args: argparse.Namespace) -> int:
    """Answer, print, write."""
    from tqdm import tqdm

    from fer_kit.classify import answers, draw, output, sources
    from fer_kit.predict import named

    if args.faces == WHOLE and args.detector is not None:
        raise FerKitError(f"--detector {args.detector} has no effect with --faces {WHOLE}; drop one of them")
    if args.out is not None:
        output.check_out(args.out)
    model = named.model(args.by, args.runs, args.device)
    found = list(sources.find(args.sources))
    detector = answers.detector_for(found, args.detector) if args.faces == FIND else None
    rows, notes, pictures = [], [], 0
    done = answers.answer(found, model, detector, keep_pixels=args.pictures is not None)
    for one in tqdm(done, desc="classifying", total=len(found), unit="file", disable=None, leave=False):
        rows += one.answers
        notes += one.notes
        for note in one.notes:
            tqdm.write(f"{output.printable(note.file)}: {note.text}", file=sys.stderr)
        if args.pictures is not None and one.pixels is not None:
            draw.save(draw.picture(one.pixels, one.answers), args.pictures / draw.file_name(one.source.path))
            pictures += 1
    whole = output.record(rows, notes, model.name, None if detector is None else detector.name)
    if args.out is not None:
        output.write(args.out, rows, whole)
    unanswered = len(whole["not_answered"])
    if args.json:
        print_json(whole)
    elif not args.quiet:
        told = [f"{len(rows):,} faces in {len({one.file for one in rows}):,} files, classified by {model.name}"]
        told += [f"{unanswered:,} files not answered"] * (unanswered > 0)
        told += [f"wrote {args.out}"] * (args.out is not None)
        told += [f"{pictures:,} pictures in {args.pictures}"] * (pictures > 0)
        print("\n".join([*output.table(rows), "; ".join(told)]))
    return EXIT_SOME_UNANSWERED if unanswered else cli.EXIT_OK


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit codes as in its --help."""
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
