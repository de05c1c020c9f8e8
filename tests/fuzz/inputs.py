"""Broken files to read: whole ones with bytes and members changed, and bytes that never were a file."""

from __future__ import annotations

import io
import json
import random
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

# Pieces of text that readers stumble over: numbers that are none or too large, half characters, paths, nesting.
NASTY = [
    *(
        b"NaN",
        b"-Infinity",
        b"1e999",
        b"-1",
        b"-0.0",
        b"1" * 400,
        b"9" * 5000,
        b"1_0",
        b"0x10",
        b"\xef\xbc\x91",
        b"true",
    ),
    *(
        b"\x00",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\\ud800",
        b"\xed\xa0\x80",
        b"\r",
        b"\n",
        b"\r\n",
        b"\x1b[2J",
        b"\xe2\x80\xa8",
    ),
    *(b'"', b",", b";", b"'", b" " * 300, b"../x", b"/etc/passwd", b"C:\\x", b"[" * 2000, b"{" * 200, b'{"a":' * 300),
    *(b"]", b"}", b"null", b"2030-01-01T00:00:00Z", b"9999-12-31T23:59:59Z", b"__import__('os')"),
]


def havoc(content: bytes, seed: int, wholes: Sequence[bytes] = ()) -> bytes:
    """`content` after up to four changes: bytes flipped, inserted, cut out, doubled, moved; the end cut off.

    All of them from one seed, since hypothesis takes a tenth of a millisecond for each thing that it draws.
    """
    rng, changed = random.Random(seed), bytearray(content)
    for _ in range(rng.randrange(5)):
        place, length = rng.randrange(len(changed) + 1), rng.randrange(40)
        kind = rng.choice(["flip", "insert", "nasty", "replace", "cut", "double", "end", "splice", "lines"])
        if kind == "flip" and place < len(changed):
            changed[place] ^= rng.randrange(1, 256)
        elif kind == "insert":
            changed[place:place] = rng.randbytes(rng.randrange(8))
        elif kind == "nasty":
            changed[place:place] = rng.choice(NASTY)
        elif kind == "replace":
            changed[place : place + length] = rng.choice(NASTY)
        elif kind == "cut":
            del changed[place : place + length * rng.choice([1, 50])]
        elif kind == "double":
            changed[place:place] = changed[place : place + length]
        elif kind == "end":
            del changed[place:]
        elif kind == "splice" and wholes:
            other = rng.choice(wholes)
            changed[place:] = other[rng.randrange(len(other) + 1) :]
        elif kind == "lines":
            lines = bytes(changed).split(b"\n")
            changed = bytearray(b"\n".join(rng.sample(lines, len(lines)) if len(lines) < 99 else lines[::-1]))
    return bytes(changed)


def changed(wholes: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """One of `wholes` after `havoc`."""
    return st.builds(havoc, st.sampled_from(wholes), st.integers(0, 2**48), st.just(wholes))


def broken(*wholes: bytes) -> st.SearchStrategy[bytes]:
    """Mostly changed files, some random bytes."""
    return st.one_of(changed(wholes), changed(wholes), changed(wholes), st.binary(max_size=300))


# --- JSON ------------------------------------------------------------------------------------------------------------

NUMBERS = st.one_of(
    st.integers(-3, 12), st.sampled_from([2**31, 2**63, -(2**70), 10**400]), st.floats(), st.sampled_from([0.5, 1e300])
)
TEXTS = st.one_of(st.sampled_from(["", "../x", "/etc", "a\x00b", "\ud800", "x" * 5000, "\x1b[2J", "a\nb"]), st.text())
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=4,
)


@st.composite
def changed_json(draw: st.DrawFn, wholes: Sequence[Any]) -> Any:
    """One of `wholes` with up to three values at any depth replaced, dropped, doubled or added."""
    whole = json.loads(json.dumps(draw(st.sampled_from(wholes))))
    for _ in range(draw(st.integers(0, 3))):
        here = whole
        while isinstance(here, dict | list) and here:
            key = draw(st.sampled_from(sorted(here) if isinstance(here, dict) else range(len(here))))
            below = here[key]
            if isinstance(below, dict | list) and below and draw(st.booleans()):
                here = below
                continue
            kind = draw(st.sampled_from(["replace", "replace", "drop", "add"]))
            if kind == "replace":
                here[key] = draw(VALUES)
            elif kind == "drop":
                del here[key]
            elif isinstance(here, dict):
                here[draw(TEXTS)] = draw(VALUES)
            else:
                here.append(draw(VALUES))
            break
    return whole


def json_text(value: Any) -> bytes:
    """As hostile writers would: NaN and half characters go in."""
    return json.dumps(value).encode()


