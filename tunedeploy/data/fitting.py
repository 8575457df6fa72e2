"""How well the columns of a table fit those that a task asks for: by their names, and by what their cells hold."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tunedeploy.data.cells import parser
from tunedeploy.data.columns import Column
from tunedeploy.data.kinds import Kind
from tunedeploy.data.table import Table

SAMPLE = 500  # rows that are looked at, evenly spread: files are often sorted by their labels
WIDE = 40  # columns that are tried by their cells, where no name fits
READABLE = 0.9  # share of cells that a kind must take: a few bad ones are for `plan` to name
LIKELY = 0.5  # how much cells must look like a kind where no name speaks for it
UNNAMED = 0.6  # weight of a column found so, relative to one with a usual name
CLOSE = 0.2  # of two columns that look like a kind, the difference below which neither is the obvious one
NONE_GIVEN: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The columns of a table that stand for those of a task."""

    columns: Mapping[str, str]  # canonical column -> the user's
    score: float  # 0 to 1
    why: str  # "'review' as text, by its name; 'stars' as category, by its cells"
    rivals: Mapping[str, tuple[str, ...]]  # canonical column -> the user's that could as well be it, the chosen one too


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
            parse = parser(self.table, cells, kind)
            good = [
                cell if parse is kind.parse else parse(cell, self.table.folder)
                for cell in cells
                if self._reads(cell, parse)
            ]
            share = len(good) / max(len(cells), 1)
            if parse is not kind.parse:  # `likely` knows decimal points only
                good = [parse(cell, self.table.folder) for cell in good]
            self._scores[key] = share * kind.likely(good) if good and share >= READABLE else 0.0
        return self._scores[key]

    def is_parallel(self, first: str, second: str, columns: tuple[Kind, Kind]) -> bool:
        """Whether two columns have equally many items in most rows."""
        pairs = [
            (len(columns[0].parse(left, self.table.folder)), len(columns[1].parse(right, self.table.folder)))
            for left, right in zip(self.cells(first), self.cells(second), strict=False)
            if self._reads(left, columns[0].parse) and self._reads(right, columns[1].parse)
        ]
        return sum(left == right for left, right in pairs) >= READABLE * max(len(pairs), 1)

    def _reads(self, cell: Any, parse: Callable[[Any, Path], Any]) -> bool:
        try:
            parse(cell, self.table.folder)
        except ValueError:
            return False
        return True


def fit(sample: Sample, columns: Sequence[Column], given: Mapping[str, str] = NONE_GIVEN) -> Fit | None:
    """The table's columns that stand for a task's; None where one that the task requires has no counterpart.

    A usual name counts for more than content, but a column never stands for a kind that its cells cannot be read as.

    Args:
        sample: of the table.
        columns: the task's.
        given: canonical column -> the user's, where the user has said so.
    """
    named = _by_name(sample, columns, given)
    chosen = _by_cells(sample, [column for column in columns if column.required], named)
    if any(column.required and column.key not in chosen for column in columns):
        return None
    present = [column for column in columns if column.key in chosen]
    if not _is_parallel(sample, present, chosen):
        return None
    scores = [
        sample.score(chosen[column.key], column.kind) * (1 if column.key in named else UNNAMED) for column in present
    ]
    if 0 in scores:  # of a given column, whose cells are something else
        return None
    sources = ["as given" if column.key in given else "by its name" if column.key in named else "by its cells"
               for column in present]  # fmt: skip
    reasons = [
        f"{chosen[column.key]!r} as {column.kind.name}, {source}"
        for column, source in zip(present, sources, strict=True)
    ]
    guessed = [column for column in present if column.key not in named]
    return Fit(
        columns=chosen,
        score=sum(scores) / len(scores),
        why="; ".join(reasons),
        rivals=_rivals(sample, guessed, chosen),
    )


def _is_parallel(sample: Sample, present: Sequence[Column], chosen: Mapping[str, str]) -> bool:
    """Whether columns that need as many items as another have them."""
    kinds = {column.key: column.kind for column in present}
    return all(
        sample.is_parallel(chosen[other], chosen[column.key], (kinds[other], column.kind))
        for column in present
        if (other := column.parallel) is not None and other in chosen
    )


def _rivals(sample: Sample, guessed: Sequence[Column], chosen: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """For each column that only its cells speak for, the others that they speak for hardly less."""
    rivals: dict[str, list[str]] = {}
    free = [name for name in sample.table.header[:WIDE] if name and name not in chosen.values()]
    for column in guessed:
        name = chosen[column.key]
        least = max(LIKELY, sample.score(name, column.kind) - CLOSE)
        alike = [other for other in free if sample.score(other, column.kind) >= least]
        if alike:
            rivals[column.key] = [name, *alike]
    for first, second in combinations(guessed, 2):
        names = [chosen[first.key], chosen[second.key]]
        if sample.score(names[1], first.kind) >= LIKELY and sample.score(names[0], second.kind) >= LIKELY:
            for column in (first, second):
                rivals.setdefault(column.key, []).extend(name for name in names if name not in rivals[column.key])
    order = sample.table.header.index
    return {key: tuple(sorted(names, key=order)) for key, names in rivals.items()}


def _by_name(sample: Sample, columns: Sequence[Column], given: Mapping[str, str]) -> dict[str, str]:
    """`given`, and for each further column the first of its usual names that the table has and whose cells fit."""
    names = {name.casefold(): name for name in reversed(sample.table.header)}
    chosen = dict(given)
    for column in columns:
        if column.key in chosen:
            continue
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
