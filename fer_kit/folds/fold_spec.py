"""What a network leaves out of its training: one fold, none of them, or two. How that is typed, filed and seeded.

| typed | as a value | folder | what for |
| --- | --- | --- | --- |
| 3 | 3 | fold3 | out-of-fold predictions |
| all | () | foldall | the full fit: every row but watched ones is trained on, none is out of fold |
| 1+3 | (1, 3) | fold1+3 | a teacher for students of fold 1 and of fold 3, see `ensembles.targets` |
"""

from __future__ import annotations

import argparse
import re

Fold = int | tuple[int, ...]

FULL = -1  # stands for () where a prediction file or a record keeps one number
ALL: Fold = ()

_TYPED = re.compile(r"0|[1-9][0-9]{0,5}")


def parse(text: str) -> Fold:
    """The fold that somebody typed; made for argparse.

    Raises:
        argparse.ArgumentTypeError: not a number, "all" or two different numbers joined by "+".
    """
    if text == "all":
        return ALL
    parts = text.split("+")
    numbers = sorted({int(part) for part in parts if _TYPED.fullmatch(part)})
    if len(numbers) != len(parts) or len(parts) > 2:
        raise argparse.ArgumentTypeError(f"'{text}' is no fold; give its number, e.g. 3, or all, or two as 1+3")
    return numbers[0] if len(numbers) == 1 else tuple(numbers)


def left_out(fold: Fold) -> tuple[int, ...]:
    """The numbers of the folds left out, ascending."""
    return (fold,) if isinstance(fold, int) else fold


def folder_name(fold: Fold) -> str:
    """The folder's name inside its run."""
    return "fold" + ("+".join(map(str, left_out(fold))) or "all")


def in_words(fold: Fold) -> str:
    """For messages: `fold 3`, `fold all`, `fold 1+3`."""
    return folder_name(fold).replace("fold", "fold ")


def recorded(fold: Fold) -> int | list[int]:
    """For prediction files and records."""
    if isinstance(fold, int):
        return fold
    return list(fold) or FULL


def seed_number(fold: Fold, count: int) -> int:
    """A number of its own for each fold of `count`, for seeds: that of a single fold is the fold's."""
    if isinstance(fold, int):
        return fold
    return count if not fold else count + 1 + fold[0] * count + fold[1]