def broken_json(*wholes: Any) -> st.SearchStrategy[bytes]:
    """Half of them still JSON, with other values in it; the others broken as text."""
    return st.one_of(changed_json(wholes).map(json_text), VALUES.map(json_text), broken(*map(json_text, wholes)))


# --- archives --------------------------------------------------------------------------------------------------------

NAMES = [
    "../x",
    "/abs",
    "a/../../x",
    "C:\\x",
    "a\\..\\x",
    "",
    ".",
    "x" * 300,
    "a\x00b",
    "A",
    "ü",
    "meta.npy",
    "ids.npy",
]


@st.composite
def zipped(draw: st.DrawFn, wholes: Sequence[dict[str, bytes]], inner: Callable[[bytes], Any] = st.just) -> bytes:
    """A zip of `wholes`' members, some dropped, doubled, renamed, packed otherwise; then perhaps broken as bytes."""
    members = list(draw(st.sampled_from(wholes)).items())
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(members)))
        kind = draw(st.sampled_from(["drop", "double", "rename", "content", "bomb"]))
        name, content = members[at] if at < len(members) else ("more", b"")
        other = {
            "drop": [],
            "double": [(name, content)] * 2,
            "rename": [(draw(st.sampled_from(NAMES)), content)],
            "content": [(name, draw(inner(content)))],
            "bomb": [(name, bytes(1 << 21))],
        }
        members[at : at + 1] = other[kind]
    methods = [zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", draw(st.sampled_from(methods))) as archive:
        warnings.simplefilter("ignore")  # a name twice is what we want
        for name, content in members:
            info = zipfile.ZipInfo(name or " ")
            info.compress_type = archive.compression
            if draw(st.integers(0, 20)) == 0:
                info.external_attr = 0o120777 << 16  # a link
            with archive.open(info, "w") as file:
                file.write(content)
    whole = out.getvalue()
    return draw(changed([whole])) if draw(st.booleans()) else whole


def npy(array: Any) -> bytes:
    """An array as numpy.save writes it."""
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)
    return out.getvalue()


HEADERS = [
    "{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000,), }",
    "{'descr': '<f4', 'fortran_order': True, 'shape': (3, 7), }",
    "{'descr': '|O', 'fortran_order': False, 'shape': (3,), }",
    "{'descr': '<U900000000', 'fortran_order': False, 'shape': (), }",
    "{'descr': '<i8', 'fortran_order': False, 'shape': (-1,), }",
    "{'descr': '<i8', 'fortran_order': False, 'shape': (3L,), }",
    "{'descr': '<i8', 'fortran_order': False, 'shape': (" + "9" * 500 + ",), }",
    "{'descr': [('a', '<i8'), ('b', '|O')], 'fortran_order': False, 'shape': (3,), }",
    "{'descr': '<U0', 'fortran_order': False, 'shape': (True,), }",
    "(" * 5000,
    "{" * 90,
    "",
]


def broken_npy(content: bytes) -> st.SearchStrategy[bytes]:
    """An .npy with another header, or broken as bytes."""
    headers = [
        b"\x93NUMPY"
        + bytes([version, 0])
        + len(text).to_bytes(2 if version == 1 else 4, "little")
        + text.encode()
        + content[-24:]
        for text in HEADERS
        for version in (1, 2)
    ]
    arrays = [
        np.arange(3),
        np.arange(3.0),
        np.zeros((3, 7), "<f4") * np.nan,
        np.array("{}"),
        np.array([1, "a"], object),
    ]
    return st.one_of(st.sampled_from(headers), st.sampled_from([npy(one) for one in arrays]), broken(content))


@st.composite
def tarred(draw: st.DrawFn, members: dict[str, bytes]) -> bytes:
    """A tar of `members` with some renamed or made links, devices, sparse or of another size; then perhaps broken."""
    out = io.BytesIO()
    form = draw(st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if draw(st.integers(0, 3)) == 0:
                info.name = draw(st.sampled_from([name, "../x", "/abs", "run/fold0/../x", "x" * 90, "run/fold0/a"]))
                info.type = draw(
                    st.sampled_from([b"0", b"1", b"2", b"3", b"5", b"6", b"7", b"S", b"x", b"g", b"L", b"K"])
                )
                info.linkname = draw(st.sampled_from(["", "/etc/passwd", "../../x"]))
                if form == tarfile.PAX_FORMAT:
                    pax = [{}, {"size": "-512"}, {"size": "9" * 30}, {"GNU.sparse.major": "1"}, {"path": "../x"}]
                    info.pax_headers = draw(st.sampled_from(pax))
            archive.addfile(info, io.BytesIO(content))
    whole = out.getvalue()
    return draw(changed([whole])) if draw(st.booleans()) else whole
