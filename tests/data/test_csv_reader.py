"""The csv reader: the fast path against a plain reference reader, and the text of every fault."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fer_kit.data import csv_reader
from fer_kit.data.csv_reader import LABEL, PIXEL, USAGE, USAGES, Faces
from fer_kit.errors import FerKitError

TRAIN_COLUMNS = (LABEL, PIXEL)
WHOLE_COLUMNS = (LABEL, PIXEL, USAGE)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, 2304), dtype=np.uint8)


def texts(count: int) -> list[str]:
    return [" ".join(map(str, image)) for image in IMAGES[:count]]


def train_csv(count: int = 3) -> bytes:
    rows = [f'{row % 7},"{text}"' for row, text in enumerate(texts(count))]
    return "\n".join(["emotion,pixels", *rows, ""]).encode()


def read(data: bytes, columns: tuple[str, ...] = TRAIN_COLUMNS, refused: tuple[str, ...] = ()) -> Faces:
    return csv_reader.read(io.BytesIO(data), "train.csv", columns, refused)


def fault(data: bytes, columns: tuple[str, ...] = TRAIN_COLUMNS) -> str:
    with pytest.raises(FerKitError) as caught:
        read(data, columns)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- what is read ----------------------------------------------------------------------------------------------------


LAYOUTS = {
    "train.csv": ("emotion,pixels", '{label},"{pixels}"'),
    "unquoted": ("emotion,pixels", "{label},{pixels}"),
    "fer2013.csv": ("emotion,pixels,Usage", "{label},{pixels},{usage}"),
    "icml_face_data.csv": ("emotion, Usage, pixels", "{label},{usage},{pixels}"),
    "all quoted": ('"emotion","pixels","Usage"', '"{label}","{pixels}","{usage}"'),
    "other columns too": ("id,emotion,pixels,Usage,who", '7,{label},"{pixels}",{usage},me'),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("block_bytes", [100, 9_000, 20_000, 1 << 20])
def test_every_layout_takes_the_fast_path(layout: str, block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    header, row = LAYOUTS[layout]
    lines = [
        row.format(label=i % 7, pixels=text, usage=USAGES[i % 3]) if i else header
        for i, text in enumerate(["", *texts(40)])
    ]
    monkeypatch.setattr(csv_reader, "BLOCK_BYTES", block_bytes)
    exactly = csv_reader._parse_exactly

    def only_empty(block: bytes, *args: object) -> Faces:
        assert not block, "the slow path was taken"
        return exactly(block, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(csv_reader, "_parse_exactly", only_empty)
    columns = WHOLE_COLUMNS if "Usage" in header else TRAIN_COLUMNS
    faces = read("\n".join(lines).encode(), columns)
    assert faces.images.dtype == np.uint8 and faces.labels.dtype == np.int64
    np.testing.assert_array_equal(faces.images.reshape(-1, 2304), IMAGES)
    np.testing.assert_array_equal(faces.labels, np.arange(1, 41) % 7)
    if "Usage" in header:
        np.testing.assert_array_equal(faces.usage, np.arange(1, 41) % 3)


def test_every_number_in_every_neighbourhood() -> None:
    """Pairs of numbers of each length, so that no digit of a neighbour is ever counted."""
    numbers = [0, 5, 9, 10, 25, 55, 56, 99, 100, 199, 200, 249, 250, 255]
    pairs = [number for first in numbers for second in numbers for number in (first, second)]
    values = (pairs * 6)[:2304]
    data = f"pixels\n{' '.join(map(str, values))}\n".encode()
    assert read(data, (PIXEL,)).images.reshape(-1).tolist() == values


@pytest.mark.parametrize(
    "same",
    [
        train_csv().replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + train_csv(),
        train_csv().rstrip(b"\n"),
        train_csv().rstrip(b"\n").replace(b"\n", b"\r\n") + b"\r",
        train_csv() + b"\n\r\n",
        train_csv().replace(b"\n", b"\n\n"),
        b"\n" + train_csv(),
        train_csv().replace(b"emotion,pixels", b' " emotion",  "pixels" '[:-1]),
        train_csv().replace(b',"', b', "'),
        train_csv().replace(b" ", b"  ", 50),
        train_csv().replace(b'"', b'" ', 1).replace(b'"\n', b' "\n', 1),
        train_csv().replace(b' 7 ', b" 007 ").replace(b" 1 ", b" 000001 "),
        train_csv().replace(b'\n0,', b'\n"0",').replace(b"\n1,", b"\n 1 ,"),
    ],
)  # fmt: skip
def test_spellings_of_the_same(same: bytes) -> None:
    faces = read(same)
    np.testing.assert_array_equal(faces.images.reshape(-1, 2304), IMAGES[:3])
    assert faces.labels.tolist() == [0, 1, 2]


def test_columns_not_asked_for_are_passed_over() -> None:
    faces = read(b"emotion,who,pixels\n9,\xc3\xa9,%s\n" % texts(1)[0].encode(), (PIXEL,))
    assert faces.labels.size == 0 and faces.usage.size == 0
    np.testing.assert_array_equal(faces.images.reshape(-1), IMAGES[0])


# --- faults ----------------------------------------------------------------------------------------------------------

CUT = "; the file seems truncated, download it again"
ALLOWED_PIXELS = "allowed are the integers 0 to 255"


@pytest.mark.parametrize(
    "token", ["-1", "+5", "1e2", "1.0", "0x1", "nan", "256", "300", "999", "1000", "99999", "٣", "1_0"]
)
def test_pixel_is_no_integer_in_range(token: str) -> None:
    words = texts(3)[1].split()
    words[16] = token
    data = train_csv().replace(texts(3)[1].encode(), " ".join(words).encode())
    shown = token.encode("unicode_escape").decode()
    assert fault(data) == f"train.csv: row 2 (line 3): pixel 17 is '{shown}', {ALLOWED_PIXELS}"


@pytest.mark.parametrize("label", ["7", "-1", "", "x", "1.0", "10", "+3"])
def test_label_outside(label: str) -> None:
    data = train_csv().replace(b'\n2,"', b'\n%s,"' % label.encode())
    found = fault(data)
    assert found.startswith(
        f"train.csv: row 3 (line 4): emotion is '{label}', allowed are 0 to 6 (Angry to Neutral), or"
    )


@pytest.mark.parametrize("delimiter", [";", "\t"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_other_separators(delimiter: str, quote: str) -> None:
    lines = [f"{row % 7}{delimiter}{quote}{text}{quote}{delimiter}x" for row, text in enumerate(texts(3))]
    data = "\n".join([delimiter.join(("emotion", "pixels", "more")), *lines]).encode()
    read = csv_reader.read(io.BytesIO(data), "train.csv", (LABEL, PIXEL))
    assert read.labels.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(read.images.reshape(3, -1), [list(map(int, text.split())) for text in texts(3)])
    assert fault(data.replace(f"{delimiter}x".encode(), b"", 1)).endswith("has 2 fields, the header has 3")


WORDS = ["Angry", "disgust", "FEAR", "happiness", "Sadness", '"surprised"', " neutral ", "hApPy", "06", "anger"]


def test_classes_in_words_and_columns_in_capitals() -> None:
    data = "\n".join(["Emotion,PIXELS", *(f"{word},{text}" for word, text in zip(WORDS, texts(10), strict=True))])
    read = csv_reader.read(io.BytesIO(data.encode()), "train.csv", (LABEL, PIXEL))
    assert read.labels.tolist() == [0, 1, 2, 3, 4, 5, 6, 3, 6, 0]


def test_too_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_reader, "MOST_ROWS", 2)
    assert "has more than 2 rows" in fault(train_csv())


@pytest.mark.parametrize("count", [0, 1, 2303, 2305, 4608])
def test_wrong_pixel_count(count: int) -> None:
    words = (texts(3)[1].split() * 2)[:count]
    data = train_csv().replace(texts(3)[1].encode(), " ".join(words).encode())
    assert fault(data) == f"train.csv: row 2 (line 3): has {count:,} pixels, must have 2,304 (48×48)"


def test_two_wrong_counts_that_add_up() -> None:
    first, second = (text.split() for text in texts(2))
    moved = [" ".join(first[:-1]), " ".join([first[-1], *second])]
    data = f'emotion,pixels\n0,"{moved[0]}"\n1,"{moved[1]}"\n'.encode()
    assert fault(data) == "train.csv: row 1 (line 2): has 2,303 pixels, must have 2,304 (48×48)"


HEAD = b"emotion,pixels\n"
FAULTS = [
    (b"", "train.csv: the file is empty; download it again"),
    (b"\xef\xbb\xbf\r\n\n", "train.csv: the file is empty; download it again"),
    (b"emotion,pixels", "train.csv: has a header but no rows; download the file again"),
    (b"emotion,pixels\r\n\r\n", "train.csv: has a header but no rows; download the file again"),
    (b"label,pixels\n", "train.csv: column 'emotion' is missing from the header (found: label, pixels)"),
    (b"label;pixels\n", "train.csv: column 'emotion' is missing from the header (found: label, pixels)"),
    (b"emotion,pixels,pixels\n", "train.csv: column 'pixels' appears more than once in the header "
                                 "(found: emotion, pixels, pixels)"),
    (train_csv()[len(HEAD):], "train.csv: column 'emotion' is missing from the header "
                              f"(found: {'0, ' + texts(1)[0][:34]}...)"),
    (b"emotion,pix\xe9ls\n", "train.csv: the header (line 1): byte 0xe9 is not UTF-8; "
                             "save the file as UTF-8 or download it again"),
    (train_csv().decode().encode("utf-16"), "train.csv: the header (line 1): byte 0xff is not UTF-8; "
                                            "save the file as UTF-8 or download it again"),
    (train_csv().replace(b'\n1,"', b'\n1,"\xff'), "train.csv: row 2 (line 3): byte 0xff is not UTF-8; "
                                                  "save the file as UTF-8 or download it again"),
    (HEAD + b"1\n", "train.csv: row 1 (line 2): has 1 field, the header has 2"),
    (HEAD + b"\n1,2,3\n", "train.csv: row 1 (line 3): has 3 fields, the header has 2"),
    (HEAD + b'1,"2" 3\n', "train.csv: row 1 (line 2): not valid csv (',' expected after '\"')"),
    (HEAD + b'1,"2 3\n' + train_csv()[len(HEAD):], "train.csv: row 1 (line 2): a quote is not closed"),
    (train_csv()[:-3], f"train.csv: row 3 (line 4): a quote is not closed{CUT}"),
    (train_csv().replace(b'"', b"")[:-40].rstrip(b" 0123456789") + b" 1", None),
    (HEAD + b"1", f"train.csv: row 1 (line 2): has 1 field, the header has 2{CUT}"),
    (HEAD + b"1," + b"8" * 2_000_000, "train.csv: a line is longer than 1,048,576 bytes; this is no csv file of faces"),
    (HEAD + b'1,"' + b"8" * 500 + b'"\n', f"train.csv: row 1 (line 2): pixel 1 is '{'8' * 37}...', {ALLOWED_PIXELS}"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "message"), FAULTS)
def test_faults(data: bytes, message: str | None) -> None:
    if message is None:
        assert re.fullmatch(
            r"train\.csv: row 3 \(line 4\): has [\d,]+ pixels, must have 2,304 \(48×48\)" + CUT, fault(data)
        )
    else:
        assert fault(data) == message


def test_unknown_usage_and_cut_usage() -> None:
    data = f"emotion,pixels,Usage\n0,{texts(1)[0]},Training\n1,{texts(1)[0]},Test\n".encode()
    where = "train.csv: row 2 (line 3): Usage is"
    assert fault(data, WHOLE_COLUMNS) == f"{where} 'Test', allowed are Training, PublicTest, PrivateTest"
    cut = data.replace(b"Test\n", b"Private")
    assert fault(cut, WHOLE_COLUMNS) == f"{where} 'Private', allowed are Training, PublicTest, PrivateTest{CUT}"


def test_refused_column() -> None:
    with pytest.raises(FerKitError) as caught:
        read(b"emotion,pixels, Usage\n", refused=(USAGE,))
    assert str(caught.value) == "train.csv: must have no column 'Usage'; a file with one is read as fer2013.csv"


def test_fault_far_into_the_file_is_counted_right(monkeypatch: pytest.MonkeyPatch) -> None:
    data = train_csv(40)
    words = texts(40)[30].split()
    words[2303] = "256"
    data = data.replace(texts(40)[30].encode(), " ".join(words).encode()).replace(b"\n5,", b"\n\n5,")
    for block_bytes in (1_000, 30_000, 1 << 20):
        monkeypatch.setattr(csv_reader, "BLOCK_BYTES", block_bytes)
        assert fault(data) == f"train.csv: row 31 (line 36): pixel 2304 is '256', {ALLOWED_PIXELS}"


# --- the fast path against a reader of a few plain lines -------------------------------------------------------------


@dataclass
class Reference:
    images: list[list[int]]
    labels: list[int]
    fault_in_row: int | None = None


def reference(data: bytes) -> Reference:
    """Columns emotion and pixels by the csv module and int(), one line at a time."""
    lines = [line.removesuffix(b"\r") for line in data.split(b"\n")]
    header, *rows = [line for line in lines if line]
    columns = [name.strip() for name in next(csv.reader([header.decode()], skipinitialspace=True))]
    result = Reference([], [])
    for number, line in enumerate(rows, start=1):
        try:
            [fields] = csv.reader([line.decode()], strict=True, skipinitialspace=True)
            row = dict(zip(columns, fields, strict=True))
            label, words = row["emotion"].strip(" "), [word for word in row["pixels"].split(" ") if word]
            if not all(re.fullmatch("[0-9]+", word) for word in [label, *words]):
                raise ValueError(label)
            pixels = [int(word) for word in words]
            if len(pixels) != 2304 or max(pixels) > 255 or int(label) > 6:
                raise ValueError(label)
        except (ValueError, csv.Error):
            result.fault_in_row = number
            return result
        result.images.append(pixels)
        result.labels.append(int(label))
    return result


ODD_WORDS = ["256", "-1", "+1", "1e2", "0005", "00", "", "1000", "7.0", '"', "1,1", "\t", "\r", "٣", "é", "299", "x"]


@st.composite
def small_csvs(draw: st.DrawFn) -> bytes:
    """One to six rows in some layout, with up to two things changed that may or may not be faults."""
    columns = draw(st.permutations(["emotion", "pixels", *draw(st.sampled_from([[], ["id"], ["id", "who"]]))]))
    quote = draw(st.sampled_from(["", '"']))
    rows = []
    for _ in range(draw(st.integers(1, 6))):
        words = [str(value) for value in IMAGES[draw(st.integers(0, 39))]]
        if draw(st.integers(0, 5)) == 0:
            words[draw(st.sampled_from([0, 1, 1000, 2302, 2303]))] = draw(st.sampled_from(ODD_WORDS))
        if draw(st.integers(0, 9)) == 0:
            words = draw(st.sampled_from([words[:-1], [*words, "3"], ["", *words], [*words, ""]]))
        label = draw(st.sampled_from(["0", "3", "6"] * 5 + ["7", "", "03", " 2 ", '"4"']))
        other = draw(st.sampled_from(["1"] * 9 + ['"', '"a,b"', "é"]))
        values = {"emotion": label, "pixels": f"{quote}{' '.join(words)}{quote}"}
        rows.append(",".join(values.get(column, other) for column in columns))
    end = draw(st.sampled_from(["\n", "\r\n", "\n\n"]))
    data = end.join([", ".join(columns), *rows, *draw(st.sampled_from([[], [""]]))]).encode()
    header_bytes = data.index(b"\n") + 1
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        place = draw(st.integers(header_bytes, len(data)))
        data = data[:place] + draw(st.sampled_from([b"", b" ", b"9", b'"', b",", b"\xff", b"\n"])) + data[place + 1 :]
    return data[: draw(st.integers(header_bytes, len(data)))] if draw(st.integers(0, 9)) == 0 else data


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(small_csvs(), st.sampled_from([700, 9_500, 25_000, 1 << 19]))
def test_same_as_the_reference(data: bytes, block_bytes: int) -> None:
    expected = reference(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_reader, "BLOCK_BYTES", block_bytes)
        if expected.fault_in_row is not None:
            assert f": row {expected.fault_in_row} (line " in fault(data)
        elif not expected.images:
            assert fault(data).endswith("has a header but no rows; download the file again")
        else:
            faces = read(data)
            np.testing.assert_array_equal(faces.images.reshape(-1, 2304), expected.images)
            assert faces.labels.tolist() == expected.labels
