"""Which rows a folder or file of a copy holds, by the words in its name: train rows, or test rows of one half."""

from __future__ import annotations

import re

from fer_kit.data.csv_reader import USAGES
from fer_kit.data.formats.rows import UNKNOWN_HALF

TRAINING, PUBLIC, PRIVATE = range(len(USAGES))
_WORDS = {
    **dict.fromkeys(("train", "training"), TRAINING),
    **dict.fromkeys(("test", "testing", "validation", "valid", "val", "dev"), UNKNOWN_HALF),
    **dict.fromkeys(("publictest", "public"), PUBLIC),
    **dict.fromkeys(("privatetest", "private"), PRIVATE),
}
ALLOWED = "train, test, validation, PublicTest or PrivateTest"


def split_of(name: str) -> int | None:
    """The position in USAGES that a word of `name` states, UNKNOWN_HALF for test rows of any half, else None.

    Copies use the names validation and test for halves of their own, so only PublicTest and PrivateTest tell the half.
    """
    words = re.split(r"[^a-z]+", re.sub(r"(?i)(public|private)[ _-]?test", r"\1test", name).lower())
    found = [_WORDS[word] for word in words if word in _WORDS]
    return found[0] if found else None


def split_of_folder(name: str) -> int | None:
    """As `split_of`, for a name that is such a word and nothing else: `train`, `Public Test`, `FER2013Train`."""
    return _WORDS.get(re.sub("[ _-]", "", name.lower()).removeprefix("fer2013"))
