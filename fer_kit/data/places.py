"""Where the competition's data are: in a folder, a file or a Kaggle mount."""

from __future__ import annotations

import os
import re
from pathlib import Path

from fer_kit.competition import COMPETITION as SLUG
from fer_kit.data import archives, formats
from fer_kit.data.csv_files import TEST, TRAIN, WHOLE
from fer_kit.data.formats.splits import split_of_folder
from fer_kit.errors import FerKitError
from fer_kit.files import atomic

KAGGLE_INPUT = Path("/kaggle/input")
ENVIRONMENT = "FER_KIT_DATA"
LOOKED_FOR = "; ".join(one.TEXT for one in formats.FORMATS)

_SEARCH_DEPTH, _SEARCH_FOLDERS = 4, 1000
_SUGGESTED = 20  # folders that are looked into for a suggestion


def find(explicit: str | Path | None = None, inputs: Path | None = None) -> Path:
    """The folder with the competition's data, or the file that was named.

    Searched in this order: `explicit` (`--data`), the environment variable FER_KIT_DATA, both layouts of Kaggle's
    mount of the competition, mounted datasets with fer2013.csv or icml_face_data.csv, ./data. A place that the user
    names must have the data; the search does not go on to the next place. `inputs` is where Kaggle mounts its
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
            if formats.find(path) is None:
                raise FerKitError(nothing_in(path, f" (from {origin})"))
            return path
    for place in (inputs / SLUG, inputs / "competitions" / SLUG):
        if formats.find(place) is not None:
            return place
    datasets = _datasets(inputs)
    if len(datasets) > 1:
        raise FerKitError(
            f"several mounted datasets have the files: {', '.join(map(str, datasets))}; choose one with --data"
        )
    for place in (*datasets, Path("data")):
        if formats.find(place) is not None:
            return place
    raise FerKitError(
        f"no competition files found; tried --data (not given), {ENVIRONMENT} (not set), "
        f"{inputs}/{SLUG}, {inputs}/competitions/{SLUG}, {inputs}/**/{WHOLE[0]}, ./data; "
        f"put {TRAIN} and {TEST} (or {WHOLE[0]}) into ./data or name their folder with --data"
    )


def nothing_in(place: Path, origin: str = "") -> str:
    """Say that `place` has no data in a known format, what lies there instead, and what to do about it."""
    return f"{place}: holds no competition files{origin}; looked for {LOOKED_FOR}, plain or packed; {_instead(place)}"


def _instead(place: Path) -> str:
    if place.is_file():
        if archives.kind_of(place) in (archives.ZIP, archives.TAR):
            return f"the archive contains {archives.names_in(place)}"
        return f"{place.name} is another file"
    names = sorted(os.listdir(place)) if os.access(place, os.R_OK) else []
    for name in names:
        if (place / name).is_symlink() and not (place / name).exists():
            return f"{place / name} is a link to {os.readlink(place / name)}, which does not exist: repair the link"
        if name in (TRAIN, TEST, *WHOLE) and not (place / name).is_file():
            return f"{place / name} is no file: put the file of this name in its place"
        if copy := re.fullmatch(r"(.+?)( - copy)? ?(\(\d+\))?(\.csv)", name, re.IGNORECASE):
            plain = f"{copy[1]}{copy[4]}".lower()
            if plain != name and plain in (TRAIN, TEST, *WHOLE) and not (place / plain).exists():
                return f"rename {place / name} to {plain}"
        if re.search(r"\.(bz2|xz|7z|rar|zst)$", name.lower()):
            return f"{place / name} may contain them: unpack it there"
    if split_of_folder(place.name) is not None and _has_data(place.parent):
        return f"did you mean {place.parent}?"
    for folder in _folders_in(place)[:_SUGGESTED]:
        if _has_data(folder):
            return f"did you mean {folder}?"
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"there is {shown or 'nothing'}: get the files with python -m fer_kit.download"


def _has_data(place: Path) -> bool:
    try:
        return formats.find(place) is not None
    except FerKitError:
        return False


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
