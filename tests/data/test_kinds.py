"""What each kind of column accepts, how it tells rows apart, and what it says of a cell that it refuses."""

import json
import math
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tunedeploy.data import kinds
from tunedeploy.data.columns import IMAGE_ROWS, TEXT_ROWS, Column, column_from
from tunedeploy.data.kinds.number import NUMBER
from tunedeploy.data.kinds.reference import REFERENCE
from tunedeploy.data.kinds.tags import TAGS
from tunedeploy.data.kinds.text import TEXT
from tunedeploy.data.kinds.words import WORDS
from tunedeploy.data.read import read, read_file
from tunedeploy.errors import DataError

HERE = Path()
TAGGED = (Column(key="words", kind=WORDS), Column(key="tags", kind=TAGS, parallel="words"))
SCORED = (Column(key="text", kind=TEXT), Column(key="score", kind=NUMBER))
ROWS = [{"words": ["Anna", "sees", f"house {n}"], "tags": ["B-PER", "O", "O"]} for n in range(20)]


def _jsonl(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


def test_a_kind_is_found_by_the_name_of_its_file() -> None:
    assert set(kinds.names()) >= {"category", "image", "number", "reference", "tags", "text", "words"}
    assert [kinds.kind(name).name for name in kinds.names()] == list(kinds.names())
    assert {name for name in kinds.names() if kinds.kind(name).target} == {"category", "number", "reference", "tags"}
    with pytest.raises(ValueError, match="unknown kind of column 'os.path'; known: category, "):
        kinds.kind("os.path")


def test_a_column_survives_json() -> None:
    for column in (*TEXT_ROWS, *IMAGE_ROWS, *TAGGED, *SCORED, Column(key="to", kind=REFERENCE, required=False)):
        assert column_from(json.loads(json.dumps(column.to_json()))) == column
    assert TEXT_ROWS[1].to_json() == {"key": "text_pair", "kind": "text", "required": False, "guesses": []}


BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"kind": "sound"}, "unknown kind of column 'sound'"),
    ({"key": 3}, "does not describe a column"),
    ({"required": "yes"}, "does not describe a column"),
    ({"more": 1}, "does not describe a column"),
    ({"guesses": "text"}, "guesses are not a list"),
    ({"guesses": [1]}, "guesses are not a list"),
    ({"parallel": 2}, "'parallel' is not the key"),
]


@pytest.mark.parametrize(("change", "also"), BROKEN, ids=[str(change) for change, _ in BROKEN])
def test_a_column_that_json_describes_badly_is_refused(change: dict[str, Any], also: str) -> None:
    with pytest.raises(ValueError, match=also):
        column_from(TEXT_ROWS[0].to_json() | change)


