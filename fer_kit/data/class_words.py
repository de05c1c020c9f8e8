"""The words and numbers by which copies of the data call the seven classes."""

from __future__ import annotations

from fer_kit.competition import CLASSES, NUM_CLASSES

_OTHER_WORDS = (
    ("anger",),
    ("disgusted",),
    ("fearful", "scared", "afraid"),
    ("happiness",),
    ("sadness",),
    ("surprised",),
    (),
)
WORDS = {
    word: code
    for code, (name, others) in enumerate(zip(CLASSES, _OTHER_WORDS, strict=True))
    for word in (name.lower(), *others)
}
ALLOWED = f"0 to {NUM_CLASSES - 1} ({CLASSES[0]} to {CLASSES[-1]}), or the name of a class"


def class_of(text: str) -> int | None:
    """The class that `text` names by a word, in any case, or by a number 0 to 6; None if it names no class.

    Leading zeros are allowed, spaces around the text are ignored.
    """
    plain = text.strip(" ").lower()
    if plain.isascii() and plain.isdigit():
        significant = plain.lstrip("0") or "0"
        return int(significant) if len(significant) == 1 and int(significant) < NUM_CLASSES else None
    return WORDS.get(plain)
