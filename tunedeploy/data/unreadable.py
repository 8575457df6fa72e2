"""Rows that cannot be read: which are left out, and when there are so many that reading stops."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tunedeploy.data.kinds import Kind
from tunedeploy.data.table import Table
from tunedeploy.errors import DataError

FEW = 0.01  # share of rows with images that cannot be read, up to which they are left out without being asked
ALL = 1.0
NONE = 0.0
LISTED = 20  # of the rows left out, in notes; the run's data/left_out.json has all
KEY = "'data.skip_bad: true' leaves them out"


@dataclass
class LeftOut:
    """The rows of a table that are left out.

    Args:
        table: as its reader gave it.
        tolerated: share of its rows that may be left out; with ALL for whatever reason, else for their images alone.
    """

    table: Table
    tolerated: float
    reasons: dict[int, str] = field(default_factory=dict)  # row -> "data.image: the image is damaged"

    def covers(self, kind: Kind) -> bool:
        """Whether rows may be left out for such a cell."""
        return self.tolerated == ALL or (self.tolerated > NONE and kind.skippable)

    def add(self, bad: Mapping[str, Mapping[int, str]], kinds: Mapping[str, Kind]) -> None:
        """Leave out rows with bad cells.

        Args:
            bad: name of a column in messages -> row of the table -> reason.
            kinds: name -> its kind.

        Raises:
            DataError: one line a column, where the rows are too many or may not be left out.
        """
        for title, rows in bad.items():
            if self.covers(kinds[title]):
                for row, reason in rows.items():
                    self.reasons.setdefault(row, f"{title}: {reason}")
        count, total = len(self.reasons), len(self.table.places)
        too_many = count > self.tolerated * total or count == total
        asks = too_many and NONE < self.tolerated < ALL
        lines = []
        for title, rows in bad.items():
            if too_many or not self.covers(kinds[title]):
                cure = f"; {KEY}" if asks and self.covers(kinds[title]) else ""
                lines += [line + cure for line in first_bad(self.table, rows, title)]
        if lines:
            raise DataError(lines)

    def kept(self) -> list[int] | None:
        """The rows that remain; None where all do."""
        if not self.reasons:
            return None
        return [row for row in range(len(self.table.places)) if row not in self.reasons]

    def lines(self) -> tuple[str, ...]:
        """One for each row that is left out, in the table's order."""
        return tuple(f"{self.table.places[row]}: {self.reasons[row]}" for row in sorted(self.reasons))

    def notes(self) -> list[str]:
        """How many rows are left out, and which."""
        lines = self.lines()
        if not lines:
            return []
        head = f"{self.table.name}: {len(lines)} of {len(self.table.places)} rows cannot be read and are left out"
        more = len(lines) - LISTED
        rest = [f"{self.table.name}: and {more} more, all in data/left_out.json of the run"] if more > 0 else []
        return [head, *lines[:LISTED], *rest]


def first_bad(table: Table, bad: Mapping[int, str], column: str) -> list[str]:
    """One line about the first bad cell of a column, with the count of the others; none where all are good."""
    if not bad:
        return []
    row, reason = next(iter(bad.items()))
    more = f" ({len(bad) - 1} more such rows, next {table.places[list(bad)[1]]})" if len(bad) > 1 else ""
    return [f"{table.places[row]}: {column}: {reason}{more}"]
