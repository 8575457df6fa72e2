"""CoNLL files of every habit: how sentences, documents and columns are told apart, and which line is wrong."""

import json
from collections import Counter
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunedeploy.data.columns import Column
from tunedeploy.data.kinds.tags import TAGS
from tunedeploy.data.kinds.words import WORDS
from tunedeploy.data.read import read
from tunedeploy.data.readers.open import open_source
from tunedeploy.data.table import Table
from tunedeploy.errors import DataError

TAGGED = (Column(key="words", kind=WORDS), Column(key="tags", kind=TAGS, parallel="words"))
PLAIN = "Anna B-PER\nsees O\nRome B-LOC\n. O\n\nYes O\n. O\n"
UNIVERSAL = """# newdoc id = a
# text = Anna didn't
1\tAnna\tAnna\tPROPN\tNNP\t_\t2\tnsubj\t_\t_
2-3\tdidn't\t_\t_\t_\t_\t_\t_\t_\t_
2\tdid\tdo\tAUX\tVBD\t_\t0\troot\t_\t_
3\tn't\tnot\tPART\tRB\t_\t2\tadvmod\t_\t_
3.1\tgo\tgo\tVERB\t_\t_\t_\t_\t_\t_

# newdoc id = b
1\t#\t#\tSYM\t_\t_\t0\troot\t_\t_
"""


def _table(path: Path, text: str | bytes) -> Table:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return open_source(str(path)).splits[""]()


FORMS = {
    "plain": ("a.conll", PLAIN),
    "tabs": ("a.conll", PLAIN.replace(" ", "\t")),
    "several blanks": ("a.iob", PLAIN.replace(" ", "   ")),
    "windows": ("a.bio", PLAIN.replace("\n", "\r\n")),
    "old mac": ("a.iob2", PLAIN.replace("\n", "\r")),
    "byte order mark": ("a.conll", "\ufeff" + PLAIN),
    "blank lines with blanks": ("a.conll", PLAIN.replace("\n\n", "\n \t\n\n")),
    "no last line end": ("a.conll", PLAIN.rstrip()),
    "four columns": ("a.conll.txt", "".join(f"{w} X Y {t}\n" if t else "\n" for w, t in map(
        lambda line: (line.split() + ["", ""])[:2], PLAIN.splitlines()))),
    "text that looks like it": ("a.txt", PLAIN),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_file_reads_the_same(tmp_path: Path, form: str) -> None:
    name, text = FORMS[form]
    table = _table(tmp_path / name, text)
    assert table.header == ("words", "tags")
    assert table.column("words") == [["Anna", "sees", "Rome", "."], ["Yes", "."]]
    assert table.column("tags") == [["B-PER", "O", "B-LOC", "O"], ["O", "O"]]
    assert table.group == ""
    assert table.places[0] == f"{name}:1"


def test_lines_of_documents_part_them(tmp_path: Path) -> None:
    starts = "-DOCSTART- -X- O O\n\n"
    table = _table(tmp_path / "a.conll", f"{starts}Anna O O B-PER\n\nYes O O O\n\n{starts}No O O O\n\n{starts}")
    assert table.header == ("words", "tags", "document")
    assert table.column("document") == ["Anna", "Anna", "No"]
    assert list(table.places) == ["a.conll:3", "a.conll:5", "a.conll:9"]
    assert table.group == "document"
    before = _table(tmp_path / "b.conll", f"Oh O\n-DOCSTART- O\nAnna B-PER\n{starts}Anna O\n")
    assert before.column("document") == ["Oh", "Anna", "Anna (2)"]
    assert _table(tmp_path / "c.conll", f"{starts}{PLAIN}").group == ""


def test_signs_are_words_and_a_no_break_space_stands_inside_one(tmp_path: Path) -> None:
    table = _table(tmp_path / "a.conll", "# O\n#tag O\n1\u00a0000 O\n\u2028x O\n")
    assert table.column("words") == [["#", "#tag", "1\u00a0000", "\u2028x"]]


def test_of_conll_u_the_forms_and_their_universal_tags_are_read(tmp_path: Path) -> None:
    for name in ("a.conllu", "a.conll"):
        table = _table(tmp_path / name, UNIVERSAL)
        assert table.column("words") == [["Anna", "did", "n't"], ["#"]]
        assert table.column("tags") == [["PROPN", "AUX", "PART"], ["SYM"]]
        assert table.column("document") == ["Anna did n't", "#"]
        assert table.notes == (f"{name}: CoNLL-U; its FORM is taken as words, its UPOS as tags",)


MISTAKES: dict[str, tuple[str, bytes, str]] = {
    "one column": ("a.conll", b"\nAnna\nsees\n", "a.conll:2: one column; write a word and its tag on each line"),
    "a word without a tag": (
        "a.conll",
        b"Anna B-PER\nsees\n. O\n",
        "a.conll:2: 1 column where the first word has 2; add what is missing",
    ),
    "a blank in a word": (
        "a.conll",
        b"Anna B-PER\nNew York B-LOC\n",
        "a.conll:2: 3 columns where the first word has 2; take the spaces out of the word, or put tabs between",
    ),
    "a column more": (
        "a.conll",
        b"Anna\tB-PER\nsees\tO\tx\n",
        "a.conll:2: 3 columns where the first word has 2; remove the rest",
    ),
    "cut off": (
        "a.conll",
        b"Anna B-PER\nsees O\nRo",
        "a.conll:3: 1 column where the first word has 2; the file is cut off here",
    ),
    "a blank word": ("a.conll", b"Anna\tB-PER\n \tO\n", "a.conll:2: the word is blank; remove the line"),
    "a no-break space as a word": ("a.conll", "a O\n\u00a0 O\n".encode(), "a.conll:2: the word is blank"),
    "a blank tag": ("a.conll", b"Anna\tB-PER\nsees\t\n", "a.conll:1: data.tags ('tags'): tag 2 is blank; write O"),
    "empty": ("a.conll", b"", "a.conll: the file is empty"),
    "nothing but documents": ("a.conll", b"-DOCSTART- O\n\n", "a.conll: no words in it"),
    "no encoding": ("a.conll", b"caf\x8d O\n", "a.conll:1: byte 3 (0x8d) is not UTF-8, nor can it be Windows-1252"),
    "text of another kind": ("a.txt", b"Some text.\n", "a.txt: '.txt' is not a supported file type; known: "),
}


@pytest.mark.parametrize("claim", MISTAKES)
def test_a_malformed_file_gives_one_line_with_its_place(tmp_path: Path, claim: str) -> None:
    name, content, start = MISTAKES[claim]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read({"train": str(tmp_path / name)}, TAGGED)
    (line,) = caught.value.lines
    assert line.startswith(start)


PIECES = [
    *("Anna", " ", "\t", "\n", "\n\n", "\r", "O", "B-PER", "-DOCSTART-", "# newdoc", "1", "2-3", "_\t" * 8, "\u00a0"),
    *("[", "'"),
]


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=40).map("".join))
def test_whatever_a_file_holds_is_read_or_refused_in_a_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.conll"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        table = open_source(str(path)).splits[""]()
        data = read({"train": str(path)}, TAGGED)
    except DataError as error:
        assert all("\n" not in line for line in error.lines)
        return
    assert len(data.train) + len(data.eval) == len(table.places)
    assert all(len(row["words"]) == len(row["tags"]) for side in (data.train, data.eval) for row in side)


