"""Which folds a network holds out: one, none, or two. How that is typed, named as a folder, and seeded.

| typed | as a value | folder | what for |
| --- | --- | --- | --- |
| 3 | 3 | fold3 | out-of-fold predictions |
| full | () | foldall | the full fit: every row but watched ones is trained on, none is out of fold; also typed "all" |
| 1+3 | (1, 3) | fold1+3 | a teacher for students of fold 1 and of fold 3, see `ensembles.targets` |
"""

from __future__ import annotations

import argparse
import re

from fer_kit.errors import FerKitError

Fold = int | tuple[int, ...]

FULL = -1  # stands for () where a prediction file or a record keeps one number
ALL: Fold = ()
FULL_WORDS = ("full", "all")  # the full fit as typed; "all" is the older word
EVERY = "every"  # of --folds: each fold of folds.csv

_TYPED = re.compile(r"0|[1-9][0-9]{0,5}")


def parse(text: str) -> Fold:
    """The fold in a command line; a type for argparse.

    Raises:
        argparse.ArgumentTypeError: not a number, "full" or two different numbers joined by "+".
    """
    if text in FULL_WORDS:
        return ALL
    if text == EVERY or re.fullmatch(r"\d+[-,]\d+.*", text):
        raise argparse.ArgumentTypeError(f"'{text}' means several folds; write --folds {text}")
    parts = text.split("+")
    numbers = sorted({int(part) for part in parts if _TYPED.fullmatch(part)})
    if len(numbers) != len(parts) or len(parts) > 2:
        raise argparse.ArgumentTypeError(f"'{text}' is no fold; give its number, e.g. 3, or full, or two as 1+3")
    return numbers[0] if len(numbers) == 1 else tuple(numbers)


def parse_list(text: str, count: int, option: str = "--folds") -> tuple[Fold, ...]:
    """The folds that `0-4`, `0,2`, `every`, `full` or several of them joined by commas name, in the order given.

    Raises:
        FerKitError: not of that form, a fold twice, or a fold that does not exist among `count`.
    """
    folds: list[Fold] = []
    for part in (part.strip() for part in text.split(",")):
        if part == EVERY:
            folds += range(count)
        elif part == FULL_WORDS[0]:
            folds.append(ALL)
        elif part == "all":
            raise FerKitError(
                f"{option} {text}: 'all' could mean every fold or the fit on all rows; write every, full or every,full"
            )
        elif match := re.fullmatch(r"(\d{1,4})(?:\s*-\s*(\d{1,4}))?", part):
            first, last = int(match[1]), int(match[2] or match[1])
            if last < first:
                raise FerKitError(f"{option} {text}: {first}-{last} runs backwards; write {last}-{first}")
            folds += range(first, last + 1)
        elif re.fullmatch(r"\d+\+\d+", part):
            folds.append(_parse_pair(part, option, text))
        else:
            raise FerKitError(f"{option} {text}: write 0-4, 0,2, every (each fold of folds.csv) or full (the full fit)")
    for fold in folds:
        beyond = [number for number in left_out(fold) if number >= count]
        if beyond:
            raise FerKitError(f"{option} {text}: fold {beyond[0]} does not exist; choose 0 to {count - 1}")
        if folds.count(fold) > 1:
            raise FerKitError(f"{option} {text}: {in_words(fold)} is named twice")
    return tuple(folds)


def _parse_pair(part: str, option: str, text: str) -> Fold:
    try:
        return parse(part)
    except argparse.ArgumentTypeError as error:
        raise FerKitError(f"{option} {text}: {error}") from None


def typed(fold: Fold) -> str:
    """The word for `--fold`: `3`, `full`, `1+3`."""
    return "+".join(map(str, left_out(fold))) or FULL_WORDS[0]


def left_out(fold: Fold) -> tuple[int, ...]:
    """The numbers of the folds held out, ascending."""
    return (fold,) if isinstance(fold, int) else fold


def others(fold: Fold, count: int) -> str:
    """The folds of `count` that `fold` does not leave out, as --folds takes them: `1,2,3,4`."""
    return ",".join(str(number) for number in range(count) if number not in left_out(fold))


def folder_name(fold: Fold) -> str:
    """The folder's name inside its run."""
    return "fold" + ("+".join(map(str, left_out(fold))) or "all")


def in_words(fold: Fold) -> str:
    """For messages: `fold 3`, `the full fit`, `fold 1+3`."""
    return f"fold {typed(fold)}" if left_out(fold) else "the full fit"


def recorded(fold: Fold) -> int | list[int]:
    """For prediction files and records."""
    if isinstance(fold, int):
        return fold
    return list(fold) or FULL


def seed_number(fold: Fold, count: int) -> int:
    """A different number for each choice of folds out of `count`, for seeds; for a single fold its own number."""
    if isinstance(fold, int):
        return fold
    return count if not fold else count + 1 + fold[0] * count + fold[1]
