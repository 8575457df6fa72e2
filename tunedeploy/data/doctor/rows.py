"""What the doctor remembers of every row; the rows themselves stay in Arrow, and are read again where needed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from tunedeploy.data.columns import Column
from tunedeploy.data.doctor.near import Look, looks
from tunedeploy.data.read import Data
from tunedeploy.data.split import Digests, digest

BATCH = 1000  # rows out of Arrow at a time


class Cells(Sequence[Any]):
    """A column of both splits, training rows first, read from Arrow during iteration."""

    def __init__(self, data: Data, key: str) -> None:
        self._sides = [side.select_columns([key]).with_format("arrow") for side in (data.train, data.eval)]

    def __len__(self) -> int:
        return sum(map(len, self._sides))

    def __iter__(self) -> Iterator[Any]:
        for side in self._sides:
            for batch in side.iter(batch_size=BATCH):
                yield from batch.column(0).to_pylist()

    def at(self, rows: Sequence[int]) -> Iterator[Any]:
        """The cells of some rows, ascending."""
        train = len(self._sides[0])
        chosen = [row for row in rows if row < train], [row - train for row in rows if row >= train]
        for side, own in zip(self._sides, chosen, strict=True):
            for batch in side.select(own).iter(batch_size=BATCH):
                yield from batch.column(0).to_pylist()

    def __getitem__(self, row: Any) -> Any:
        train, held_out = self._sides
        return (train[row] if row < len(train) else held_out[row - len(train)]).column(0)[0].as_py()


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Both splits, training rows first; every sequence has one entry a row."""

    train: int  # count of training rows
    places: Cells
    keys: Sequence[bytes]  # digest of what the model sees
    answers: Sequence[bytes]  # digest of the targets
    sizes: Sequence[int]  # characters of the texts in a row, 0 where all are blank; empty where no column holds texts
    blank: Sequence[int]  # rows with a text that is blank
    looks: Sequence[Look | None]  # at the first column of pictures; empty without one
    cells: Mapping[str, Cells]  # by column
    columns: Sequence[Column]  # those that the data has

    def __len__(self) -> int:
        """Count of rows."""
        return len(self.keys)

    def texts(self, rows: Sequence[int], most: int) -> list[str]:
        """The texts of some rows, in order, each cut at `most` characters."""
        parts = [[read(value) for value in self.cells[key].at(rows)] for key, read in readers(self.columns)]
        return ["\n".join(row)[:most] for row in zip(*parts, strict=True)]


def readers(columns: Sequence[Column]) -> list[tuple[str, Callable[[Any], str]]]:
    """The columns that the model reads as text, and how."""
    return [(column.key, column.kind.text) for column in columns if column.kind.text and not column.kind.target]


def gather(data: Data, columns: Sequence[Column]) -> Rows:
    """Go through both splits once, column by column."""
    present = [column for column in columns if column.key in data.train.column_names]
    cells = {column.key: Cells(data, column.key) for column in present}
    pictured = next((column for column in present if column.kind.picture and not column.kind.target), None)
    look = pictured.kind.picture if pictured else None
    sizes, blank = _sizes([(read, cells[key]) for key, read in readers(present)])
    return Rows(
        train=len(data.train),
        places=Cells(data, "origin"),
        keys=_digests(
            [column for column in present if not column.kind.target], cells, len(data.train) + len(data.eval)
        ),
        answers=_digests([column for column in present if column.kind.target], cells, len(data.train) + len(data.eval)),
        sizes=sizes,
        blank=blank,
        looks=looks(map(look, cells[pictured.key])) if pictured and look else [],
        cells=cells,
        columns=present,
    )


def _sizes(texts: Sequence[tuple[Callable[[Any], str], Cells]]) -> tuple[list[int], list[int]]:
    """Characters of each row, and the rows with a text that is blank."""
    sizes, blank = [], []
    for row, values in enumerate(zip(*(map(read, cells) for read, cells in texts), strict=True)):
        filled = [bool(value.strip()) for value in values]
        sizes.append(sum(map(len, values)) if any(filled) else 0)
        blank += [] if all(filled) else [row]
    return sizes, blank


def _digests(columns: Sequence[Column], cells: Mapping[str, Cells], count: int) -> Digests:
    parts = [(_content(column, value) for value in cells[column.key]) for column in columns]
    return Digests(map(digest, zip(*parts, strict=True) if parts else repeat((), count)))


def _content(column: Column, value: Any) -> bytes:
    if column.kind.labels is not None:
        return repr(value).encode()  # an index, or several
    try:
        return column.kind.content(value)
    except ValueError:  # the file went away after it was read
        return repr(value).encode()
