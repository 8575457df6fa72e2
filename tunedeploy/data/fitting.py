"""How well the columns of a table fit those that a task asks for: by their names, and by what their cells hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunedeploy.data.columns import Column
from tunedeploy.data.kinds import Kind
from tunedeploy.data.table import Table

SAMPLE = 500  # rows that are looked at, evenly spread: files are often sorted by their labels
WIDE = 40  # columns that are tried by their cells, where no name fits
READABLE = 0.9  # share of cells that a kind must take: a few bad ones are for `plan` to name
LIKELY = 0.5  # how much cells must look like a kind where no name speaks for it
UNNAMED = 0.6  # weight of a column found so, relative to one with a usual name


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The columns of a table that stand for those of a task."""

    columns: Mapping[str, str]  # canonical column -> the user's
    score: float  # 0 to 1
    why: str  # "'review' as text, by its name; 'stars' as category, by its cells"


@dataclass
class Sample:
    """Some cells of a table, and how well they fit each kind."""

    table: Table
    _cells: dict[str, list[Any]] = field(default_factory=dict)
    _scores: dict[tuple[str, str], float] = field(default_factory=dict)

    def cells(self, name: str) -> list[Any]:
        """The sampled cells of a column."""
        if name not in self._cells:
            cells = self.table.column(name)
            step = max(1, len(cells) // SAMPLE)
            self._cells[name] = cells[::step]
        return self._cells[name]

    def score(self, name: str, kind: Kind) -> float:
        """How well a column fits a kind: 0 where less than READABLE of its cells can be read as such."""
        key = (name, kind.name)
        if key not in self._scores:
            cells = self.cells(name)
            good = [cell for cell in cells if self._reads(cell, kind)]
            share = len(good) / max(len(cells), 1)
            self._scores[key] = share * kind.likely(good) if good and share >= READABLE else 0.0
        return self._scores[key]

    def is_parallel(self, first: str, second: str, columns: tuple[Kind, Kind]) -> bool:
        """Whether two columns have equally many items in most rows."""
        pairs = [
            (len(columns[0].parse(left, self.table.folder)), len(columns[1].parse(right, self.table.folder)))
            for left, right in zip(self.cells(first), self.cells(second), strict=False)
            if self._reads(left, columns[0]) and self._reads(right, columns[1])
        ]
        return sum(left == right for left, right in pairs) >= READABLE * max(len(pairs), 1)

    def _reads(self, cell: Any, kind: Kind) -> bool:
        try:
            kind.parse(cell, self.table.folder)
        except ValueError:
            return False
        return True


def fit(sample: Sample, columns: Sequence[Column]) -> Fit | None:
    """The table's columns that stand for a task's; None where one that the task requires has no counterpart.

    A usual name counts for more than content, but a column never stands for a kind that its cells cannot be read as.
    """
    named = _by_name(sample, columns)
    chosen = _by_cells(sample, [column for column in columns if column.required], named)
    if any(column.required and column.key not in chosen for column in columns):
        return None
    present = [column for column in columns if column.key in chosen]
    kinds = {column.key: column.kind for column in present}
    for column in present:
        if column.parallel in chosen and not sample.is_parallel(
            chosen[column.parallel], chosen[column.key], (kinds[column.parallel], column.kind)
        ):
            return None
    scores = [
        sample.score(chosen[column.key], column.kind) * (1 if column.key in named else UNNAMED) for column in present
    ]
    reasons = [
        f"{chosen[column.key]!r} as {column.kind.name}, by its {'name' if column.key in named else 'cells'}"
        for column in present
    ]
    return Fit(columns=chosen, score=sum(scores) / len(scores), why="; ".join(reasons))


def _by_name(sample: Sample, columns: Sequence[Column]) -> dict[str, str]:
    """For each column, the first of its usual names that the table has and whose cells fit."""
    names = {name.casefold(): name for name in reversed(sample.table.header)}
    chosen: dict[str, str] = {}
    for column in columns:
        usual = [
            names[guess.casefold()] for guess in (*column.candidates(), *column.offered) if guess.casefold() in names
        ]
        fitting = (name for name in usual if name not in chosen.values() and sample.score(name, column.kind) > 0)
        name = next(fitting, None)
        if name is not None:
            chosen[column.key] = name
    return chosen


def _by_cells(sample: Sample, columns: Sequence[Column], named: Mapping[str, str]) -> dict[str, str]:
    """`named`, and for each further column the one that looks most like it."""
    chosen = dict(named)
    free = [name for name in sample.table.header[:WIDE] if name and name not in chosen.values()]
    open_columns = [column for column in columns if column.key not in chosen]
    scored = [
        (sample.score(name, column.kind), -at, -number, column.key, name)
        for number, column in enumerate(open_columns)
        for at, name in enumerate(free)
    ]
    for score, _, _, key, name in sorted(scored, reverse=True):
        if score >= LIKELY and key not in chosen and name not in chosen.values():
            chosen[key] = name
    return chosen
