"""The automatic split: stable, stratified, and never across two copies of one row."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunedeploy.data.columns import Column
from tunedeploy.data.kinds.category import CATEGORY
from tunedeploy.data.kinds.tags import TAGS
from tunedeploy.data.kinds.text import TEXT
from tunedeploy.data.kinds.words import WORDS
from tunedeploy.data.read import Data, read
from tunedeploy.data.readers.open import open_source
from tunedeploy.data.split import automatic_split, digest, limit_rows, place
from tunedeploy.errors import DataError

TAGGED = (Column(key="words", kind=WORDS), Column(key="tags", kind=TAGS, parallel="words"))
TEXTS = (Column(key="text", kind=TEXT), Column(key="label", kind=CATEGORY))


def _read(path: Path, rows: list[tuple[str, str]], **options: object) -> Data:
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    return read({"train": str(path), **options}, TEXTS)


def _sides(data: Data) -> dict[str, str]:
    return {text: side for side in ("train", "eval") for text in getattr(data, side)["text"]}


def _rows(count: int, classes: int = 4, start: int = 0) -> list[tuple[str, str]]:
    return [(f"row number {number}", f"class {number % classes}") for number in range(start, start + count)]


def test_each_class_gives_about_its_share(tmp_path: Path) -> None:
    data = _read(tmp_path / "a.csv", _rows(4000))
    assert data.eval_source == "automatic 20 %"
    shares = [count / 1000 for count in Counter(data.eval["label"]).values()]
    assert len(shares) == 4
    assert all(0.16 < share < 0.24 for share in shares)
    wider = _read(tmp_path / "a.csv", _rows(4000), eval_share=0.35)
    assert wider.eval_source == "automatic 35 %"
    assert 0.32 < len(wider.eval) / 4000 < 0.38


def test_rows_appended_move_no_row(tmp_path: Path) -> None:
    before = _sides(_read(tmp_path / "a.csv", _rows(400)))
    after = _sides(_read(tmp_path / "a.csv", _rows(400) + _rows(300, 7, start=400)))
    assert {text: after[text] for text in before} == before


def test_neither_the_order_nor_a_corrected_label_moves_a_row(tmp_path: Path) -> None:
    rows = _rows(400)
    before = _sides(_read(tmp_path / "a.csv", rows))
    assert _sides(_read(tmp_path / "b.csv", rows[::-1])) == before
    corrected = [("row number 7", "class 0") if text == "row number 7" else (text, label) for text, label in rows]
    assert _sides(_read(tmp_path / "c.csv", corrected)) == before


def test_the_order_of_the_file_is_kept(tmp_path: Path) -> None:
    data = _read(tmp_path / "a.csv", _rows(400))
    for side in (data.train, data.eval):
        numbers = [int(text.split()[-1]) for text in side["text"]]
        assert numbers == sorted(numbers)


def test_copies_of_a_row_stay_on_one_side(tmp_path: Path) -> None:
    data = _read(tmp_path / "a.csv", _rows(200) * 3)
    assert not set(data.train["text"]) & set(data.eval["text"])
    assert len(data.train) + len(data.eval) == 600


def test_a_class_with_one_distinct_row_is_trained_and_noted(tmp_path: Path) -> None:
    data = _read(tmp_path / "a.csv", [*_rows(200), ("alone", "rare"), ("alone", "rare")])
    assert "alone" in data.train["text"]
    assert "alone" not in data.eval["text"]
    assert data.notes == ("a.csv: 1 classes have one distinct row and are not evaluated: 'rare'",)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5)), min_size=1, max_size=60), st.floats(0.01, 0.99))
def test_every_class_with_two_distinct_rows_is_on_both_sides(rows: list[tuple[int, int]], share: float) -> None:
    keys = [digest([bytes([text, label])]) for text, label in rows]
    labels = [(str(label),) for _, label in rows]
    sides = automatic_split(keys, labels, share)
    assert sides == automatic_split(keys, labels, share)
    for label in {text for (text,) in labels}:
        distinct = {key for key, (text,) in zip(keys, labels, strict=True) if text == label}
        found = {side for side, (text,) in zip(sides, labels, strict=True) if text == label}
        assert found == ({False, True} if len(distinct) > 1 else {False})


def test_rows_without_labels_fill_both_sides() -> None:
    for share in (0.01, 0.2, 0.99):
        keys = [digest([str(number).encode()]) for number in range(3)]
        assert set(automatic_split(keys, [()] * 3, share)) == {False, True}


def test_digests_tell_parts_apart_and_spread_evenly() -> None:
    assert digest([b"ab", b"c"]) != digest([b"a", b"bc"])
    assert digest([b"a", b""]) != digest([b"a"])
    places = [place(digest([str(number).encode()])) for number in range(2000)]
    assert 0.47 < sum(places) / 2000 < 0.53
    assert 0 <= min(places) < 0.01
    assert 0.99 < max(places) < 1


def test_a_limit_keeps_every_class_and_the_order(tmp_path: Path) -> None:
    rows = [*_rows(300, 2), *[(f"rare {number}", "rare") for number in range(4)]]
    data = _read(tmp_path / "a.csv", rows, limit=20)
    assert len(data.train) == 20
    assert set(data.train["label"]) == {0, 1, 2}
    assert data.train["origin"][:] == sorted(data.train["origin"], key=lambda origin: int(origin.split(":")[1]))
    assert data.notes == (f"a.csv: data.limit keeps 20 of {304 - len(data.eval)} training rows",)
    assert _read(tmp_path / "a.csv", rows, limit=10_000).notes == ()


def test_a_larger_limit_keeps_the_rows_of_a_smaller_one() -> None:
    keys = [digest([str(number).encode()]) for number in range(200)]
    labels = [(str(number % 5),) for number in range(200)]
    small, large = limit_rows(keys, labels, 20), limit_rows(keys, labels, 50)
    assert (len(small), len(large)) == (20, 50)
    assert set(small) < set(large)


@pytest.mark.parametrize("classes", [2, 77])
def test_the_split_of_real_rows_has_every_class_on_both_sides(assets: Path, classes: int) -> None:
    name, label = {2: ("sentiment_sentences", "label"), 77: ("banking77", "category")}[classes]
    data = read({"train": str(assets / "data" / name / "train.csv"), "label": label}, TEXTS)
    assert len(data.labels) == classes
    assert set(data.train["label"]) == set(data.eval["label"]) == set(range(classes))
    assert 0.18 < len(data.eval) / (len(data.train) + len(data.eval)) < 0.22
    assert not set(data.train["text"]) & set(data.eval["text"])


# groups


def _customers(path: Path, count: int, *, extra: str = "") -> str:
    rows = "".join(f"order {n},{'ab'[n % 2]},customer {n % 30}\n" for n in range(count))
    path.write_text(f"text,label,customer\n{rows}{extra}")
    return str(path)


def _by_customer(data: Data) -> dict[int, set[str]]:
    """Of each customer, the sides on which orders stand."""
    sides: dict[int, set[str]] = {}
    for text, side in _sides(data).items():
        sides.setdefault(int(text.split()[1]) % 30, set()).add(side)
    return sides


def test_rows_of_one_group_stand_on_one_side(tmp_path: Path) -> None:
    data = read({"train": _customers(tmp_path / "a.csv", 300), "group": "customer"}, TEXTS)
    assert sorted(_by_customer(data)) == list(range(30))
    assert all(len(side) == 1 for side in _by_customer(data).values())
    assert data.eval_source.startswith("automatic 20 % by 'customer'")
    assert 20 < len(data.eval) < 120
    assert data.train.column_names == ["text", "label", "origin"]
    alone = read({"train": _customers(tmp_path / "a.csv", 300)}, TEXTS)
    assert any(len(side) == 2 for side in _by_customer(alone).values())


def test_rows_and_groups_added_later_move_no_group(tmp_path: Path) -> None:
    before = read({"train": _customers(tmp_path / "a.csv", 300), "group": "customer"}, TEXTS)
    extra = "".join(f"new {n},{'ab'[n % 2]},customer {n % 60}\n" for n in range(300))
    after = read({"train": _customers(tmp_path / "b.csv", 300, extra=extra), "group": "customer"}, TEXTS)
    assert set(before.eval["text"]) <= set(after.eval["text"])
    assert set(before.train["text"]) <= set(after.train["text"])


def test_a_class_of_one_group_is_trained_on_and_said_not_to_be_evaluated(tmp_path: Path) -> None:
    extra = "".join(f"rare {n},rare,customer 99\n" for n in range(9))
    data = read({"train": _customers(tmp_path / "a.csv", 300, extra=extra), "group": "customer"}, TEXTS)
    assert "a.csv: 1 classes are in one 'customer' only and are not evaluated: 'rare'" in data.notes
    assert sum(text.startswith("rare") for text in data.train["text"]) == 9


GROUP_MISTAKES = {
    "no such column": (
        "custmer",
        "",
        "a.csv: no column 'custmer' (data.group); columns: 'text', 'label', 'customer'; did you mean 'customer'?",
    ),
    "an empty cell": ("customer", "x,a,\n", "a.csv:42: data.group ('customer'): the cell is empty; fill it in or"),
    "one value": ("one", "", "b.csv: every row has the same 'one'; data.group needs two values, or leave it out"),
}


@pytest.mark.parametrize("claim", GROUP_MISTAKES)
def test_a_column_that_groups_nothing_is_one_line(tmp_path: Path, claim: str) -> None:
    name, extra, start = GROUP_MISTAKES[claim]
    _customers(tmp_path / "a.csv", 40, extra=extra)
    (tmp_path / "b.csv").write_text("text,label,one\n" + "".join(f"x {n},{'ab'[n % 2]},1\n" for n in range(9)))
    with pytest.raises(DataError) as caught:
        read({"train": str(tmp_path / start[:5]), "group": name}, TEXTS)
    (line,) = caught.value.lines
    assert line.startswith(start)


def test_a_list_groups_nothing_and_a_number_is_one_value_in_either_form(tmp_path: Path) -> None:
    rows = [{"text": f"x {n}", "label": "ab"[n % 2], "who": n % 20 if n < 40 else float(n % 20)} for n in range(80)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = read({"train": str(tmp_path / "a.jsonl"), "group": "who"}, TEXTS)
    groups = [{int(text.split()[1]) % 20 for text in side["text"]} for side in (data.train, data.eval)]
    assert groups[0] and groups[1] and not groups[0] & groups[1]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row | {"who": [1]}) for row in rows))
    with pytest.raises(DataError, match=r"a.jsonl:1: data.group \('who'\): \[1\] is of type list"):
        read({"train": str(tmp_path / "a.jsonl"), "group": "who"}, TEXTS)


def test_a_group_beside_named_evaluation_rows_is_said_to_do_nothing(tmp_path: Path) -> None:
    names = [_customers(tmp_path / f"{name}.csv", 40) for name in ("a", "b")]
    data = read({"train": names[0], "eval": names[1], "group": "customer"}, TEXTS)
    assert "data.group: only the automatic split goes by it, and data.eval is given" in data.notes


def test_no_document_of_wikigold_is_parted(assets: Path) -> None:
    name = str(assets / "data" / "wikigold" / "wikigold.conll.txt")
    data = read({"train": name}, TAGGED)
    table = open_source(name).splits[""]()
    document = dict(zip(table.places, table.column("document"), strict=True))
    train, held_out = ({document[origin] for origin in side["origin"]} for side in (data.train, data.eval))
    assert len(train) + len(held_out) == 145
    assert not train & held_out
    assert 0.1 < len(data.eval) / len(table.places) < 0.3
    assert data.notes == (
        "wikigold.conll.txt: 145 documents are kept whole by the split; data.group names another column",
    )
