"""Which csv files of the competition a folder, an archive or a file has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from fer_kit.data import archives
from fer_kit.data.archives import GZIP, PLAIN, TAR, ZIP, Source
from fer_kit.errors import FerKitError

TRAIN, TEST = "train.csv", "test.csv"
WHOLE = ("fer2013.csv", "icml_face_data.csv")  # each has the train and the test rows; the first is preferred
NAMES = (TRAIN, TEST, *WHOLE)
PARQUET_MAGIC = b"PAR1"
_ZIPS = re.compile(r".*\.zip", re.IGNORECASE)
_TARS = re.compile(r".*\.(tar|tgz|tar\.gz)", re.IGNORECASE)


def keys(sources: Sequence[Source]) -> list[str]:
    """The names under which sources are read, for the key of the cache."""
    return [source.member or source.path.name for source in sources]


def plain_name(name: str) -> str:
    """The name of a file in lower case, without the ending of gzip."""
    return name.lower().removesuffix(".gz")


def sources(place: Path, answers: bool = False) -> dict[str, Source]:
    """The competition's csv files at `place` by name: a folder's own files first, then those in its archives.

    `place` may also be an archive or a csv file; a csv with another name counts as fer2013.csv. Tar files are opened
    only where the other files do not suffice.

    Args:
        answers: whether a file with the labels of the test rows is needed; otherwise train.csv with test.csv suffice.

    Raises:
        FerKitError: an archive that is needed is damaged or lacks the csv that it is named after; two copies differ in
            size.
    """
    if place.is_file():
        return _of_file(place, answers)
    found: dict[str, Source] = {}
    files = _files_in(place)
    for path in sorted(files, key=lambda path: (path.name not in NAMES, path.name)):  # exact names first
        if plain_name(path.name) in NAMES:
            for name, source in _at(path, plain_name(path.name)).items():
                _add(found, name, source)
    plain_is_enough = {TRAIN, TEST} <= found.keys() or (found.keys() & set(WHOLE) and not found.keys() & {TRAIN, TEST})
    for pattern in (_ZIPS, _TARS):
        for path in files:
            if not pattern.fullmatch(path.name) or (pattern is _TARS and not _needed(path, found, answers)):
                continue
            stem = path.name.lower().removesuffix(".zip")
            try:
                packed = _in_archive(path, (stem,) if stem in NAMES else ())
            except FerKitError:
                if not plain_is_enough:
                    raise
                continue
            for name, source in packed.items():
                _add(found, name, source)
    return {name: found[name] for name in NAMES if name in found}


def _of_file(place: Path, answers: bool) -> dict[str, Source]:
    name = plain_name(place.name.lower().removesuffix(".zip"))
    if name in (TRAIN, TEST):
        return sources(place.parent, answers)
    kind = archives.kind_of(place)
    if kind in (ZIP, TAR) or place.suffix.lower() == ".zip":
        return _in_archive(place, (name,) if name in NAMES else ())
    if kind == PLAIN and begins_with(place, PARQUET_MAGIC):
        return {}
    return {name if name in WHOLE else WHOLE[0]: archives.whole(place)}


def _at(path: Path, name: str) -> dict[str, Source]:
    """The csv that a file with the name of one holds; an archive may have that name too."""
    kind = archives.kind_of(path)
    return {name: archives.whole(path)} if kind in (PLAIN, GZIP) else _in_archive(path, (name,))


def _add(found: dict[str, Source], name: str, source: Source) -> None:
    other = found.setdefault(name, source)
    if other.size_bytes != source.size_bytes:
        raise FerKitError(
            f"{other.name} ({other.size_bytes:,} bytes) and {source.name} ({source.size_bytes:,} bytes) "
            "differ; remove the wrong one"
        )


def _needed(tar: Path, found: dict[str, Source], answers: bool) -> bool:
    """Whether a tar file is to be looked into. For answers alone, its name must say that it has them."""
    if found.keys() & set(WHOLE):
        return False
    if {TRAIN, TEST} <= found.keys():
        return answers and tar.name.lower().startswith(("fer2013.", "icml_face_data."))
    return True


def _in_archive(path: Path, must_hold: Sequence[str]) -> dict[str, Source]:
    def wanted(member: str) -> bool:
        return member.rpartition("/")[2].lower() in NAMES and not member.startswith("__MACOSX/")

    def enough(names: Sequence[str]) -> bool:
        there = {name.rpartition("/")[2].lower() for name in names}
        return {TRAIN, TEST} <= there or bool(there & set(WHOLE))

    found: dict[str, Source] = {}
    for source in archives.members(path, wanted, enough):
        assert source.member is not None
        name = source.member.rpartition("/")[2].lower()
        if name in found:
            raise FerKitError(f"{path}: contains both {found[name].member} and {source.member}; unpack the right one")
        found[name] = source
    if must_hold and not found.keys() & set(must_hold):
        raise FerKitError(f"{path}: contains no {' or '.join(must_hold)}, but {archives.names_in(path)}")
    return found


def begins_with(path: Path, magic: bytes) -> bool:
    """True if the content of a file begins with these bytes; False if the file cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except OSError:
        return False


def _files_in(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_file())
    except OSError:
        return []
