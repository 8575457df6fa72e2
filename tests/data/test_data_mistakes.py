"""Malformed data files, each of which gives one clear line: place, problem, cure."""

import io
import json
import os
import struct
import zlib
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tunedeploy.data.columns import Column
from tunedeploy.data.kinds.category import CATEGORY
from tunedeploy.data.kinds.image import IMAGE
from tunedeploy.data.kinds.text import TEXT
from tunedeploy.data.read import read, read_file
from tunedeploy.errors import DataError

TEXTS = (
    Column(key="text", kind=TEXT, guesses=("review", "sentence")),
    Column(key="text_pair", kind=TEXT, required=False),
    Column(key="label", kind=CATEGORY, guesses=("stars", "class")),
)
IMAGES = (Column(key="image", kind=IMAGE), Column(key="label", kind=CATEGORY))

GOOD = "".join(f"text {number},{'ab'[number % 2]}\n" for number in range(10))
RECORDS = [{"text": f"text {number}", "label": "ab"[number % 2]} for number in range(10)]
LINES = "\n".join(map(json.dumps, RECORDS)) + "\n"


def _parquet(rows: list[dict[str, object]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def _named(features: object, labels: tuple[object, ...] = (0, 1)) -> bytes:
    """A parquet file with what `datasets` writes of class names, or with something else there."""
    sink = io.BytesIO()
    rows = [{"text": f"text {number}", "label": labels[number % len(labels)]} for number in range(10)]
    metadata = {"huggingface": json.dumps({"info": {"features": {"label": features}}})}
    pq.write_table(pa.Table.from_pylist(rows).replace_schema_metadata(metadata), sink)
    return sink.getvalue()


# name of the claim -> file name, its bytes, how the one line starts, what else is in it
TEXT_FILES = {
    "empty csv": ("a.csv", b"", "a.csv: the file is empty", ""),
    "csv of blank lines": ("a.csv", b"\n\n  \n", "a.csv: the file is empty", ""),
    "csv of a byte order mark": ("a.csv", b"\xef\xbb\xbf", "a.csv: the file is empty", ""),
    "header only": ("a.csv", b"text,label\n", "a.csv: a header and no rows", "'text', 'label'"),
    "header without line end": ("a.csv", b"text,label", "a.csv: a header and no rows", "add rows"),
    "one row": ("a.csv", b"text,label\nx,a\n", "a.csv: every row has the label 'a'", "two classes"),
    "one class": ("a.csv", b"text,label\nx,a\ny,a\nz,a\n", "a.csv: every row has the label 'a'", "two classes"),
    "two rows": ("a.csv", b"text,label\nx,a\ny,b\n", "a.csv: 0 rows to evaluate on", "at least 2"),
    "comma in a text": ("a.csv", f"text,label\n{GOOD}well, yes,a\n".encode(), "a.csv:12: 3 cells", "quotes"),
    "cell missing": ("a.csv", f"text,label\nalone\n{GOOD}".encode(), "a.csv:2: 1 cell where", "'text', 'label'"),
    "many ragged rows": ("a.csv", f"text,label\n{GOOD}x\ny\nz\n".encode(), "a.csv:12: 1 cell where", "(2 more rows"),
    "ragged after a text of two lines": (
        "a.csv",
        b'text,label\n"x\ny",a\nz\n',
        "a.csv:4: 1 cell where",
        "header has 2",
    ),
    "column twice": (
        "a.csv",
        f"text,label,text\n{GOOD}".encode(),
        "a.csv: the column name 'text' occurs twice",
        "rename",
    ),
    "column twice but for blanks": ("a.csv", b"text,label, text\nx,a,y\n", "a.csv: the column name 'text'", "twice"),
    "semicolons and a cell too many": ("a.csv", b"text;label\nx;y;a\n", "a.csv:2: 3 cells", "quotes"),
    "two separators": ("a.csv", b"text;label\nx,a\n", "a.csv:2: 1 cell where", "'text', 'label'"),
    "quote never closed": ("a.csv", b'text,label\nx,a\n"y,b\nz,a\n', "a.csv:3: the quote", "never closed"),
    "quotes that do not pair": ("a.csv", b'text,label\nx,a\n"y"z,b\n', "a.csv:3: the quotes", '""'),
    "UTF-16": ("a.csv", "text,label\nx,a\n".encode("utf-16"), "a.csv:1: UTF-16", "iconv -f utf-16 -t utf-8 a.csv"),
    "UTF-16 without a mark": ("a.csv", "text,label\nx,a\n".encode("utf-16-le"), "a.csv:1: byte 1 is zero", "UTF-8"),
    "Shift-JIS": ("a.csv", "text,label\nx,a\nこれは良い映画,b\n".encode("shift-jis"), "a.csv:3: byte 15", "iconv -f"),
    "Latin-1 behind a mark": ("a.csv", b"\xef\xbb\xbftext,label\nx,a\n\xe9,b\n", "a.csv:3: byte 18 (0xe9)", "UTF-8"),
    "binary in a csv": ("a.csv", b"PK\x03\x04\0\0\0", "a.csv:1: byte 4 is zero", "not UTF-8"),
    "empty label": (
        "a.csv",
        f"text,label\nx,\n{GOOD}".encode(),
        "a.csv:2: data.label ('label'): the label is empty",
        "",
    ),
    "blank label": ("a.csv", f"text,label\n{GOOD}x,  \n".encode(), "a.csv:12: data.label", "the label is empty"),
    "wrong columns": ("a.csv", b"words,label\nx,a\n", "a.csv: no column looks like data.text", "'words', 'label'"),
    "two columns for the text": ("a.csv", b"review,sentence,label\nx,y,a\n", "a.csv: data.text could be", "'sentence'"),
    "empty jsonl": ("a.jsonl", b"\n", "a.jsonl: the file is empty", ""),
    "bad JSON": ("a.jsonl", f"{LINES}{{'text': 'x'}}\n".encode(), "a.jsonl:11: not JSON", "column 2"),
    "JSON cut off": (
        "a.jsonl",
        f'{LINES}{{"text": "x", "la'.encode(),
        "a.jsonl:11: not JSON",
        "one JSON record a line",
    ),
    "record over several lines": ("a.jsonl", b'{\n"text": "x"\n}\n', "a.jsonl:1: not JSON", "one JSON record a line"),
    "a line that is no record": ("a.jsonl", f"{LINES}[1, 2]\n".encode(), "a.jsonl:11: a list, not a record", "column"),
    "key missing": ("a.jsonl", f'{LINES}{{"text": "x"}}\n'.encode(), "a.jsonl:11: data.label", "key is missing"),
    "text that is a number": (
        "a.jsonl",
        f'{LINES}{{"text": 5, "label": "a"}}'.encode(),
        "a.jsonl:11: data.text",
        "int",
    ),
    "text that is a list": (
        "a.jsonl",
        f'{LINES}{{"text": ["x"], "label": "a"}}'.encode(),
        "a.jsonl:11: data.text",
        "list",
    ),
    "text that is null": (
        "a.jsonl",
        f'{LINES}{{"text": null, "label": "a"}}'.encode(),
        "a.jsonl:11: data.text",
        "null",
    ),
    "half a character": (
        "a.jsonl",
        rf'{LINES}{{"text": "\ud83d", "label": "a"}}'.encode(),
        "a.jsonl:11: data.text",
        "half",
    ),
    "label that is null": (
        "a.jsonl",
        f'{LINES}{{"text": "x", "label": null}}'.encode(),
        "a.jsonl:11: data.label",
        "empty",
    ),
    "label that is NaN": (
        "a.jsonl",
        f'{LINES}{{"text": "x", "label": NaN}}'.encode(),
        "a.jsonl:11: data.label",
        "empty",
    ),
    "label that is infinite": ("a.jsonl", f'{LINES}{{"text": "x", "label": Infinity}}'.encode(), "a.jsonl:11: ", "inf"),
    "label that is a list": ("a.jsonl", f'{LINES}{{"text": "x", "label": ["a"]}}'.encode(), "a.jsonl:11: ", "list"),
    "nested too deep": ("a.jsonl", b"[" * 100_000, "a.jsonl", "nested too deep"),
    "list that is bad JSON": ("a.json", b'[{"text": "x"},\n{"text": }]', "a.json:2:10: not JSON", "mend the list"),
    "list of texts": ("a.json", b'["x", "y"]', "a.json record 1: a str, not a record", ""),
    "empty list": ("a.json", b"[]", "a.json: no records in it", ""),
    "records without keys": ("a.json", b"[{}]", "a.json: no records in it", ""),
    "object of columns": (
        "a.json",
        b'{"data": [{"text": "x"}]}',
        "a.json: one object with 'data' in it",
        "a list of records",
    ),
    "bytes that are no parquet": (
        "a.parquet",
        b"not parquet",
        "a.parquet: not a readable parquet file",
        "write it again",
    ),
    "parquet cut off": ("a.parquet", _parquet(RECORDS)[:-20], "a.parquet: not a readable parquet file", "again"),
    "parquet without rows": ("a.parquet", _parquet([]), "a.parquet: no rows in it", ""),
    "null label in parquet": (
        "a.parquet",
        _parquet([*RECORDS, {"text": "x", "label": None}]),
        "a.parquet row 11: data.label ('label'): the label is empty",
        "",
    ),
    "numbers in the text column": (
        "a.parquet",
        _parquet([{"text": number, "label": "a"} for number in range(3)]),
        "a.parquet row 1: data.text ('text'): 0 is of type int",
        "(2 more such rows, next a.parquet row 2)",
    ),
    "a class number beyond its names": (
        "a.parquet",
        _named({"_type": "ClassLabel", "names": ["no", "yes"]}, (0, 7)),
        "a.parquet: column 'label' is damaged (7 is not the number of one of the 2 classes",
        "write the file again",
    ),
    "class names over texts": (
        "a.parquet",
        _named({"_type": "ClassLabel", "names": ["no", "yes"]}, ("no", "yes")),
        "a.parquet: column 'label' is damaged ('no' is not the number of one of the 2 classes",
        "write the file again",
    ),
    "class names that are no list": (
        "a.parquet",
        _named({"_type": "ClassLabel", "names": 3.5}),
        "a.parquet: column 'label' is damaged (the class names in its metadata are not a list of texts)",
        "write the file again",
    ),
    "half a character in a label": (
        "a.jsonl",
        LINES.encode() + b'{"text": "x", "label": "\\ud800"}\n',
        "a.jsonl:11: data.label ('label'): it holds half a character",
        "remove it",
    ),
    "a number of thousands of digits": (
        "a.jsonl",
        LINES.encode() + b'{"text": "x", "label": ' + b"1" * 5000 + b"}\n",
        "a.jsonl:11: a number of thousands of digits",
        "write one JSON record a line",
    ),
    "unknown suffix": (
        "a.xls",
        b"x",
        "a.xls: '.xls' is not a supported file type",
        ".conllu, .csv, .iob, .iob2, .json, .jsonl, .parquet, .tsv",
    ),
    "no suffix": ("data", b"text,label\n", "data: 'no suffix' is not a supported file type", ".csv"),
}


@pytest.mark.parametrize("claim", TEXT_FILES)
def test_a_malformed_file_gives_one_clear_line(tmp_path: Path, claim: str) -> None:
    name, content, start, also = TEXT_FILES[claim]
    (tmp_path / name).write_bytes(content)
    _assert_one_line({"train": str(tmp_path / name)}, TEXTS, start, also)


def test_there_are_many_malformed_files() -> None:
    assert len(TEXT_FILES) + len(IMAGE_FILES) >= 60


def _assert_one_line(options: dict[str, object], columns: tuple[Column, ...], start: str, also: str) -> None:
    with pytest.raises(DataError) as caught:
        read(options, columns)
    error = caught.value
    print(error)
    assert len(error.lines) == 1
    (line,) = error.lines
    assert line.startswith(start)
    assert also in line
    assert "\n" not in line
    assert len(line) < 400
    assert error.exit_code == 1


def _image(form: str = "PNG", size: int = 24) -> bytes:
    sink = io.BytesIO()
    Image.effect_noise((size, size), 90).convert("RGB").save(sink, form)
    return sink.getvalue()


def _bomb() -> bytes:
    """A PNG of a few bytes that claims 30,000 x 30,000 pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    size = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def _flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


IMAGE_FILES = {
    "image of zero bytes": ("x.jpg", b"", "the image file is empty (0 bytes)"),
    "text called jpg": ("x.jpg", b"<html>not found</html>", "not an image that Pillow can read"),
    "jpeg cut in half": ("x.jpg", _image("JPEG", 64)[:900], "the image is damaged (image file is truncated"),
    "jpeg without its end": ("x.jpg", _image("JPEG", 64)[:-12], "the image is damaged"),
    "png cut off": ("x.png", _image()[:-40], "the image is damaged"),
    "png with a flipped byte": ("x.png", _flip(_image()), "the image is damaged"),
    "webp cut off": ("x.webp", _image("WEBP")[:-40], "the image is damaged"),
    "decompression bomb": ("x.png", _bomb(), "the image is too large"),
}


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    """Two classes of six images."""
    for label in ("iris", "rose"):
        (tmp_path / "flowers" / label).mkdir(parents=True)
        for number in range(6):
            (tmp_path / "flowers" / label / f"{number}.png").write_bytes(_image())
    return tmp_path / "flowers"


@pytest.mark.parametrize("claim", IMAGE_FILES)
def test_an_image_that_cannot_be_read_is_named(flowers: Path, claim: str) -> None:
    name, content, also = IMAGE_FILES[claim]
    (flowers / "rose" / name).write_bytes(content)
    _assert_one_line({"train": str(flowers)}, IMAGES, f"flowers/rose/{name}: data.image: ", also)


def test_several_bad_images_are_counted_in_one_line(flowers: Path) -> None:
    for name in ("7.jpg", "8.jpg", "9.jpg"):
        (flowers / "rose" / name).write_bytes(b"")
    start = "flowers/rose/7.jpg: data.image: the image file is empty"
    _assert_one_line({"train": str(flowers)}, IMAGES, start, "(2 more such rows, next flowers/rose/8.jpg)")


@pytest.mark.parametrize(
    ("name", "shown"), [(b"a\nb.png", "a\\nb.png"), (b"\xff.png", "\\udcff.png")], ids=["line break", "not UTF-8"]
)
def test_an_odd_file_name_is_shown_on_one_line(flowers: Path, name: bytes, shown: str) -> None:
    Path(os.fsdecode(os.fsencode(flowers / "rose") + b"/" + name)).write_bytes(b"")
    _assert_one_line({"train": str(flowers)}, IMAGES, f"flowers/rose/{shown}: data.image", "")


BAD_CELLS = {
    "name longer than the file system takes": ("a" * 70_000, "no image file 'aaaa"),
    "zero in a name": ("a\0b.png", "no image file"),
    "bytes that are text": ({"bytes": "PNG"}, "the image's bytes are of type str"),
    "bytes that are a number": ({"bytes": 10**12}, "the image's bytes are of type int"),
}


@pytest.mark.parametrize("claim", BAD_CELLS)
def test_a_cell_that_is_no_image_is_named(flowers: Path, claim: str) -> None:
    cell, also = BAD_CELLS[claim]
    rows = [{"image": f"{label}/0.png", "label": label} for label in ("iris", "rose")] * 3
    rows.append({"image": cell, "label": "rose"})
    (flowers / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    _assert_one_line({"train": str(flowers / "a.jsonl")}, IMAGES, "a.jsonl:7: data.image", also)


def test_a_folder_without_images_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    _assert_one_line(
        {"train": str(tmp_path / "empty")}, IMAGES, "empty: no image in this folder (it is empty)", "class"
    )
    (tmp_path / "empty" / "rose").mkdir()
    _assert_one_line(
        {"train": str(tmp_path / "empty")}, IMAGES, "empty: no image in this folder (all its folders are empty", "class"
    )
    (tmp_path / "empty" / "rose" / "notes.txt").write_text("x")
    _assert_one_line({"train": str(tmp_path / "empty")}, IMAGES, "empty: no image", "but 1 file (notes.txt)")


def test_images_that_lie_flat_are_asked_into_class_folders(tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "a.png").write_bytes(_image())
    _assert_one_line({"train": str(tmp_path / "flat")}, IMAGES, "flat: images without classes", "one folder per class")


def test_a_class_of_the_evaluation_folder_that_was_not_trained_is_named(flowers: Path) -> None:
    other = flowers.parent / "other" / "tulip"
    other.mkdir(parents=True)
    (other / "1.png").write_bytes(_image())
    start = "other/tulip/1.png: label 'tulip' is not among the 2 training labels ('iris', 'rose')"
    _assert_one_line({"train": str(flowers), "eval": str(other.parent)}, IMAGES, start, "correct it")


IMAGE_CELLS = {
    "file that is not there": ("gone.png", "no image file 'gone.png' beside the table"),
    "address": ("https://example.org/x.png", "is an address"),
    "nothing": ("", "the image is empty"),
    "folder": (".", "no image file '.'"),
}


@pytest.mark.parametrize("claim", IMAGE_CELLS)
def test_a_csv_row_without_its_image_is_named(tmp_path: Path, claim: str) -> None:
    cell, also = IMAGE_CELLS[claim]
    (tmp_path / "a.png").write_bytes(_image())
    (tmp_path / "a.csv").write_text(f"image,label\na.png,x\na.png,y\n{cell},y\n")
    _assert_one_line({"train": str(tmp_path / "a.csv")}, IMAGES, "a.csv:4: data.image ('image'): ", also)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    (tmp_path / "train.csv").write_text(f"text,label\n{GOOD}")
    return tmp_path / "train.csv"


def test_a_wrong_column_name_lists_the_columns_and_the_closest(good: Path) -> None:
    options = {"train": str(good), "label": "lable"}
    start = "train.csv: no column 'lable' (data.label); columns: 'text', 'label'; did you mean 'label'?"
    _assert_one_line(options, TEXTS, start, "")


def test_every_wrong_column_is_reported_at_once(good: Path) -> None:
    with pytest.raises(DataError) as caught:
        read({"train": str(good), "text": "txt", "label": "lable"}, TEXTS)
    assert [line.split(";")[0] for line in caught.value.lines] == [
        "train.csv: no column 'txt' (data.text)",
        "train.csv: no column 'lable' (data.label)",
    ]


def test_one_column_cannot_be_text_and_label(good: Path) -> None:
    options = {"train": str(good), "text": "text", "label": "text"}
    _assert_one_line(options, TEXTS, "train.csv: data.text and data.label both name the column 'text'", "name two")


def test_a_named_second_text_that_is_missing_is_an_error(good: Path) -> None:
    _assert_one_line(
        {"train": str(good), "text_pair": "reply"}, TEXTS, "train.csv: no column 'reply' (data.text_pair)", ""
    )


def test_an_evaluation_file_must_have_the_training_columns(good: Path) -> None:
    (good.parent / "test.csv").write_text("words,label\nx,a\ny,b\n")
    options = {"train": str(good), "eval": str(good.parent / "test.csv")}
    _assert_one_line(options, TEXTS, "test.csv: no column 'text' (data.text); columns: 'words', 'label'", "")


def test_a_label_unseen_in_training_is_named_with_its_row_and_the_closest(good: Path) -> None:
    (good.parent / "test.csv").write_text("text,label\nx,a\ny,B\nz,c\n")
    options = {"train": str(good), "eval": str(good.parent / "test.csv")}
    start = "test.csv:3: label 'B' is not among the 2 training labels ('a', 'b'); did you mean 'b'?"
    _assert_one_line(options, TEXTS, start, "(2 rows, 2 such labels)")


def test_an_evaluation_file_of_one_row_is_too_short(good: Path) -> None:
    (good.parent / "test.csv").write_text("text,label\nx,a\n")
    options = {"train": str(good), "eval": str(good.parent / "test.csv")}
    _assert_one_line(options, TEXTS, "test.csv: 1 row to evaluate on", "at least 2")


def test_the_same_file_cannot_be_trained_and_evaluated_on(good: Path) -> None:
    start = "train.csv: data.train and data.eval are the same"
    _assert_one_line({"train": str(good), "eval": str(good)}, TEXTS, start, "leave data.eval out")
    (good.parent / "link.csv").symlink_to(good)
    _assert_one_line({"train": str(good), "eval": str(good.parent / "link.csv")}, TEXTS, start, "leave data.eval out")


def test_a_missing_file_names_its_neighbour(good: Path) -> None:
    missing = good.parent / "trian.csv"
    _assert_one_line({"train": str(missing)}, TEXTS, f"{missing}: no such file", "did you mean 'train.csv'?")
    missing = good.parent / "nowhere" / "train.csv"
    _assert_one_line({"train": str(missing)}, TEXTS, f"{missing}: no such file", "nor a folder")


@pytest.mark.parametrize("name", ["a" * 5000, "~nobody-of-that-name/a.csv"], ids=["long", "home"])
def test_a_name_that_cannot_be_looked_up_is_one_line(name: str) -> None:
    _assert_one_line({"train": name}, TEXTS, repr(name)[:30], "cannot be looked up")


def test_a_missing_split_lists_the_splits(good: Path) -> None:
    (good.parent / "test.csv").write_text(f"text,label\n{GOOD}")
    start = f"{good.parent.name}: no split 'tset' for data.eval; splits: 'train', 'test'; did you mean 'test'?"
    _assert_one_line({"train": str(good.parent), "eval": "tset"}, TEXTS, start, "")
    start = f"{good.parent.name}: data.eval is the split that is trained on"
    _assert_one_line({"train": str(good.parent), "eval": "train"}, TEXTS, start, "")


def test_a_split_name_for_a_plain_file_is_a_missing_file(good: Path) -> None:
    _assert_one_line(
        {"train": str(good), "eval": "test"}, TEXTS, "train.csv: no split 'test' for data.eval", "name a file"
    )


def test_a_limit_below_the_number_of_classes_is_refused(good: Path) -> None:
    _assert_one_line({"train": str(good), "limit": 1}, TEXTS, "train.csv: data.limit 1 leaves classes", "2 classes")


def test_a_package_that_is_not_installed_is_named() -> None:
    _assert_one_line({"train": "pkg://no_such_package/x.csv"}, TEXTS, "pkg://no_such_package/x.csv: ", "pip install")
    _assert_one_line({"train": "pkg://PIL/x.csv"}, TEXTS, "pkg://PIL/x.csv: no 'x.csv' in the package 'PIL'", "")


def test_a_hub_set_that_cannot_be_had_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    start = "nobody/nothing: no such file or folder, and the hub gave nothing"
    _assert_one_line({"train": "nobody/nothing"}, TEXTS, start, "unset HF_HUB_OFFLINE")
    assert not datasets.utils.are_progress_bars_disabled()


def test_a_file_to_judge_must_have_the_model_s_labels(good: Path) -> None:
    with pytest.raises(DataError, match=r"train\.csv:3: label 'b' is not among the 1 model's labels \('a'\)"):
        read_file(str(good), {}, TEXTS, labels=("a",))
