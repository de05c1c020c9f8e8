"""Where the competition's files are: plain or in a .zip, in a folder or a Kaggle mount."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fer_kit.competition import COMPETITION as SLUG
from fer_kit.errors import FerKitError
from fer_kit.files import atomic, unzip

KAGGLE_INPUT = Path("/kaggle/input")
ENVIRONMENT = "FER_KIT_DATA"

TRAIN, TEST = "train.csv", "test.csv"
WHOLE = ("fer2013.csv", "icml_face_data.csv")  # each has the train and the test rows; the first is preferred
NAMES = (TRAIN, TEST, *WHOLE)

_SEARCH_DEPTH, _SEARCH_FOLDERS = 4, 1000


@dataclass(frozen=True)
class Source:
    """One csv file: `path` itself, or `member` of the zip file `path`. `size_bytes` is the csv's."""

    path: Path
    member: str | None
    size_bytes: int

    @property
    def name(self) -> str:
        """The name in error messages."""
        return f"{self.path}" if self.member is None else f"{self.path}:{self.member}"

    @contextlib.contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The csv's bytes; a zip is not unpacked.

        Raises:
            FerKitError: the file is missing or unreadable, or the zip is damaged or encrypted; also raised while the
                `with` block reads.
        """
        try:
            if self.member is None:
                with self.path.open("rb", buffering=0) as file:
                    yield file
            else:
                with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as file:
                    yield file
        except OSError as error:
            raise FerKitError(f"{self.name}: cannot be read ({error.strerror or error})") from None
        except unzip.FAULTS as error:
            if self.member is None:
                raise
            raise FerKitError(f"{self.name}: damaged or unreadable zip ({error}); download it again") from None


def find(explicit: str | Path | None = None, inputs: Path | None = None) -> Path:
    """The folder with the competition's files, or the csv or zip file that was named.

    Searched in this order: `explicit` (`--data`), the environment variable FER_KIT_DATA, both layouts of Kaggle's
    mount of the competition, mounted datasets with fer2013.csv or icml_face_data.csv, ./data. A place that the user
    names must have the files; the search does not go on to the next place. `inputs` is where Kaggle mounts its
    inputs, /kaggle/input if None.

    Raises:
        FerKitError: a named place lacks the files, or no place has them; the message lists the places.
    """
    inputs = KAGGLE_INPUT if inputs is None else inputs
    named = [(explicit, "--data"), (os.environ.get(ENVIRONMENT) or None, ENVIRONMENT)]
    for value, origin in named:
        if value is not None:
            path = atomic.expanded(value)
            if not path.exists():
                raise FerKitError(f"{path}: no such file or folder (from {origin})")
            if not sources(path):
                raise FerKitError(
                    f"{path}: holds no competition files (from {origin}); looked for {', '.join(NAMES)}, plain or in "
                    f"a .zip; {instead(path)}"
                )
            return path
    for place in (inputs / SLUG, inputs / "competitions" / SLUG):
        if sources(place):
            return place
    datasets = _datasets(inputs)
    if len(datasets) > 1:
        raise FerKitError(
            f"several mounted datasets have the files: {', '.join(map(str, datasets))}; choose one with --data"
        )
    for place in (*datasets, Path("data")):
        if sources(place):
            return place
    raise FerKitError(
        f"no competition files found; tried --data (not given), {ENVIRONMENT} (not set), "
        f"{inputs}/{SLUG}, {inputs}/competitions/{SLUG}, {inputs}/**/{WHOLE[0]}, ./data; "
        f"put {TRAIN} and {TEST} (or {WHOLE[0]}, plain or zipped) into ./data or name their folder with --data"
    )


def instead(place: Path) -> str:
    """What `place`, which has no competition files, holds instead, and what to do about it."""
    if place.is_file():
        return f"{place.name} is another file"
    names = sorted(os.listdir(place)) if os.access(place, os.R_OK) else []
    for name in names:
        plain = re.sub(r"\.(tar(\.\w+)?|tgz|gz|bz2|xz|7z|rar|zst)$", "", name.lower())
        if plain != name.lower() and (plain in NAMES or f"{plain}.csv" in NAMES):
            return f"{place / name} may contain them: unpack it there"
        if name.lower() in NAMES and not (place / name).exists():
            return f"{place / name} is a link to {os.readlink(place / name)}, which does not exist: repair the link"
        if name.lower().removesuffix(".zip") in NAMES and name != name.lower():
            return f"{place / name} differs in upper and lower case: rename it to {name.lower()}"
    folders = _folders_in(place)
    if inside := next((folder for folder in folders if any((folder / name).is_file() for name in NAMES)), None):
        return f"did you mean {inside}?"
    if any(path.suffix.lower() in (".png", ".jpg", ".jpeg") for path in itertools.islice(place.rglob("*"), 1000)):
        return "there are images, but only the csv files are read: get them with python -m fer_kit.download"
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"there is {shown or 'nothing'}: get the files with python -m fer_kit.download"


def _datasets(root: Path) -> list[Path]:
    """Folders below `root` with a csv of train and test rows; at most 4 levels and 1,000 folders are searched."""
    found: list[Path] = []
    level, left = [root], _SEARCH_FOLDERS
    for _ in range(_SEARCH_DEPTH):
        level = [child for folder in level for child in _folders_in(folder)][:left]
        left -= len(level)
        found += [folder for folder in level if any((folder / name).is_file() for name in WHOLE)]
    return found


def _folders_in(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:  # without a stat of each of 100,000 images
            return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:  # missing, not a folder, or not readable: nothing to find
        return []


def sources(place: Path) -> dict[str, Source]:
    """The competition's csv files at `place` by name: a folder's plain files first, then those in its zip files.

    `place` may also be a zip or a csv file; a csv with another name counts as fer2013.csv.

    Raises:
        FerKitError: a zip that is needed is damaged or lacks the csv that it is named after; two copies differ in size.
    """
    if place.is_file():
        if place.name.removesuffix(".zip") in (TRAIN, TEST):
            return sources(place.parent)
        if zipfile.is_zipfile(place) or place.suffix == ".zip":
            return _in_zip(place, must_hold=NAMES)
        return {place.name if place.name in WHOLE else WHOLE[0]: _plain(place)}
    found = {name: _plain(place / name) for name in NAMES if (place / name).is_file()}
    plain_is_enough = {TRAIN, TEST} <= found.keys() or (found.keys() & set(WHOLE) and not found.keys() & {TRAIN, TEST})
    for path in sorted(path for path in place.glob("*.zip") if path.is_file()):
        promised = (path.stem,) if path.stem in NAMES else ()
        try:
            zipped = _in_zip(path, must_hold=promised)
        except FerKitError:
            if not plain_is_enough:
                raise
            continue
        for name, source in zipped.items():
            other = found.setdefault(name, source)
            if other.size_bytes != source.size_bytes:
                raise FerKitError(
                    f"{other.name} ({other.size_bytes:,} bytes) and {source.name} ({source.size_bytes:,} bytes) "
                    "differ; remove the wrong one"
                )
    return found


def _plain(path: Path) -> Source:
    return Source(path, None, path.stat().st_size)


def _in_zip(path: Path, must_hold: tuple[str, ...]) -> dict[str, Source]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except unzip.UNREADABLE as error:
        raise FerKitError(f"{path}: damaged or unreadable zip ({error}); download it again") from None
    found: dict[str, Source] = {}
    for member in members:
        name = member.filename.rpartition("/")[2]
        if name not in NAMES or member.filename.startswith("__MACOSX/"):
            continue
        if member.flag_bits & 1:
            raise FerKitError(f"{path}: {member.filename} is encrypted; unpack it first")
        if name in found:
            raise FerKitError(f"{path}: contains both {found[name].member} and {member.filename}; unpack the right one")
        if fault := unzip.bomb(member.file_size, path):
            raise FerKitError(f"{path}: {member.filename} {fault}; download it again")
        found[name] = Source(path, member.filename, member.file_size)
    if must_hold and not found.keys() & set(must_hold):
        inside = ", ".join(member.filename for member in members[:5]) or "nothing"
        raise FerKitError(f"{path}: contains no {' or '.join(must_hold)}, but {inside}")
    return found
