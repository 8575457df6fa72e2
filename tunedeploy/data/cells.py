"""Find the user's columns, parse every cell, and give every row a digest of its content."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from tunedeploy.data.columns import Column
from tunedeploy.data.kinds import Kind
from tunedeploy.data.kinds.category import parse as parse_category
from tunedeploy.data.kinds.text import content as text_content
from tunedeploy.data.labels import closest
from tunedeploy.data.split import Digests, digest
from tunedeploy.data.table import MISSING, Places, Table, shown, some_rows
from tunedeploy.data.unreadable import NONE, LeftOut, first_bad
from tunedeploy.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Parsed rows, column by column; every sequence has one entry a row."""

    name: str
    values: Mapping[str, Sequence[Any]]  # canonical column -> parsed values, of the columns that the file has
    places: Sequence[str]
    inputs: Digests  # digest of what the model sees
    content: Digests  # digest of that and the targets
    labels: Sequence[tuple[str, ...]]  # label texts; () where the task has none
    notes: tuple[str, ...]
    kept: Sequence[int] | None = None  # the rows of the file that these were when they were parsed; None: all
    left_out: tuple[str, ...] = ()  # of the file, one line for each row that is not among these

    def __len__(self) -> int:
        """Count of rows."""
        return len(self.places)

    def take(self, rows: Sequence[int]) -> "Rows":
        """The rows at these indices, in this order."""
        return replace(
            self,
            values={key: [values[row] for row in rows] for key, values in self.values.items()},
            places=self.places.take(rows) if isinstance(self.places, Places) else [self.places[row] for row in rows],
            inputs=self.inputs.take(rows),
            content=self.content.take(rows),
            labels=[self.labels[row] for row in rows],
        )


def find_columns(
    table: Table, wanted: Mapping[str, Any], columns: Sequence[Column]
) -> tuple[dict[str, str], list[str]]:
    """Canonical column -> the user's column, and a note for each one guessed.

    Raises:
        DataError: one line for each column that is missing, ambiguous or named twice.
    """
    names = {column.key: str(wanted[column.key]) for column in columns if wanted.get(column.key)}
    mistakes = [_missing(table, column, names[column.key]) for column in columns if _is_missing(table, column, names)]
    notes: list[str] = []
    taken = set(names.values())
    for column in columns:
        if column.key in names:
            continue
        guesses = {guess.casefold() for guess in column.candidates()}
        matches = [name for name in table.header if name.casefold() in guesses and name not in taken]
        if len(matches) == 1:
            names[column.key] = matches[0]
            taken.add(matches[0])
            if matches[0] != column.key:
                notes.append(f"{table.name}: column {matches[0]!r} taken as data.{column.key}")
        elif matches or column.required:
            mistakes.append(_unclear(table, column, matches))
    named: dict[str, str] = {}
    for key, name in names.items():
        if named.setdefault(name, key) != key:
            mistakes.append(f"{table.name}: data.{named[name]} and data.{key} both name the column {name!r}; name two")
    if mistakes:
        raise DataError(mistakes)
    return {key: name for key, name in names.items() if name in table.header}, notes


def parse_rows(table: Table, names: Mapping[str, str], columns: Sequence[Column], *, tolerated: float = NONE) -> Rows:
    """Parse the named columns.

    Args:
        table: as its reader gave it.
        names: canonical column -> the user's.
        columns: what the task asks for.
        tolerated: share of the rows that may be left out because they cannot be read; see `LeftOut`.

    Raises:
        DataError: one line a column, for its first bad cell, with the count of the others; or for its first number
            that can be read in two ways, as all of the column can, whatever is tolerated.
    """
    present, left_out = [column for column in columns if column.key in names], LeftOut(table, tolerated)
    titles = {column.key: f"data.{column.key} ({names[column.key]!r})" for column in present}
    _check_clear(table, {titles[column.key]: (names[column.key], column.kind) for column in present})
    attempts = {column.key: attempt(table, names[column.key], column.kind) for column in present}
    bad = {titles[key]: rows for key, (_, rows, _) in attempts.items()}
    left_out.add(bad, {titles[column.key]: column.kind for column in present})
    kept = left_out.kept()
    values: dict[str, Sequence[Any]] = {
        key: parsed if kept is None else [parsed[row] for row in kept] for key, (parsed, _, _) in attempts.items()
    }
    rows = _identified(table if kept is None else some_rows(table, kept), values, columns, left_out)
    repairs = [repair for _, _, found in attempts.values() for repair in found]
    notes = (*table.notes, *repairs, *left_out.notes())
    return replace(rows, notes=notes, kept=left_out.kept(), left_out=left_out.lines())


