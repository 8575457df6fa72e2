"""Read jsonl, one record a line, and a .json file that is a list of records."""

import json
from array import array
from collections.abc import Iterator
from pathlib import Path

from tunedeploy.data.readers.plain_text import read_text
from tunedeploy.data.table import MISSING, Places, Table
from tunedeploy.errors import DataError

Record = dict[str, object]
Keys = tuple[str, ...]  # from a record to a value inside it

DEEPEST = 4  # records inside records whose keys are columns
WIDEST = 200  # columns beyond which those inside records are not listed: keys may be ids


def read_json(path: Path, name: str) -> Table:
    """Records as a table; NaN counts as null, a key that a record lacks is `MISSING`.

    A record inside a record is a column, and each of its keys is one too, by its path: "review", "review.body".

    Raises:
        DataError: bad JSON or something that is not a record, with file and line (or the record's number in a list). A
            column whose name two paths have, as of {"b.c": 1} and {"b": {"c": 1}}, is refused when it is read.
    """
    text, notes = read_text(path, name)
    if text.lstrip().startswith("["):
        records = _list(text, name)
        places = Places(f"{name} record ", range(1, len(records) + 1))
    else:
        records, places = _lines(text, name)
        _check_one_object(records, name, is_lines=path.suffix == ".jsonl")
    for record, place in zip(records, places, strict=True):
        if not isinstance(record, dict):
            raise DataError(f'{place}: a {type(record).__name__}, not a record; write {{"column": value, ...}}')
    paths = _paths_of(records)
    if not paths:
        raise DataError(f"{name}: no records in it")

    def column(called: str) -> list[object]:
        first, *others = paths[called]
        if others:
            raise DataError(_ambiguous(name, called, [first, *others]))
        return [_inside(record, first) for record in records]

    return Table(
        name=name,
        header=tuple(paths),
        column=column,
        places=places,
        folder=path.parent,
        notes=tuple(notes),
    )


def _paths_of(records: list[Record]) -> dict[str, list[Keys]]:
    """Name of a column -> the paths that have it, in the order in which they occur; a record's own key comes alone."""
    paths_of: dict[str, dict[Keys, None]] = {}
    for record in records:
        for key, value in record.items():
            paths_of.setdefault(key, {})[(key,)] = None
            if isinstance(value, dict) and len(paths_of) < WIDEST:
                for path in _paths(value, (key,), DEEPEST):
                    paths_of.setdefault(".".join(path), {})[path] = None
    return {name: [(name,)] if (name,) in paths else list(paths) for name, paths in paths_of.items()}


def _paths(record: Record, above: Keys, depth: int) -> Iterator[Keys]:
    for key, value in record.items():
        yield (*above, key)
        if isinstance(value, dict) and depth > 1:
            yield from _paths(value, (*above, key), depth - 1)


def _inside(record: object, path: Keys) -> object:
    """What a path leads to, or MISSING."""
    for key in path:
        if not isinstance(record, dict) or key not in record:
            return MISSING
        record = record[key]
    return record


def _ambiguous(name: str, column: str, paths: list[Keys]) -> str:
    """The line about a column whose name is that of several paths."""
    shown = " or ".join(" > ".join(json.dumps(key, ensure_ascii=False) for key in path) for path in paths)
    return f"{name}: the column {column!r} could be {shown}; rename a key of one"


def _check_one_object(records: list[Record], name: str, *, is_lines: bool) -> None:
    """Raise DataError for a file that wraps its records, as in {"data": [...]}."""
    if len(records) == 1 and isinstance(records[0], dict):
        kinds = list if is_lines else list | dict  # a line may well be a record that holds another one
        wrapped = [key for key, value in records[0].items() if isinstance(value, kinds)]
        if wrapped:
            raise DataError(
                f"{name}: one object with {wrapped[0]!r} in it; write a list of records, or one record a line"
            )


def _lines(text: str, name: str) -> tuple[list[Record], Places]:
    records: list[Record] = []
    lines = array("L")
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            records.append(json.loads(line, parse_constant=_constant))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{name}:{number}: {_trouble(error, line)}; write one JSON record a line") from error
        lines.append(number)
    return records, Places(f"{name}:", lines)


def _list(text: str, name: str) -> list[Record]:
    try:
        records: list[Record] = json.loads(text, parse_constant=_constant)
    except json.JSONDecodeError as error:
        raise DataError(f"{name}:{error.lineno}:{error.colno}: not JSON ({error.msg}); mend the list") from error
    except ValueError as error:
        raise DataError(f"{name}: a number of thousands of digits; put it in quotes") from error
    except RecursionError as error:
        raise DataError(f"{name}: lists nested too deep; write a list of records") from error
    return records


def _constant(word: str) -> float | None:
    return None if word == "NaN" else float(word.replace("Infinity", "inf"))


def _trouble(error: Exception, line: str) -> str:
    if isinstance(error, RecursionError):
        return "values nested too deep"
    if not isinstance(error, json.JSONDecodeError):
        return "a number of thousands of digits"
    around = line[max(error.pos - 15, 0) : error.pos + 15].strip()
    return f"not JSON ({error.msg} at column {error.colno}, near {around!r})"