def test_kinds_load_nothing_heavy() -> None:
    code = (
        "import sys; from tunedeploy.data.columns import column_from; from tunedeploy.data import kinds;"
        "[kinds.kind(name) for name in kinds.names()];"
        "print({'numpy', 'datasets', 'pyarrow', 'pydantic', 'torch', 'PIL'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# words and tags


def test_words_are_a_list_a_json_list_or_parted_by_blanks() -> None:
    words = ["Anna", "sees", "[", "it"]
    for cell in (words, tuple(words), json.dumps(words), " Anna  sees\t[ it "):
        assert WORDS.parse(cell, HERE) == words
    assert WORDS.parse("[ Anna ]", HERE) == ["[", "Anna", "]"]
    assert WORDS.parse('["New York", "1\u00a0000"]', HERE) == ["New York", "1\u00a0000"]
    assert WORDS.parse("1\u00a0000 francs", HERE) == ["1\u00a0000", "francs"]


def test_tags_are_the_names_of_what_words_are() -> None:
    assert TAGS.parse("O B-PER  I-PER", HERE) == ["O", "B-PER", "I-PER"]
    assert TAGS.parse(["O", " B-PER "], HERE) == ["O", "B-PER"]
    assert TAGS.labels is not None and TAGS.encode is not None
    assert tuple(TAGS.labels(["O", "O", "B"])) == ("O", "O", "B")
    assert TAGS.encode(["O", "B"], {"B": 0, "O": 1}) == [1, 0]
    assert TAGS.absent == []


BAD_CELLS: list[tuple[kinds.Kind, Any, str]] = [
    (WORDS, None, "the words are missing; fill them in or remove the row"),
    (WORDS, math.nan, "the words are missing"),
    (WORDS, "  ", "there are no words; fill them in or remove the row"),
    (WORDS, [], "there are no words"),
    (WORDS, 7, "7 is of type int; a list of words is needed"),
    (WORDS, {"a": 1}, "of type dict"),
    (WORDS, ["in", 1999], "word 2 is 1999, which is no text; write it in quotes"),
    (WORDS, "[1, 2]", "word 1 is 1, which is no text"),
    (WORDS, ["in", " "], "word 2 is blank; remove it, and its tag"),
    (WORDS, "['Anna', 'sees']", "is not a JSON list of words; write"),
    (WORDS, "['Anna' 'sees']", "is not a JSON list of words"),
    (TAGS, [0, 3], 'the tags are numbers (0) without names; write their names ("O", "B-PER")'),
    (TAGS, "[0, 3]", "the tags are numbers (0) without names"),
    (TAGS, ["O", None], "tag 2 is None, which is no text"),
    (TAGS, ["O", True], "tag 2 is True, which is no text"),
    (TAGS, ["O", ""], "tag 2 is blank; write O for a word without one"),
    (TAGS, ["\ud800"], "half a character"),
    (NUMBER, None, "the number is missing; fill it or remove the row"),
    (NUMBER, " ", "the number is missing"),
    (NUMBER, True, "True is of type bool; a number is needed"),
    (NUMBER, [1.0], "of type list"),
    (NUMBER, "4,5", "'4,5' is not a number; write a point for its decimals (4.5)"),
    (NUMBER, "1,234.5", "'1,234.5' is not a number; write digits, with a point for decimals"),
    (NUMBER, "1_000", "is not a number"),
    (NUMBER, "\u0663", "is not a number"),
    (NUMBER, "five", "'five' is not a number"),
    (NUMBER, "nan", "'nan' is not a number"),
    (NUMBER, "inf", "'inf' is not a number"),
    (NUMBER, "1e999", "'1e999' is not a finite number"),
    (NUMBER, math.nan, "nan is not a finite number"),
    (NUMBER, -math.inf, "-inf is not a finite number"),
    (NUMBER, 10**400, "is not a finite number"),
    (NUMBER, 1e39, "1e+39 is too large for a 32-bit float"),
]


@pytest.mark.parametrize(("kind", "cell", "also"), BAD_CELLS, ids=[f"{k.name} {c!r:.30}" for k, c, _ in BAD_CELLS])
def test_a_cell_that_a_kind_refuses_is_explained(kind: kinds.Kind, cell: Any, also: str) -> None:
    with pytest.raises(ValueError) as caught:
        kind.parse(cell, HERE)
    assert also in str(caught.value)


def test_brackets_and_quotes_may_be_words() -> None:
    assert WORDS.parse("[ 'Yes' , she said ]", HERE) == ["[", "'Yes'", ",", "she", "said", "]"]


def test_words_and_tags_of_every_form_read_the_same(tmp_path: Path) -> None:
    expected = read({"train": _jsonl(tmp_path / "rows.jsonl", ROWS)}, TAGGED)
    assert expected.labels == ("B-PER", "O")
    assert expected.train[0]["tags"] == [0, 1, 1]
    assert expected.train[0]["words"][:2] == ["Anna", "sees"]
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
    cells = "".join('"{}",B-PER O O\n'.format(json.dumps(row["words"]).replace('"', '""')) for row in ROWS)
    (tmp_path / "rows.csv").write_text(f"words,tags\n{cells}", encoding="utf-8")
    for name in ("rows.parquet", "rows.csv"):
        data = read({"train": str(tmp_path / name)}, TAGGED)
        assert data.fingerprint == expected.fingerprint
        assert data.train["tags"][:] == expected.train["tags"][:]


def test_words_joined_otherwise_are_another_row(tmp_path: Path) -> None:
    assert WORDS.content(["New", "York"]) != WORDS.content(["New York"])
    other = [row | {"tags": ["O", "O", "O"] if n == 7 else row["tags"]} for n, row in enumerate(ROWS)]
    first = read({"train": _jsonl(tmp_path / "a.jsonl", ROWS)}, TAGGED)
    second = read({"train": _jsonl(tmp_path / "b.jsonl", other)}, TAGGED)
    assert first.fingerprint != second.fingerprint
    assert first.eval["words"][:] == second.eval["words"][:]  # a corrected tag moves no row


def test_a_row_with_more_words_than_tags_is_named(tmp_path: Path) -> None:
    rows = [*ROWS, {"words": ["a", "b"], "tags": ["O"]}, {"words": ["a"], "tags": ["O", "O"]}]
    with pytest.raises(DataError) as caught:
        read({"train": _jsonl(tmp_path / "rows.jsonl", rows)}, TAGGED)
    assert caught.value.lines == (
        "rows.jsonl:21: data.tags: 2 words and 1 tags; a row needs as many of both"
        " (1 more such rows, next rows.jsonl:22)",
    )


def test_a_file_to_predict_needs_no_tags(tmp_path: Path) -> None:
    columns = (TAGGED[0], Column(key="tags", kind=TAGS, required=False, parallel="words"))
    name = _jsonl(tmp_path / "rows.jsonl", [{"words": row["words"]} for row in ROWS])
    rows = read_file(name, {}, columns, labels=("B-PER", "O"))
    assert rows[0] == {"words": ["Anna", "sees", "house 0"], "tags": [], "origin": "rows.jsonl:1"}


# numbers


def test_a_number_is_a_number_or_is_written_as_one() -> None:
    cells: list[Any] = [4.5, 4, "4.5", " -0.25 ", "1e-3", ".5", "5.", Decimal("2.50"), 10**30, "+3"]
    assert [NUMBER.parse(cell, HERE) for cell in cells] == [4.5, 4, 4.5, -0.25, 0.001, 0.5, 5, 2.5, 1e30, 3]
    assert NUMBER.content(0.0) == NUMBER.content(-0.0) != NUMBER.content(5e-324)
    assert math.isnan(NUMBER.absent)


def test_a_number_counts_in_the_fingerprint_and_moves_no_row(tmp_path: Path) -> None:
    rows = [{"text": f"text {n}", "score": n / 8} for n in range(40)]
    first = read({"train": _jsonl(tmp_path / "a.jsonl", rows)}, SCORED)
    changed = [row | {"score": 9.5} if n == 7 else row for n, row in enumerate(rows)]
    second = read({"train": _jsonl(tmp_path / "b.jsonl", changed)}, SCORED)
    assert first.labels == ()
    assert first.train.features["score"].dtype == "float64"
    assert first.fingerprint != second.fingerprint
    assert first.eval["text"][:] == second.eval["text"][:]
    texts = "".join(f"{row['text']},{row['score']}\n" for row in rows)
    (tmp_path / "a.csv").write_text(f"text,score\n{texts}")
    assert read({"train": str(tmp_path / "a.csv")}, SCORED).fingerprint == first.fingerprint


def test_a_number_that_is_not_in_the_file_is_nan(tmp_path: Path) -> None:
    columns = (SCORED[0], Column(key="score", kind=NUMBER, required=False))
    rows = read_file(_jsonl(tmp_path / "a.jsonl", [{"text": "x"}]), {}, columns, labels=())
    assert math.isnan(rows[0]["score"])


def test_a_reference_is_no_input(tmp_path: Path) -> None:
    columns = (Column(key="source", kind=TEXT), Column(key="target", kind=REFERENCE))
    rows = [{"source": f"text {n}", "target": f"texte {n}"} for n in range(40)]
    first = read({"train": _jsonl(tmp_path / "a.jsonl", rows)}, columns)
    changed = [row | {"target": "autre"} if n == 7 else row for n, row in enumerate(rows)]
    second = read({"train": _jsonl(tmp_path / "b.jsonl", changed)}, columns)
    assert first.fingerprint != second.fingerprint
    assert first.eval["source"][:] == second.eval["source"][:]
    assert set(first.train.column_names) == {"source", "target", "origin"}


def test_a_target_that_is_the_same_in_every_row_is_one_line(tmp_path: Path) -> None:
    rows = [{"text": f"text {n}", "score": 3 if n else 3.0} for n in range(40)]
    with pytest.raises(DataError, match="a.jsonl: every training row has the number 3, so there is nothing to learn"):
        read({"train": _jsonl(tmp_path / "a.jsonl", rows)}, SCORED)
    plain = [row | {"tags": ["O", "O", "O"]} for row in ROWS]
    with pytest.raises(DataError, match="b.jsonl: every word has the tag 'O'; at least two tags are needed"):
        read({"train": _jsonl(tmp_path / "b.jsonl", plain)}, TAGGED)
