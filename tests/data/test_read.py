"""Real files of every form, read into the columns a task asks for."""

import csv
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tunedeploy.data.columns import Column
from tunedeploy.data.kinds import Kind
from tunedeploy.data.kinds.category import CATEGORY
from tunedeploy.data.kinds.image import IMAGE
from tunedeploy.data.kinds.text import TEXT
from tunedeploy.data.labels import natural_order
from tunedeploy.data.read import Data, read, read_file
from tunedeploy.errors import DataError

TEXTS = (
    Column(key="text", kind=TEXT, guesses=("review", "sentence")),
    Column(key="text_pair", kind=TEXT, required=False),
    Column(key="label", kind=CATEGORY, guesses=("stars", "category")),
)
IMAGES = (Column(key="image", kind=IMAGE), Column(key="label", kind=CATEGORY))
RECORDS = [{"text": f"text {number}", "label": "ab"[number % 2]} for number in range(20)]
ROWS = "".join(f"{record['text']},{record['label']}\n" for record in RECORDS)


def _write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def _read(path: Path, content: str | bytes, **options: object) -> Data:
    """Train on the file and evaluate on a copy that has another name, so that every row is on the training side."""
    name = _write(path, content)
    other = _write(path.with_name(f"eval{path.suffix}"), content)
    return read({"train": name, "eval": other, **options}, TEXTS)


def _png(seed: int, size: int = 16) -> bytes:
    sink = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()


def _folder(root: Path, classes: tuple[str, ...] = ("iris", "rose"), *, start: int = 0) -> Path:
    for number, label in enumerate(classes):
        (root / label).mkdir(parents=True)
        for image in range(8):
            (root / label / f"{image}.png").write_bytes(_png(start + 100 * number + image))
    return root


# every form of one table


def _parquet(records: list[dict[str, object]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records), sink, compression="none")
    return sink.getvalue()