def attempt(table: Table, name: str, kind: Kind) -> tuple[list[Any], dict[int, str], list[str]]:
    """Parse a column: a value for each row, row -> reason for each that has none, and notes on repairs."""
    cells = table.column(name)
    parse = parser(table, cells, kind)
    values, bad = _attempt(lambda cell: _parse(cell, parse, table.folder), cells)
    repairs = [] if bad or kind.repairs is None else kind.repairs(name, cells)
    if parse is kind.decimal_comma and not bad:
        row = next(row for row, cell in enumerate(cells) if _has_comma(cell))
        repairs = [*repairs, f"numbers in {name!r} have decimal commas; {cells[row]!r} is read as {values[row]:g}"]
    return values, bad, [f"{table.name}: {repair}" for repair in repairs]


def parser(table: Table, cells: Iterable[Any], kind: Kind) -> Callable[[Any, Path], Any]:
    """How the cells of a column are parsed: with decimal commas, if the table may have them and the column does."""
    if kind.decimal_comma is not None and table.decimal_comma and any(map(_has_comma, cells)):
        return kind.decimal_comma
    return kind.parse


def _check_clear(table: Table, columns: Mapping[str, tuple[str, Kind]]) -> None:
    """Raise DataError for columns (title -> name, kind) whose numbers may have thousands separators or decimals."""
    lines = []
    for title, (name, kind) in columns.items():
        unclear = kind.unclear(table.column(name)) if kind.unclear is not None and table.decimal_comma else None
        lines += [f"{table.places[unclear[0]]}: {title}: {unclear[1]}"] if unclear else []
    if lines:
        raise DataError(lines)


def _has_comma(cell: Any) -> bool:
    return isinstance(cell, str) and "," in cell


def groups_of(table: Table, name: str) -> Sequence[bytes]:
    """A digest of each row's value in a column that groups them.

    Raises:
        DataError: there is no such column, or a row has no value in it, or a list.
    """
    if name not in table.header:
        known = f"columns: {_listed(table.header)}{closest(name, table.header)}"
        raise DataError(f"{table.name}: no column {name!r} (data.group); {known}")
    digests, bad = _attempt(_group, table.column(name))
    if bad:
        raise DataError(first_bad(table, bad, f"data.group ({name!r})"))
    return Digests(digests)


def _group(cell: Any) -> bytes:
    if cell is MISSING or cell is None or cell != cell or (isinstance(cell, str) and not cell.strip()):
        raise ValueError("the cell is empty; fill it in or remove the row")
    if not isinstance(cell, str | int | float):
        raise ValueError(f"{shown(cell)} is of type {type(cell).__name__}; a text or a number is needed")
    return digest([text_content(parse_category(cell, Path()))])


def _parse(cell: Any, parse: Callable[[Any, Path], Any], folder: Path) -> Any:
    if cell is MISSING:
        raise ValueError("the key is missing from this record; add it")
    return parse(cell, folder)


def _unequal(table: Table, values: Mapping[str, Sequence[Any]], columns: Sequence[Column]) -> list[str]:
    """One line per pair of parallel columns, for the first row that has more items in one than in the other."""
    mistakes = []
    for column in columns:
        first, second = values.get(column.parallel or ""), values.get(column.key)
        if first is None or second is None:
            continue
        counts = [(len(ours), len(theirs)) for ours, theirs in zip(first, second, strict=True)]
        bad = {
            row: f"{ours} {column.parallel} and {theirs} {column.key}; a row needs as many of both"
            for row, (ours, theirs) in enumerate(counts)
            if ours != theirs
        }
        mistakes += first_bad(table, bad, f"data.{column.key}")
    return mistakes


