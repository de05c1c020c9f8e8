"""Export a run, fold or blend: ONNX, a torch.export program, or a packed file of fer_kit.

python -m fer_kit.export vgg_small --out vgg_small.onnx
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from fer_kit import cli
from fer_kit.errors import FerKitError

ONNX, TORCH, PACKAGE = "onnx", "torch", "package"
SUFFIXES = {ONNX: ".onnx", TORCH: ".pt2", PACKAGE: ".safetensors"}


def build_parser() -> argparse.ArgumentParser:
    """The command line of `python -m fer_kit.export`."""
    parser = cli.parser(
        "python -m fer_kit.export",
        "Export a run, fold or blend with normalisation, test-time views and blend weights inside: uint8 faces (N, 48, "
        "48) in, probabilities out. The file is compared with the original on up to 1,000 faces; a model card is "
        "written beside it.",
    )
    parser.add_argument("source", metavar="SOURCE", help="a run, a fold (RUN/fold0, RUN/foldall) or a blend")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the new file: .onnx, .pt2 or .safetensors"
    )
    parser.add_argument(
        "--format",
        choices=tuple(SUFFIXES),
        help="onnx: for onnxruntime and others; torch: for torch.export.load; package: weights in float16 for fer-kit "
        "classify --by FILE. By default as the ending of --out says",
    )
    parser.add_argument(
        "--int8", action="store_true", help="onnx: convolutions and matrix products in int8; tells the loss"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs")
    parser.add_argument("--data", help="folder with the competition's files, for the check; searched for if not given")
    return parser


def body(args: argparse.Namespace) -> None:
    """Check the options, export, print."""
    chosen = args.format or next((name for name, suffix in SUFFIXES.items() if args.out.suffix == suffix), None)
    if chosen is None or args.out.suffix != SUFFIXES[chosen]:
        allowed = f"a name that ends in {SUFFIXES[chosen]}" if chosen else f"--format {', '.join(SUFFIXES)}"
        raise FerKitError(f"--out {args.out}: give {allowed}")
    if args.int8 and chosen != ONNX:
        raise FerKitError(f"--int8 has no effect with --format {chosen}; drop it, or take --format {ONNX}")
    from fer_kit.export import write

    for line in write.write(args.runs, args.source, chosen, args.out, args.data, args.int8):
        print(line, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0, 2 for a user error, 130 when interrupted."""
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