def test_a_folder_of_the_usual_files_has_splits(tmp_path: Path) -> None:
    for name in ("train.txt", "valid.txt", "test.conll.txt"):
        (tmp_path / name).write_text(PLAIN + "\n" + PLAIN.replace("Anna", name))
    (tmp_path / "readme.txt").write_text("Read me.")
    data = read({"train": str(tmp_path)}, TAGGED)
    assert data.eval_source == "split 'valid'"
    assert data.train["origin"][0] == f"{tmp_path.name}/train.txt:1"
    assert data.notes == (f"{tmp_path.name}: evaluated on its split 'valid'; not read: test",)


def test_a_text_beside_a_table_is_no_split(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(json.dumps({"words": ["a"], "tags": ["O"]}))
    (tmp_path / "train.txt").write_text("How this was made.")
    assert list(open_source(str(tmp_path)).splits) == ["train"]


def test_class_names_of_lists_in_parquet_are_the_tags(tmp_path: Path) -> None:
    names = datasets.List(datasets.ClassLabel(names=["O", "B-PER"]))
    features = datasets.Features({"words": datasets.List(datasets.Value("string")), "tags": names})
    rows = {"words": [["Anna", str(n)] for n in range(20)], "tags": [[1, 0]] * 20}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "a.parquet")
    data = read({"train": str(tmp_path / "a.parquet")}, TAGGED)
    assert data.labels == ("B-PER", "O")
    assert data.train[0]["tags"] == [0, 1]
    pq.write_table(pa.table(rows), tmp_path / "bare.parquet")
    with pytest.raises(DataError, match=r"bare.parquet row 1: data.tags .*: the tags are numbers \(1\) without"):
        read({"train": str(tmp_path / "bare.parquet")}, TAGGED)


def test_wikigold_is_read_whole(assets: Path) -> None:
    table = open_source(str(assets / "data" / "wikigold" / "wikigold.conll.txt")).splits[""]()
    tags = Counter(tag for row in table.column("tags") for tag in row)
    assert sum(tags.values()) == 39_007
    assert set(tags) == {"O", "I-PER", "I-ORG", "I-LOC", "I-MISC"}
    assert len(set(table.column("document"))) == 145
    assert len(table.places) == 1_696
