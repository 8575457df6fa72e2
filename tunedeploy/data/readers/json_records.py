"""Read jsonl, one record a line, and a .json file that is a list of records."""

import json
from array import array
from pathlib import Path

from tunedeploy.data.readers.delimited import read_text
from tunedeploy.data.table import MISSING, Places, Table
from tunedeploy.errors import DataError

Record = dict[str, object]


def read_json(path: Path, name: str) -> Table:
    """Records as a table; NaN counts as null, a key that a record lacks is `MISSING`.

    Raises:
        DataError: bad JSON or something that is not a record, with file and line (or the record's number in a list).
    """
    text, notes = read_text(path, name)
    if text.lstrip().startswith("["):
        records = _list(text, name)
        places = Places(f"{name} record ", range(1, len(records) + 1))
    else:
        records, places = _lines(text, name)
        _check_one_object(records, name)
    for record, place in zip(records, places, strict=True):
        if not isinstance(record, dict):
            raise DataError(f'{place}: a {type(record).__name__}, not a record; write {{"column": value, ...}}')
    header = tuple(dict.fromkeys(key for record in records for key in record))
    if not header:
        raise DataError(f"{name}: no records in it")
    return Table(
        name=name,
        header=header,
        column=lambda column: [record.get(column, MISSING) for record in records],
        places=places,
        folder=path.parent,
        notes=tuple(notes),
    )


def _check_one_object(records: list[Record], name: str) -> None:
    """Raise DataError for a file that wraps its records, as in {"data": [...]}."""
    if len(records) == 1 and isinstance(records[0], dict):
        wrapped = [key for key, value in records[0].items() if isinstance(value, list | dict)]
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
