"""`fer-kit pipelines`: draw faces augmented by a pipeline of albumentations, or save the built-in pipeline to edit it.

python -m fer_kit.pipelines v3 --out mine.yaml
python -m fer_kit.pipelines mine.yaml --picture mine.png
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fer_kit import cli
from fer_kit.batches import pipeline_file
from fer_kit.data import loading
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.runs import folders

FACES, DRAWS = 6, 8  # rows of the picture, and results of the pipeline in each


def build_parser() -> argparse.ArgumentParser:
    """The command line of `python -m fer_kit.pipelines`."""
    parser = cli.parser(
        "python -m fer_kit.pipelines",
        "Pipelines of albumentations for train --augment: save the built-in pipeline to edit it, or draw faces that a "
        "pipeline has augmented. The pipeline is checked as before a training.",
    )
    built_in = ", ".join(pipeline_file.BUILT_IN)
    parser.add_argument(
        "pipeline", metavar="PIPELINE", help=f"a file (.json or .yaml), or a built-in pipeline: {built_in}"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="save the pipeline to FILE, .json or .yaml")
    parser.add_argument(
        "--picture",
        type=Path,
        metavar="FILE",
        help="save a picture to FILE, .png: faces, each with some results of the pipeline",
    )
    parser.add_argument("--data", help="folder with the competition's files; default: searched for")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs"), help="folder of runs, with the cache of the parsed data"
    )
    return parser


def body(args: argparse.Namespace) -> None:
    """Save the pipeline, and draw it."""
    if args.out is None and args.picture is None:
        raise FerKitError("nothing to do: give --out FILE to save the pipeline, or --picture FILE to draw its results")
    file = pipeline_file.open_file(args.pipeline)
    if args.out is not None:
        save(file, args.out)
        print(f"wrote {args.out} ({pipeline_file.open_file(f'{args.out}').name})")
    if args.picture is not None:
        draw(file, args)
        print(f"wrote {args.picture}: each face, then {DRAWS} results of {file.name}")


def save(file: pipeline_file.AugmentFile, out: Path) -> None:
    """Write the pipeline to `out`.

    Raises:
        FerKitError: the suffix is wrong, or the file exists: an existing file may have been edited.
    """
    if out.suffix.lower() not in pipeline_file.SUFFIXES:
        raise FerKitError(f"--out {out}: allowed are files {', '.join(pipeline_file.SUFFIXES)}")
    if out.exists():
        raise FerKitError(f"--out {out}: exists already; name another file, or remove the existing file")
    atomic.write_text(out, pipeline_file.text_of(file.content, out.suffix.lower() != ".json"))


def draw(file: pipeline_file.AugmentFile, args: argparse.Namespace) -> None:
    """Draw train faces: each unchanged, then some results of the pipeline.

    Raises:
        FerKitError: the suffix is wrong, the pipeline fails, or the competition's files are not found.
    """
    if args.picture.suffix.lower() != ".png":
        raise FerKitError(f"--picture {args.picture}: allowed are files .png")
    import numpy as np

    from fer_kit.batches.pipeline import Pipeline
    from fer_kit.drawing import pictures

    pipeline = Pipeline(file)
    train = loading.load(loading.find(args.data), args.runs / folders.CACHE).train
    pipeline.try_on(np.array(train.images[0]))
    cells: list[Any] = []
    for row in range(min(FACES, len(train.images))):
        face = np.array(train.images[row])
        cells.append(face)
        for seed in range(DRAWS):
            made = pipeline(face, DRAWS * row + seed)
            cells.append(made if made.dtype == np.uint8 else np.rint(made * 255).astype(np.uint8))
    captions = (["unchanged", *[""] * DRAWS] * FACES)[: len(cells)]
    pictures.save(pictures.face_sheet(np.stack(cells), captions, DRAWS + 1, f"{file.name}"), args.picture)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0, 2 for a user error, 130 when interrupted."""
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