FORMS = {
    "csv": f"text,label\n{ROWS}",
    "tsv": f"text,label\n{ROWS}".replace(",", "\t"),
    "jsonl": "\n".join(map(json.dumps, RECORDS)),
    "json": json.dumps(RECORDS),
    "parquet": _parquet(RECORDS),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_table_reads_the_same(tmp_path: Path, form: str) -> None:
    data = _read(tmp_path / f"train.{form}", FORMS[form])
    assert data.train["text"][:] == [record["text"] for record in RECORDS]
    assert data.train["label"][:] == [number % 2 for number in range(20)]
    assert data.labels == ("a", "b")
    assert data.notes == ()
    assert data.train.column_names == ["text", "label", "origin"]
    csv_data = _read(tmp_path / "same.csv", FORMS["csv"])
    assert data.fingerprint == csv_data.fingerprint


ORIGINS = {
    "csv": "train.csv:3",
    "tsv": "train.tsv:3",
    "jsonl": "train.jsonl:2",
    "json": "train.json record 2",
    "parquet": "train.parquet row 2",
}


@pytest.mark.parametrize("form", FORMS)
def test_the_origin_is_the_user_s_row(tmp_path: Path, form: str) -> None:
    assert _read(tmp_path / f"train.{form}", FORMS[form]).train["origin"][1] == ORIGINS[form]


def test_origins_name_the_folder_when_two_files_have_one_name(tmp_path: Path) -> None:
    for folder in ("train", "test"):
        (tmp_path / folder).mkdir()
        _write(tmp_path / folder / "rows.csv", f"text,label\n{ROWS}")
    data = read({"train": str(tmp_path / "train/rows.csv"), "eval": str(tmp_path / "test/rows.csv")}, TEXTS)
    assert data.train["origin"][0] == "train/rows.csv:2"
    assert data.eval["origin"][0] == "test/rows.csv:2"
    assert data.eval_source == "test/rows.csv"


def test_class_names_in_parquet_are_read_beside_columns_of_types_that_nobody_knows(tmp_path: Path) -> None:
    names = {"label": {"names": ["bad", "good"], "_type": "ClassLabel"}, "odd": {"_type": "FromTheFuture"}}
    table = pa.table(
        {
            "text": [f"text {number}" for number in range(20)],
            "label": [number % 2 for number in range(20)],
            "odd": pa.array([b"ab"] * 20, pa.binary(2)),
            "pairs": pa.array([[("a", 1)]] * 20, pa.map_(pa.string(), pa.int64())),
        }
    ).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": names}})})
    pq.write_table(table, tmp_path / "rows.parquet")
    assert read({"train": str(tmp_path / "rows.parquet")}, TEXTS).labels == ("bad", "good")
    for broken in (b"no JSON", b"[]", b'{"info": null}'):
        pq.write_table(table.replace_schema_metadata({"huggingface": broken}), tmp_path / "rows.parquet")
        assert read({"train": str(tmp_path / "rows.parquet")}, TEXTS).labels == ("0", "1")


# csv


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0")), min_size=1, max_size=8))
def test_every_text_survives_csv(tmp_path: Path, texts: list[str]) -> None:
    sink = io.StringIO()
    writer = csv.writer(sink)
    writer.writerow(["text", "label"])
    writer.writerows([text, "ab"[number % 2]] for number, text in enumerate([*texts, "x", "y"]))
    data = _read(tmp_path / "train.csv", sink.getvalue())
    assert data.train["text"][:] == [*texts, "x", "y"]


def test_no_cell_of_a_csv_is_guessed(tmp_path: Path) -> None:
    words = ["null", "NA", "None", "nan", "", "007", "1e5", "True", "1.0", " padded "]
    rows = "".join(f"{word},{word.strip() or 'empty'}\n" for word in words)
    data = _read(tmp_path / "train.csv", f"text,label\n{rows}")
    assert data.train["text"][:] == words
    assert set(data.labels) == {word.strip() or "empty" for word in words}


def test_line_breaks_and_quotes_inside_a_cell_keep_the_rows_apart(tmp_path: Path) -> None:
    data = _read(tmp_path / "train.csv", 'text,label\n"two\nlines, ""quoted""",a\nx,b\n\ny,b\n')
    assert data.train["text"][0] == 'two\nlines, "quoted"'
    assert data.train["origin"][:] == ["train.csv:2", "train.csv:4", "train.csv:6"]
    assert data.notes[0] == "train.csv: 1 blank lines between the rows left out"


@pytest.mark.parametrize("line_end", ["\r\n", "\r", "\n"], ids=["windows", "old mac", "unix"])
def test_line_ends_of_every_system_are_read(tmp_path: Path, line_end: str) -> None:
    data = _read(tmp_path / "train.csv", f"text,label\n{ROWS}".replace("\n", line_end))
    assert data.train["text"][-1] == "text 19"
    assert data.train["origin"][-1] == "train.csv:21"
    assert len([note for note in data.notes if "'\\r'" in note]) == (2 if line_end == "\r" else 0)


def test_a_byte_order_mark_and_padded_headers_are_repaired_with_a_note(tmp_path: Path) -> None:
    data = _read(tmp_path / "train.csv", f"\ufefftext , label\t\n{ROWS}")
    assert data.labels == ("a", "b")
    assert data.notes[:2] == (
        "train.csv: byte order mark removed",
        "train.csv: spaces removed around the column names 'text ', ' label\\t'",
    )
    parquet = _read(tmp_path / "train.parquet", _parquet([{"text ": "x", "label": "a"}, {"text ": "y", "label": "b"}]))
    assert parquet.notes[0] == "train.parquet: spaces removed around the column names 'text '"


def test_a_cell_may_be_longer_than_the_csv_module_s_limit(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    data = _read(tmp_path / "train.csv", f"text,label\n{'x' * 200_000},a\ny,b\n")
    assert len(data.train["text"][0]) == 200_000
    assert csv.field_size_limit() == limit


# labels


def test_labels_stand_in_natural_order() -> None:
    assert natural_order(["10", "2", "1"]) == ("1", "2", "10")
    assert natural_order(["10", "-1", "0.5", "2"]) == ("-1", "0.5", "2", "10")
    assert natural_order(["step 10", "Step 2", "step 1"]) == ("step 1", "Step 2", "step 10")
    assert natural_order(["b", "A", "a", "B", "b"]) == ("A", "a", "B", "b")
    assert natural_order(["x2", "10", "é", "²"]) == natural_order(["²", "é", "10", "x2"])


def test_numbers_and_booleans_become_the_texts_json_has_for_them(tmp_path: Path) -> None:
    for labels, texts in (
        ([1, 2.0, 10], ("1", "2", "10")),
        ([True, False], ("false", "true")),
        ([0.5, 1], ("0.5", "1")),
    ):
        records = [{"text": f"t{label}", "label": label} for label in labels]
        data = _read(tmp_path / "train.jsonl", "\n".join(map(json.dumps, records)))
        assert data.labels == texts
    data = _read(tmp_path / "train.parquet", _parquet([{"text": f"t{label}", "label": label} for label in (1.0, 2.0)]))
    assert data.labels == ("1", "2")


def test_blanks_around_labels_are_removed_with_a_note(tmp_path: Path) -> None:
    data = _read(tmp_path / "train.csv", f"text,label\n{ROWS}x, a\ny,b \n")
    assert data.labels == ("a", "b")
    assert data.notes[0] == "train.csv: spaces around 2 labels in 'label' removed"


def test_labels_of_mixed_types_are_one_class_and_noted(tmp_path: Path) -> None:
    data = _read(
        tmp_path / "train.jsonl", '{"text": "x", "label": 1}\n{"text": "y", "label": "1"}\n{"text": "z", "label": "2"}'
    )
    assert data.labels == ("1", "2")
    assert "texts in some rows and numbers in others" in data.notes[0]


def test_class_names_stored_in_a_parquet_file_are_used(tmp_path: Path) -> None:
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    rows = datasets.Dataset.from_dict({"text": list("abcd"), "label": [1, 0, 1, 0]}, features=features)
    rows.to_parquet(tmp_path / "train.parquet")
    data = _read(tmp_path / "train.parquet", (tmp_path / "train.parquet").read_bytes())
    assert data.labels == ("no", "yes")
    assert data.train["label"][:] == [1, 0, 1, 0]


def test_known_labels_keep_their_order(tmp_path: Path) -> None:
    name = _write(tmp_path / "train.csv", f"text,label\n{ROWS}")
    data = read({"train": name}, TEXTS, labels=("c", "b", "a"))
    assert data.labels == ("c", "b", "a")
    assert set(data.train["label"]) == {1, 2}
    with pytest.raises(DataError, match=r"train\.csv:3: label 'b' is not among the 1 known labels"):
        read({"train": name}, TEXTS, labels=("a",))


# columns


def test_a_column_left_out_of_the_recipe_is_found_by_its_usual_names(tmp_path: Path) -> None:
    data = _read(tmp_path / "train.csv", f"Review,stars\n{ROWS}")
    assert data.notes == (
        "train.csv: column 'Review' taken as data.text",
        "train.csv: column 'stars' taken as data.label",
    )
    assert "text" in data.train.column_names


def test_a_named_column_wins_and_the_others_are_left_out(tmp_path: Path) -> None:
    data = _read(tmp_path / "train.csv", "text,other,label,grade\nx,y,a,1\nx,z,b,2\n", text="other", label="grade")
    assert data.train["text"][:] == ["y", "z"]
    assert data.labels == ("1", "2")


def test_an_optional_column_is_read_when_named(tmp_path: Path) -> None:
    data = _read(tmp_path / "train.csv", "text,reply,label\nx,y,a\nx,z,b\n", text_pair="reply")
    assert data.train.column_names == ["text", "text_pair", "label", "origin"]
    assert data.train["text_pair"][:] == ["y", "z"]


def test_the_options_may_be_a_record_of_pairs(tmp_path: Path) -> None:
    name = _write(tmp_path / "train.csv", f"text,label\n{ROWS}")
    assert read([("train", name)], TEXTS).fingerprint == read({"train": name}, TEXTS).fingerprint


def test_a_task_s_own_kind_of_column_is_read(tmp_path: Path) -> None:
    """Tags of words: several labels in a row, stored as a list of indices."""
    tags = Kind(
        name="tags",
        feature={"_type": "List", "feature": {"_type": "Value", "dtype": "int64"}},
        parse=lambda cell, folder: str(cell).split(),
        content=lambda value: " ".join(value).encode(),
        target=True,
        labels=tuple,
        encode=lambda value, index: [index[text] for text in value],
    )
    columns = (Column(key="text", kind=TEXT), Column(key="tags", kind=tags))
    name = _write(
        tmp_path / "train.csv", "text,tags\n" + "".join(f"word {n},O PER\nother {n},LOC O\n" for n in range(9))
    )
    data = read({"train": name}, columns)
    assert data.labels == ("LOC", "O", "PER")
    assert data.train[0]["tags"] in ([1, 2], [0, 1])


# folders of images


def test_class_folders_are_read_in_natural_order(tmp_path: Path) -> None:
    data = read({"train": str(_folder(tmp_path / "flowers", ("1", "2", "10")))}, IMAGES)
    assert data.labels == ("1", "2", "10")
    assert len(data.train) + len(data.eval) == 24
    row = data.train[0]
    assert row["origin"].startswith("flowers/1/")
    assert row["image"]["path"] == str(tmp_path / row["origin"])
    assert row["image"]["bytes"] is None


@pytest.mark.parametrize("split", ["test", "val", "valid", "validation", "dev"])
def test_a_folder_s_own_evaluation_split_is_used_with_a_note(tmp_path: Path, split: str) -> None:
    _folder(tmp_path / "flowers" / "train")
    _folder(tmp_path / "flowers" / split, start=50)
    data = read({"train": str(tmp_path / "flowers")}, IMAGES)
    assert (len(data.train), len(data.eval)) == (16, 16)
    assert data.eval_source == f"split '{split}'"
    assert data.notes == (f"flowers: evaluated on its split '{split}'",)
    assert data.eval["origin"][0] == f"flowers/{split}/iris/0.png"


def test_validation_comes_before_test_and_a_named_split_before_both(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "validation", "test")):
        _folder(tmp_path / "flowers" / split, start=20 * number)
    data = read({"train": str(tmp_path / "flowers")}, IMAGES)
    assert data.notes == ("flowers: evaluated on its split 'validation'; not read: test",)
    data = read({"train": str(tmp_path / "flowers"), "eval": "test"}, IMAGES)
    assert data.eval["origin"][0] == "flowers/test/iris/0.png"
    assert data.notes == ()


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    data = read({"train": str(_folder(tmp_path / "vehicles", ("bus", "train", "test")))}, IMAGES)
    assert data.labels == ("bus", "test", "train")


def test_what_is_no_image_is_left_out_with_a_note(tmp_path: Path) -> None:
    root = _folder(tmp_path / "flowers")
    (root / "tulip").mkdir()
    (root / "rose" / "notes.txt").write_text("x")
    (root / "rose" / ".hidden.png").write_bytes(b"")
    (root / ".git").mkdir()
    (root / "readme.md").write_text("x")
    (root / "stray.png").write_bytes(_png(1))
    data = read({"train": str(root)}, IMAGES)
    assert data.labels == ("iris", "rose")
    assert data.notes == (
        "flowers: class folder 'tulip' has no images; left out",
        "flowers: 1 file (stray.png) beside the class folders left out",
        "flowers: 2 files (readme.md, ...) that no image reader knows left out",
    )


def test_links_that_loop_are_entered_once(tmp_path: Path) -> None:
    root = _folder(tmp_path / "flowers")
    (root / "rose" / "again").symlink_to(root / "rose")
    (root / "rose" / "up").symlink_to(root)
    (root / "rose" / "deep").mkdir()
    (root / "rose" / "deep" / "9.png").write_bytes(_png(999))
    data = read({"train": str(root)}, IMAGES)
    origins = [*data.train["origin"], *data.eval["origin"]]
    assert "flowers/rose/deep/9.png" in origins
    assert len(origins) == len({os.path.realpath(tmp_path / origin) for origin in origins if "/up/" not in origin}) + 8


def test_images_named_in_a_csv_are_found_beside_it(tmp_path: Path) -> None:
    _folder(tmp_path / "photos")
    rows = "".join(f"photos/{label}/{n}.png,{label}\n" for label in ("iris", "rose") for n in range(8))
    data = read({"train": _write(tmp_path / "train.csv", f"image,label\n{rows}")}, IMAGES)
    assert data.train[0]["image"]["path"].startswith(str(tmp_path / "photos"))
    assert data.train[0]["origin"].startswith("train.csv:")
    folder = read({"train": str(tmp_path / "photos")}, IMAGES)
    assert folder.fingerprint == data.fingerprint


def test_images_stored_in_a_parquet_file_are_read_as_bytes(tmp_path: Path) -> None:
    records = [{"image": {"bytes": _png(n), "path": f"{n}.png"}, "label": n % 2} for n in range(12)]
    data = read({"train": _write(tmp_path / "train.parquet", _parquet(records))}, IMAGES)
    row = data.train[0]
    assert row["image"] == {"path": "", "bytes": _png(int(row["origin"].split()[-1]) - 1)}


# splits, packages, the hub, one file


def test_a_folder_of_train_and_test_files_has_two_splits(tmp_path: Path) -> None:
    _write(tmp_path / "train.csv", f"text,label\n{ROWS}")
    _write(tmp_path / "test.jsonl", FORMS["jsonl"])
    data = read({"train": str(tmp_path)}, TEXTS)
    assert data.eval_source == "split 'test'"
    assert data.eval["origin"][0] == f"{tmp_path.name}/test.jsonl:1"


def test_data_of_an_installed_package_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some_reviews" / "data").mkdir(parents=True)
    (tmp_path / "some_reviews" / "__init__.py").write_text("raise RuntimeError('never imported')")
    _write(tmp_path / "some_reviews" / "data" / "train.csv", f"text,label\n{ROWS}")
    monkeypatch.syspath_prepend(tmp_path)
    data = read({"train": "pkg://some_reviews/data/train.csv"}, TEXTS)
    assert len(data.train) + len(data.eval) == 20
    assert data.train["origin"][0].startswith("train.csv:")


@pytest.fixture
def hub_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A set as the hub's cache keeps it, with class names and two splits."""
    folder = tmp_path / "cache" / "owner___reviews" / "default" / "0.0.0" / "abc"
    folder.mkdir(parents=True)
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["pos", "neg"])})
    splits = datasets.SplitDict(dataset_name="reviews")
    for split, count in (("train", 12), ("test", 4)):
        rows = {"text": [f"{split} {n}" for n in range(count)], "label": [n % 2 for n in range(count)]}
        with datasets.arrow_writer.ArrowWriter(
            path=str(folder / f"reviews-{split}.arrow"), features=features
        ) as writer:
            writer.write_batch(rows)
            writer.finalize()
        splits.add(datasets.splits.SplitInfo(name=split, num_examples=count, num_bytes=1))
    datasets.DatasetInfo(
        features=features,
        splits=splits,
        builder_name="parquet",
        dataset_name="reviews",
        config_name="default",
        version="0.0.0",
    ).write_to_directory(str(folder))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return "owner/reviews"


