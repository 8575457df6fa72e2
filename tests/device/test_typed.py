"""JSON from anywhere is held to the types of a record, and what differs is one line with its place."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import pytest

from tunedeploy.device import typed
from tunedeploy.errors import RunError


class Inner(TypedDict):
    file: str


class Document(TypedDict):
    name: str
    count: int
    share: float
    parts: dict[str, Inner]
    words: list[str]
    note: NotRequired[str | None]


@dataclass(frozen=True, kw_only=True)
class Facts:
    sides: tuple[int, int]
    names: tuple[str, ...] = ()
    flag: bool = False

    def __post_init__(self) -> None:
        if 0 in self.sides:
            raise ValueError("sides: 0 is not a side")


GOOD: dict[str, Any] = {
    "name": "a", "count": 1, "share": 0.5, "parts": {"x": {"file": "y"}}, "words": ["b"], "later": [{}],
}  # fmt: skip


def problem(tmp_path: Path, content: str | bytes) -> str:
    path = tmp_path / "d.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(RunError) as caught:
        typed.read(path, Document)
    (line,) = caught.value.lines
    assert len(line.splitlines()) == 1
    return line.removeprefix(f"{path}: ")


@pytest.mark.parametrize("note", [{}, {"note": None}, {"note": "c"}])
def test_what_fits_is_returned_as_it_is_with_keys_of_later_versions(note: dict[str, Any]) -> None:
    assert typed.parse(typed.json.dumps(GOOD | note), Document, "d.json") == GOOD | note


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"name": None}, "name: expected text, got null"),
        ({"count": True}, "count: expected a whole number, got true"),
        ({"count": 1.0}, "count: expected a whole number, got 1.0"),
        ({"count": 10**30}, "count: expected a whole number, got 1000000000000000000000000000000"),
        ({"share": "1"}, 'share: expected a number, got "1"'),
        ({"share": 1e308}, "share: expected a number, got 1e+308"),
        ({"parts": []}, "parts: expected an object, got a list"),
        ({"parts": {"x": {}}}, "parts.x.file: missing"),
        ({"parts": {"x\n": 1}}, r"parts.'x\n': expected an object, got 1"),
        ({"words": ["a", 3]}, "words[1]: expected text, got 3"),
        ({"note": 1}, "note: expected text, got 1"),
    ],
    ids=str,
)
def test_what_differs_is_named_with_its_place(change: dict[str, Any], line: str, tmp_path: Path) -> None:
    assert problem(tmp_path, typed.json.dumps(GOOD | change)) == line


@pytest.mark.parametrize(
    "content",
    ["", "{", '{"name": NaN}', '{"name": Infinity}', '{"name": "\\ud800"}', "[" * 100_000, '{"name": 1, "name": 2}',
     b"\xff\xfe\xfd", b"\0" * 20, '{"count": 1' + "0" * 5000 + "}"],
    ids=range(10),
)  # fmt: skip
def test_what_is_not_json_or_what_readers_disagree_on_is_refused(content: str | bytes, tmp_path: Path) -> None:
    assert problem(tmp_path, content).startswith("is not JSON: ")


@pytest.mark.parametrize("content", ["[]", "null", "1", '"x"'])
def test_another_kind_of_document_is_refused(content: str, tmp_path: Path) -> None:
    assert problem(tmp_path, content).startswith("the file: expected an object, got ")


def test_a_record_of_facts_is_made_of_its_object() -> None:
    assert typed.from_json(Facts, {"sides": [1, 2], "names": ["a"]}) == Facts(sides=(1, 2), names=("a",))


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ({}, "sides: missing"),
        ({"sides": [1]}, "sides: expected 2 values, got 1"),
        ({"sides": [1, "2"]}, 'sides[1]: expected a whole number, got "2"'),
        ({"sides": [1, 0]}, "sides: 0 is not a side"),
        ({"sides": [1, 2], "flag": 1}, "flag: expected true or false, got 1"),
        ({"sides": [1, 2], "other": 1}, "other: unknown key"),
        ([], "the file: expected an object, got a list"),
    ],
    ids=str,
)
def test_facts_that_differ_are_named(value: Any, line: str) -> None:
    with pytest.raises(typed.Mismatch) as caught:
        typed.from_json(Facts, value)
    assert str(caught.value) == line
