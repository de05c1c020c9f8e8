"""`fer-kit download`: fetch the competition's files from Kaggle, unpack them and check that they are genuine."""

from __future__ import annotations

import argparse
import hashlib
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from fer_kit import cli
from fer_kit.data import csv_files, csv_reader, genuine
from fer_kit.data.archives import Source
from fer_kit.data.csv_reader import LABEL, PIXEL, USAGE
from fer_kit.errors import FerKitError
from fer_kit.files import atomic, lock, unzip
from fer_kit.kaggle.client import COMPETITION, RULES_URL, Client

# Kaggle does not announce the sizes. The zip contains train.csv (240 MB), test.csv (60 MB), icml_face_data.csv
# (300 MB) and an archive of the same rows (100 MB); digits compress to a little less than a third. Rounded up.
ZIP_BYTES, UNPACKED_BYTES = 320_000_000, 720_000_000
_WORKSHOP = ".download"
_MEGABYTE = 1_000_000


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = cli.parser(
        "python -m fer_kit.download",
        "Download the competition's files from Kaggle, unpack and check them. This needs Kaggle credentials, and the "
        f"rules accepted at {RULES_URL}. Existing files are only checked; an interrupted download is continued.",
    )
    parser.add_argument("--out", type=Path, default=Path("data"), metavar="DIR", help="folder for the files")
    parser.add_argument("--force", action="store_true", help="download again and replace existing files")
    parser.add_argument("--keep-zip", action="store_true", help="keep Kaggle's zip beside the files")
    return parser


def body(args: argparse.Namespace) -> None:
    """Download and check the files."""
    out: Path = atomic.expanded(args.out)
    if out.exists() and not out.is_dir():
        raise FerKitError(f"--out {out}: is a file; name a folder")
    if not args.force and _is_complete(out):
        print(f"{out} already has the competition's files (--force downloads them again)")
    else:
        with lock.held(out / _WORKSHOP, "another process downloads into this folder"):
            _fetch(out, again=args.force, keep_zip=args.keep_zip)
        if not _is_complete(out):
            raise FerKitError(f"{out}: Kaggle's zip has no {' and '.join((csv_files.TRAIN, csv_files.TEST))}")
    for line in verdicts(out):
        print(line)
    print("next: python -m fer_kit.folds" + ("" if out == Path("data") else f" --data {shlex.quote(str(out))}"))


def verdicts(folder: Path) -> list[str]:
    """A line for each data file in `folder`: whether its content is that of the genuine file.

    Images and labels count, in their order: other line ends, separators, quotes or archives are no other content.
    """
    return [f"  {source.name}: {_verdict(name, source)}" for name, source in csv_files.sources(folder).items()]


def _verdict(name: str, source: Source) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with source.open() as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() == genuine.MD5[name]:
        return "genuine"
    columns = {"train.csv": (LABEL, PIXEL), "test.csv": (PIXEL,)}.get(name, (LABEL, PIXEL, USAGE))
    try:
        with source.open() as file:
            rows = csv_reader.read(file, source.name, columns)
    except FerKitError as error:
        return f"not readable: {error}"
    if genuine.is_genuine(name, rows):
        return "genuine content, written otherwise (line ends, separators or quotes)"
    return (
        f"other content ({len(rows.images):,} rows; the genuine file has {genuine.ROWS[name]:,}): md5 "
        f"{digest.hexdigest()}, that of the genuine file is {genuine.MD5[name]}; scores on these data cannot be "
        "compared with published ones"
    )


def _is_complete(out: Path) -> bool:
    """Whether `out` holds the files that `fer_kit.data` reads."""
    if not out.is_dir():
        return False
    try:
        found = csv_files.sources(out).keys()
    except FerKitError as error:
        print(f"{error}: downloading the files again")
        return False
    return {csv_files.TRAIN, csv_files.TEST} <= found or bool(found & set(csv_files.WHOLE))


def _fetch(out: Path, *, again: bool, keep_zip: bool) -> None:
    """Download into a hidden folder below `out`; it remains after a failure, and the next call continues there."""
    workshop = out / _WORKSHOP
    if again and not workshop.is_symlink():
        shutil.rmtree(workshop, ignore_errors=True)
    part = workshop / f"{COMPETITION}.zip"
    for place in (workshop, part):
        if place.is_symlink():
            raise FerKitError(
                f"{place} is a symbolic link, and the download would be written to its target; remove the link"
            )
    here = part.stat().st_size if part.exists() else 0
    need_space(out, ZIP_BYTES - min(here, ZIP_BYTES) + UNPACKED_BYTES, "the zip and its files need about")
    print(
        f"downloading about {ZIP_BYTES // _MEGABYTE} MB from Kaggle{', from where it stopped' if here else ''}",
        flush=True,
    )
    path = Client().download_competition(COMPETITION, workshop, tick=lambda: _show(part))
    _show(part, end="\n")
    members = unzip.members(path)
    need_space(out, sum(member.file_size for member in members), "the files need")
    unzip.unpack(path, members, out)
    print(f"unpacked into {out}: {', '.join(member.filename for member in members)}")
    if keep_zip:
        path.replace(out / path.name)
    shutil.rmtree(workshop, ignore_errors=True)


def need_space(folder: Path, needed_bytes: int, what: str) -> None:
    """Raise FerKitError if the disk of `folder`, which need not exist, has less than `needed_bytes` free."""
    disk = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(disk).free
    if free < needed_bytes:
        raise FerKitError(
            f"{folder}: {free // _MEGABYTE:,} MB free, {what} {needed_bytes // _MEGABYTE:,} MB; free space or "
            "choose another folder with --out"
        )


def _show(part: Path, end: str = "") -> None:
    """Show the number of bytes downloaded so far, if stderr is a terminal."""
    if sys.stderr.isatty() and part.exists():
        print(f"\r  {part.stat().st_size // _MEGABYTE:,} MB ", end=end, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0, 2 for a user error, 130 when interrupted."""
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