def test_a_hub_set_keeps_its_splits_and_class_names(hub_set: str) -> None:
    data = read({"train": hub_set, "eval": "test"}, TEXTS)
    assert (len(data.train), len(data.eval)) == (12, 4)
    assert data.labels == ("neg", "pos")
    assert data.train[0] == {"text": "train 0", "label": 1, "origin": "owner/reviews train row 1"}
    assert data.eval_source == "split 'test'"
    assert data.notes == ("owner/reviews: the hub was not reached; its copy in the cache is read",)


def test_a_hub_set_is_not_evaluated_on_itself(hub_set: str) -> None:
    with pytest.raises(DataError, match="owner/reviews: data.train and data.eval are the same"):
        read({"train": hub_set, "eval": hub_set}, TEXTS)


def test_a_file_is_read_with_known_labels(tmp_path: Path) -> None:
    name = _write(tmp_path / "new.csv", f"text,label\n{ROWS}")
    rows = read_file(name, {}, TEXTS, labels=("z", "b", "a"))
    assert rows["label"][:4] == [2, 1, 2, 1]
    assert rows["origin"][0] == "new.csv:2"


def test_rows_are_read_without_datasets(tmp_path: Path, checkout: Path) -> None:
    _folder(tmp_path / "flowers")
    _write(tmp_path / "new.csv", "text,label\nhello,b\n")
    _write(tmp_path / "new.jsonl", '{"text": "hello", "label": "b"}')
    program = f"""
import sys
from tunedeploy.data.columns import Column
from tunedeploy.data.kinds.category import CATEGORY
from tunedeploy.data.kinds.image import IMAGE
from tunedeploy.data.kinds.text import TEXT
from tunedeploy.data.read import read_rows
texts = Column(key="text", kind=TEXT), Column(key="label", kind=CATEGORY)
for name in "new.csv", "new.jsonl":
    (row,) = read_rows({str(tmp_path)!r} + "/" + name, {{}}, texts, labels=("a", "b"))
    assert row == {{"text": "hello", "label": 1, "origin": name + (":2" if name == "new.csv" else ":1")}}
images = Column(key="image", kind=IMAGE), Column(key="label", kind=CATEGORY)
assert len(read_rows({str(tmp_path / "flowers")!r}, {{}}, images, labels=("iris", "rose"))) == 16
assert not {{"datasets", "pyarrow", "pandas", "numpy", "torch"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_file_to_predict_needs_no_label(tmp_path: Path) -> None:
    columns = (TEXTS[0], Column(key="label", kind=CATEGORY, required=False))
    name = _write(tmp_path / "new.csv", "text\nhello\n")
    rows = read_file(name, {"label": "stars"}, columns, labels=("a", "b"))
    assert rows[0] == {"text": "hello", "label": -1, "origin": "new.csv:2"}
    image = _write(tmp_path / "a.png", _png(1))
    columns = (IMAGES[0], Column(key="label", kind=CATEGORY, required=False))
    for source in (image, str(tmp_path)):
        rows = read_file(source, {}, columns, labels=("a", "b"))
        assert rows[0]["image"]["path"] == image
        assert rows[0]["label"] == -1


# the fingerprint, and caches


def test_the_fingerprint_is_the_content_s_alone(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    one = read({"train": _write(tmp_path / "a.csv", f"text,label\n{ROWS}")}, TEXTS)
    other = read({"train": _write(tmp_path / "elsewhere" / "b.jsonl", FORMS["jsonl"])}, TEXTS)
    assert one.fingerprint == other.fingerprint
    assert len(one.fingerprint) == 64
    changed = read({"train": _write(tmp_path / "a.csv", f"text,label\n{ROWS}".replace("text 3", "text  3"))}, TEXTS)
    assert changed.fingerprint != one.fingerprint
    relabelled = read(
        {"train": _write(tmp_path / "a.csv", f"text,label\n{ROWS}".replace("text 3,b", "text 3,a"))}, TEXTS
    )
    assert relabelled.fingerprint not in {one.fingerprint, changed.fingerprint}


@pytest.mark.parametrize("form", FORMS)
def test_a_file_changed_in_place_with_its_old_date_is_read_anew(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"train.{form}"
    path.write_bytes(FORMS[form] if isinstance(FORMS[form], bytes) else FORMS[form].encode())
    stamp = path.stat()
    before = read({"train": str(path)}, TEXTS)
    path.write_bytes(path.read_bytes().replace(b"text 7", b"tale 7"))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    after = read({"train": str(path)}, TEXTS)
    assert "tale 7" in {*after.train["text"], *after.eval["text"]}
    assert after.fingerprint != before.fingerprint


def test_an_image_damaged_after_it_was_read_is_found(tmp_path: Path) -> None:
    root = _folder(tmp_path / "flowers")
    read({"train": str(root)}, IMAGES)
    (root / "rose" / "3.png").write_bytes(_png(3)[:-200])
    with pytest.raises(DataError, match=r"flowers/rose/3\.png: data\.image: the image is damaged"):
        read({"train": str(root)}, IMAGES)


def test_nothing_is_written_and_torch_is_not_loaded(tmp_path: Path, checkout: Path) -> None:
    _folder(tmp_path / "flowers")
    _write(tmp_path / "train.parquet", FORMS["parquet"])
    program = f"""