def _identified(
    table: Table, values: Mapping[str, Sequence[Any]], columns: Sequence[Column], left_out: LeftOut
) -> Rows:
    """The rows with a digest of the inputs, the label texts, and a digest of both and of the other targets.

    Rows whose content cannot be read are left out too.
    """
    mistakes = _unequal(table, values, columns)
    if mistakes:
        raise DataError(mistakes)
    present = [column for column in columns if column.key in values]
    inputs = [column for column in present if not column.kind.target]
    others = [column for column in present if column.kind.target and column.kind.labels is None]
    bad: dict[str, dict[int, str]] = {}
    keys = Digests(map(digest, _contents(inputs, values, bad)))
    label_names = [map(find, values[column.key]) for column in present if (find := column.kind.labels) is not None]
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}  # most rows have their labels in common with others
    labels = (
        map(tuple, map(chain.from_iterable, zip(*label_names, strict=True))) if label_names else repeat((), len(keys))
    )
    texts = [shared.setdefault(names, names) for names in labels]
    rest = _contents(others, values, bad) if others else repeat((), len(keys))
    parts = zip(keys, texts, rest, strict=True)
    content = Digests(digest([key, *map(str.encode, names), *more]) for key, names, more in parts)
    rows = Rows(
        name=table.name, values=values, places=table.places, inputs=keys, content=content, labels=texts, notes=()
    )
    return _without(rows, bad, {f"data.{column.key}": column.kind for column in present}, left_out)


def _without(rows: Rows, bad: Mapping[str, dict[int, str]], kinds: Mapping[str, Kind], left_out: LeftOut) -> Rows:
    """The rows but those with content that cannot be read; those that were left out before are not among them."""
    if not any(bad.values()):
        return rows
    places = left_out.kept() or range(len(rows))  # row here -> row of the table
    left_out.add({title: {places[row]: why for row, why in reasons.items()} for title, reasons in bad.items()}, kinds)
    unreadable = {row for unread in bad.values() for row in unread}
    return rows.take([row for row in range(len(rows)) if row not in unreadable])


def _contents(
    columns: Sequence[Column], values: Mapping[str, Sequence[Any]], bad: dict[str, dict[int, str]]
) -> Iterator[tuple[bytes, ...]]:
    """What tells rows apart, row by row, so that none is kept; `bad` gets title -> row -> reason of unreadable ones."""

    def contents(column: Column) -> Iterator[bytes]:
        work, cells = column.kind.content, values[column.key]
        with ThreadPoolExecutor(max_workers=os.cpu_count()) if column.kind.opens_files else nullcontext() as pool:
            results = (pool.map if pool else map)(partial(_tried, work), cells)
            for row, result in enumerate(results):
                if isinstance(result, ValueError):
                    bad.setdefault(f"data.{column.key}", {})[row] = str(result)
                yield b"" if isinstance(result, ValueError) else result

    yield from zip(*map(contents, columns), strict=True)


def _tried(work: Callable[[Any], Any], cell: Any) -> Any:
    """The result of the work, or its ValueError."""
    try:
        return work(cell)
    except ValueError as error:
        return error


def _attempt(work: Callable[[Any], Any], cells: Iterable[Any]) -> tuple[list[Any], dict[int, str]]:
    """The result for each cell, and row -> reason for each ValueError."""
    results = [_tried(work, cell) for cell in cells]
    return results, {row: str(result) for row, result in enumerate(results) if isinstance(result, ValueError)}


def _is_missing(table: Table, column: Column, names: Mapping[str, str]) -> bool:
    optional = not column.required and column.kind.absent is not None
    return column.key in names and names[column.key] not in table.header and not optional


def _missing(table: Table, column: Column, name: str) -> str:
    flat = table.header == ("image",) and column.kind.target
    cure = "; make one folder per class, with its images inside" if flat else closest(name, table.header)
    return f"{table.name}: no column {name!r} (data.{column.key}); columns: {_listed(table.header)}{cure}"


def _unclear(table: Table, column: Column, matches: Sequence[str]) -> str:
    if table.header == ("image",) and column.kind.target:
        return f"{table.name}: images without classes; make one folder per class, with its images inside"
    if matches:
        return f"{table.name}: data.{column.key} could be {_listed(matches)}; name one in the recipe"
    return f"{table.name}: no column looks like data.{column.key}; set it to one of {_listed(table.header)}"


def _listed(names: Sequence[str], most: int = 20) -> str:
    return ", ".join(map(repr, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")
