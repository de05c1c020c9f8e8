"""`python -m fer_kit.download`: the competition's files from Kaggle, unpacked, and whether they are genuine."""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from fer_kit import cli
from fer_kit.data import places
from fer_kit.errors import FerKitError
from fer_kit.files import lock, unzip
from fer_kit.kaggle.client import COMPETITION, RULES_URL, Client

# torchvision.datasets.FER2013 knows the same
MD5 = {
    "train.csv": "3f0dfb3d3fd99c811a1299cb947e3131",
    "test.csv": "b02c2298636a634e8c2faabbf3ea9a23",
    "fer2013.csv": "f8428a1edbd21e88f42c73edd2a14f95",
    "icml_face_data.csv": "b114b9e04e6949e5fe8b6a98b3892b1d",
}

# Kaggle does not tell sizes beforehand. The zip holds train.csv (240 MB), test.csv (60 MB), icml_face_data.csv (300 MB)
# and an archive of the same rows (100 MB); digits shrink to a little less than a third. Rounded up.
ZIP_BYTES, UNPACKED_BYTES = 320_000_000, 720_000_000
_WORKSHOP = ".download"
_MEGABYTE = 1_000_000


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = cli.parser(
        "python -m fer_kit.download",
        "Fetch the competition's files from Kaggle, check and unpack them. Needs Kaggle credentials, and the rules "
        f"accepted at {RULES_URL}. What is there already is only checked; an interrupted download goes on.",
    )
    parser.add_argument("--out", type=Path, default=Path("data"), metavar="DIR", help="where the files go")
    parser.add_argument("--force", action="store_true", help="fetch again and replace files that are there")
    parser.add_argument("--keep-zip", action="store_true", help="keep Kaggle's zip beside the files")
    return parser


def body(args: argparse.Namespace) -> None:
    """Do what the command line says."""
    out: Path = args.out.expanduser()
    if out.exists() and not out.is_dir():
        raise FerKitError(f"--out {out}: is a file; name a folder")
    if not args.force and _is_complete(out):
        print(f"{out} holds the competition's files already (--force fetches them again)")
    else:
        with lock.held(out / _WORKSHOP, "another process downloads into this folder"):
            _fetch(out, again=args.force, keep_zip=args.keep_zip)
        if not _is_complete(out):
            raise FerKitError(f"{out}: Kaggle's zip held no {' and '.join((places.TRAIN, places.TEST))}")
    for line in verdicts(out):
        print(line)
    print("next: python -m fer_kit.folds" + ("" if out == Path("data") else f" --data {out}"))


def verdicts(folder: Path) -> list[str]:
    """A line for each data file below `folder`: "genuine", or "other content" with both md5 sums."""
    lines = []
    for name, source in places.sources(folder).items():
        with source.open() as file:
            digest = hashlib.md5(usedforsecurity=False)
            while block := file.read(1 << 20):
                digest.update(block)
        found = digest.hexdigest()
        other = f"other content: md5 {found}, known is {MD5[name]}; scores will not compare with published ones"
        lines.append(f"  {source.name}: {'genuine' if found == MD5[name] else other}")
    return lines


def _is_complete(out: Path) -> bool:
    """Whether `fer_kit.data` could read `out`."""
    if not out.is_dir():
        return False
    try:
        found = places.sources(out).keys()
    except FerKitError as error:
        print(f"{error}: fetching the files anew")
        return False
    return {places.TRAIN, places.TEST} <= found or bool(found & set(places.WHOLE))


def _fetch(out: Path, *, again: bool, keep_zip: bool) -> None:
    """Download into a hidden folder below `out`, which stays where that fails so that the next try goes on there."""
    workshop = out / _WORKSHOP
    if again and not workshop.is_symlink():
        shutil.rmtree(workshop, ignore_errors=True)
    part = workshop / f"{COMPETITION}.zip"
    for place in (workshop, part):
        if place.is_symlink():
            raise FerKitError(f"{place}: is a symbolic link, and a download would be written where it leads; remove it")
    here = part.stat().st_size if part.exists() else 0
    need_space(out, ZIP_BYTES - min(here, ZIP_BYTES) + UNPACKED_BYTES, "the zip and its files, about")
    print(
        f"fetching about {ZIP_BYTES // _MEGABYTE} MB from Kaggle{', going on where it stopped' if here else ''}",
        flush=True,
    )
    path = Client().download_competition(COMPETITION, workshop, tick=lambda: _show(part))
    _show(part, end="\n")
    members = unzip.members(path)
    need_space(out, sum(member.file_size for member in members), "the files")
    unzip.unpack(path, members, out)
    print(f"unpacked into {out}: {', '.join(member.filename for member in members)}")
    if keep_zip:
        path.replace(out / path.name)
    shutil.rmtree(workshop, ignore_errors=True)


def need_space(folder: Path, needed_bytes: int, what: str) -> None:
    """Raise FerKitError where the disk of `folder`, which need not exist, has less than `needed_bytes` free."""
    disk = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(disk).free
    if free < needed_bytes:
        raise FerKitError(
            f"{folder}: {free // _MEGABYTE:,} MB free, {what} {needed_bytes // _MEGABYTE:,} MB needed; free space or "
            "choose another folder with --out"
        )


def _show(part: Path, end: str = "") -> None:
    """The bytes so far, on a terminal."""
    if sys.stderr.isatty() and part.exists():
        print(f"\r  {part.stat().st_size // _MEGABYTE:,} MB ", end=end, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
