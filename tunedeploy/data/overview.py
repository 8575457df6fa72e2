"""What a table holds, at a glance: rows, classes or range of numbers, and three rows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, TypedDict

from tunedeploy.data.cells import attempt
from tunedeploy.data.columns import Column
from tunedeploy.data.doctor.classes import numeric_classes
from tunedeploy.data.table import Table
from tunedeploy.data.unreadable import first_bad

SAMPLES = 3
LONGEST = 200  # characters of a cell that is shown


class Range(TypedDict):
    """The numbers of a column."""

    least: float
    largest: float
    middle: float  # the median


class Overview(TypedDict):
    """A table at a glance."""

    rows: int
    classes: dict[str, int]  # name -> rows (of tags: words), the most frequent first; empty for a task without classes
    numbers: Range | None  # None for a task that predicts no number
    samples: list[dict[str, str]]  # of three rows, evenly spread: canonical column -> the start of its cell
    notes: list[str]  # what was repaired, and what is wrong with the targets


def overview(table: Table, columns: Sequence[Column], names: Mapping[str, str]) -> Overview:
    """Look at all rows of the columns that a task would read.

    Args:
        table: as its reader gave it.
        columns: the task's.
        names: canonical column -> the user's, for those that are in the table.
    """
    classes: Counter[str] = Counter()
    numbers: Range | None = None
    notes = list(table.notes)
    for column in columns:
        if column.key not in names or not column.kind.target:
            continue
        values, bad, repairs = attempt(table, names[column.key], column.kind)
        notes += [*repairs, *first_bad(table, bad, f"data.{column.key} ({names[column.key]!r})")]
        good = [value for row, value in enumerate(values) if row not in bad]
        if column.kind.labels is not None:
            for value in good:
                classes.update(column.kind.labels(value))
        elif good and all(isinstance(value, float) for value in good):
            numbers = {"least": min(good), "largest": max(good), "middle": median(good)}
    question = numeric_classes(list(classes))
    if question:
        notes.append(f"{question}: --task text-regression")
    return {
        "rows": len(table.places),
        "classes": dict(classes.most_common()),
        "numbers": numbers,
        "samples": _samples(table, names),
        "notes": notes,
    }


def _samples(table: Table, names: Mapping[str, str]) -> list[dict[str, str]]:
    last = len(table.places) - 1
    rows = sorted({round(last * at / (SAMPLES - 1)) for at in range(SAMPLES)})
    cells = {key: table.column(name) for key, name in names.items()}
    return [{key: _start(column[row], table) for key, column in cells.items()} for row in rows]


def _start(cell: Any, table: Table) -> str:
    """The beginning of a cell on one line; of a path, what lies below the table's folder."""
    if isinstance(cell, Mapping) and "bytes" in cell:
        cell = cell.get("path") or "(bytes of an image)"
    if isinstance(cell, bytes):
        cell = "(bytes of an image)"
    text = " ".join(map(str, cell)) if isinstance(cell, list) else str(cell)
    return " ".join(text[: 2 * LONGEST].removeprefix(f"{table.folder.absolute()}/").split())[:LONGEST]
