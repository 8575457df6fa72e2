"""One file as columns of cells, each row knowing its place in the user's file."""

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tunedeploy.errors import DataError

MISSING = object()  # the cell of a JSON record without the key; never reaches `Kind.parse`


class Places(Sequence[str]):
    """Places in one file that differ by a number: "train.csv:17" takes the number's bytes, not those of a text."""

    def __init__(self, prefix: str, numbers: Sequence[int]) -> None:
        self._prefix, self._numbers = prefix, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[str]:
        return (f"{self._prefix}{number}" for number in self._numbers)

    def __getitem__(self, row: Any) -> Any:
        return f"{self._prefix}{self._numbers[row]}"

    def take(self, rows: Sequence[int]) -> "Places":
        """The places of some rows, in this order."""
        return Places(self._prefix, array("L", (self._numbers[row] for row in rows)))


@dataclass(frozen=True, kw_only=True)
class Table:
    """What a reader hands on. Cells are as the file has them; `Kind.parse` judges them."""

    name: str  # how messages call it: "train.csv"
    header: tuple[str, ...]
    column: Callable[[str], list[Any]]  # name in `header` -> one cell a row
    places: Sequence[str]  # row -> "train.csv:17", "train.parquet row 17", "train/rose/1.jpg"
    folder: Path  # relative file paths in cells start here
    notes: tuple[str, ...] = ()  # repairs, each one line
    decimal_comma: bool = False  # whether numbers in its cells may have one: columns are not separated by commas
    group: str = ""  # name in `header` of a column whose rows of equal value belong together, such as a document's


def some_rows(table: Table, rows: Sequence[int]) -> Table:
    """The table with these rows alone, in this order."""
    places = table.places

    def cells(name: str) -> list[Any]:
        column = table.column(name)
        return [column[row] for row in rows]

    kept = places.take(rows) if isinstance(places, Places) else [places[row] for row in rows]
    return replace(table, column=cells, places=kept)


def rename(table: Table) -> Table:
    """The table with spaces, `\\r` and BOMs around its column names removed, and a note about it.

    Raises:
        DataError: two columns have the same name.
    """
    clean = tuple(clean_name(name) for name in table.header)
    check_names(table.name, clean)
    repaired = [name for name, after in zip(table.header, clean, strict=True) if name != after]
    if not repaired:
        return table
    shown = ", ".join(map(repr, repaired))
    original = dict(zip(clean, table.header, strict=True))
    return replace(
        table,
        header=clean,
        column=lambda name: table.column(original[name]),
        notes=(*table.notes, f"{table.name}: spaces removed around the column names {shown}"),
    )


def clean_name(name: str) -> str:
    """A column name without spaces, `\\r` and BOM around it."""
    return name.strip().strip("\ufeff").strip()


def check_names(name: str, header: Sequence[str]) -> None:
    """Raise DataError if two columns have the same name; nameless columns can't be asked for and are ignored."""
    twice = [repr(column) for column, count in Counter(header).items() if count > 1 and column]
    if twice:
        raise DataError(f"{name}: the column name {', '.join(twice)} occurs twice; rename one")


def shown(cell: Any) -> str:
    """A cell in a message, cut where it is long."""
    text = repr(cell)
    return text if len(text) <= 40 else text[:37] + "..."