import sys
from tunedeploy.data.columns import Column
from tunedeploy.data.kinds.category import CATEGORY
from tunedeploy.data.kinds.image import IMAGE
from tunedeploy.data.kinds.text import TEXT
assert "datasets" not in sys.modules and "numpy" not in sys.modules
from tunedeploy.data.read import read
from tunedeploy.data.doctor.examine import examine
images = Column(key="image", kind=IMAGE), Column(key="label", kind=CATEGORY)
texts = Column(key="text", kind=TEXT), Column(key="label", kind=CATEGORY)
for name, columns in ({str(tmp_path / "flowers")!r}, images), ({str(tmp_path / "train.parquet")!r}, texts):
    examine(read({{"train": name}}, columns), columns)
assert "torch" not in sys.modules and "transformers" not in sys.modules
"""
    (tmp_path / "home").mkdir()
    environment = {**os.environ, "HOME": str(tmp_path / "home"), "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr == ""
    assert list((tmp_path / "home").iterdir()) == []


def _peak_bytes(name: str, checkout: Path) -> int:
    """The largest memory of a process that reads a file."""
    program = f"""
import resource
from tunedeploy.data.columns import TEXT_ROWS
from tunedeploy.data.read import read
read({{"train": {name!r}}}, TEXT_ROWS)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=checkout, capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_a_row_takes_little_memory_beside_its_text(tmp_path: Path, checkout: Path) -> None:
    """A text of 130 characters is held three times at the peak: as in the file, in Python and in Arrow."""
    words = [f"word{n}" for n in range(500)]
    peaks = []
    for count in (20_000, 100_000):
        rows = "".join(f"{' '.join(words[n % 480 : n % 480 + 16])} {n},{'abcdef'[n % 6]}\n" for n in range(count))
        peaks.append(_peak_bytes(_write(tmp_path / f"{count}.csv", f"text,label\n{rows}"), checkout))
    # 600 measured; 1,750 when every place and digest was a Python value of its own.
    assert (peaks[1] - peaks[0]) / 80_000 < 1_000


# real data


def test_banking77_is_read_whole_and_fast(assets: Path) -> None:
    start = time.perf_counter()
    folder = assets / "data" / "banking77"
    data = read({"train": str(folder / "train.csv"), "eval": str(folder / "test.csv"), "label": "category"}, TEXTS)
    assert (len(data.train), len(data.eval), len(data.labels)) == (10_003, 3_080, 77)
    assert time.perf_counter() - start < 10  # 0.2 s on an idle machine
    assert data.train[0]["text"] == "I am still waiting on my card?"
    assert data.labels[data.train[0]["label"]] == "card_arrival"


def test_flowers12_is_read_and_every_image_decoded(assets: Path) -> None:
    data = read({"train": str(assets / "data" / "flowers12")}, IMAGES)
    assert (len(data.train), len(data.eval), len(data.labels)) == (720, 240, 12)
