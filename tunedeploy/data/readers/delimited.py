"""Read csv and tsv: every cell stays the text it is, and every row keeps its line number.

Not pandas or Arrow, whose readers guess types ("NA" and "null" vanish, "007" becomes 7) and lose the line of a bad row.
"""

import csv
from array import array
from collections.abc import Iterator, Sequence
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path

from tunedeploy.data.readers.plain_text import read_text
from tunedeploy.data.table import Places, Table, check_names, clean_name
from tunedeploy.errors import DataError

MAX_CELL = 2**31 - 1  # characters; the csv module's own limit of 131,072 refuses long documents
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "|"}
SNIFFED, SNIFFED_ROWS = 65_536, 10  # characters and rows that are looked at to tell the separator


def read_delimited(path: Path, name: str, delimiter: str) -> Table:
    """A csv or tsv file with a header as a table of texts.

    `delimiter` is the usual one of such files; where the first rows are separated by another, that one is taken.

    Raises:
        DataError: no text, no header, no rows, ragged rows, an open quote, duplicate columns.
    """
    text, notes = read_text(path, name)
    usual, delimiter = delimiter, separator_of(text, delimiter)
    if delimiter != usual:
        notes.append(f"{name}: columns are separated by {SEPARATORS[delimiter]}")
    header, cells, lines, blank = _columns(text, name, delimiter)
    clean = [clean_name(column) for column in header]
    repaired = [before for before, after in zip(header, clean, strict=True) if before != after]
    if repaired:
        notes.append(f"{name}: spaces removed around the column names {', '.join(map(repr, repaired))}")
    if blank:
        notes.append(f"{name}: {blank} blank lines between the rows left out")
    return Table(
        name=name,
        header=tuple(clean),
        column=lambda column: cells[clean.index(column)],
        places=Places(f"{name}:", lines),
        folder=path.parent,
        notes=tuple(notes),
        decimal_comma=delimiter == ";",
    )


def separator_of(text: str, usual: str) -> str:
    """The separator that parts the header and each of the first rows into equally many columns, and into most.

    `usual` where none does, unless only another is in the header.
    """
    widths = {separator: _widths(text, separator) for separator in (usual, *SEPARATORS)}
    even = [separator for separator, found in widths.items() if found[0] > 1 and len(found) > 1 == len(set(found))]
    if even or widths[usual][0] > 1:
        return max(even, key=lambda separator: widths[separator][0], default=usual)
    return next((separator for separator, found in widths.items() if found[0] > 1), usual)


def _widths(text: str, separator: str) -> list[int]:
    """Columns of the header and of the first rows, as a separator would have them."""
    reader = csv.reader(StringIO(text[:SNIFFED], newline=""), delimiter=separator, strict=True)
    widths: list[int] = []
    try:
        for row in reader:
            widths += [len(row)] if row else []
            if len(widths) > SNIFFED_ROWS:
                break
    except csv.Error:  # quotes that do not pair under this separator, or a cell beyond what is looked at
        pass
    return widths or [1]


def _columns(text: str, name: str, delimiter: str) -> tuple[list[str], list[list[str]], "array[int]", int]:
    """Header, the cells of each column, line number of each row, and how many blank lines lie between rows.

    Column by column, since a list for every row would take as much memory as a short text.
    """
    records = _records(text, name, delimiter)
    header: list[str] = next(row for _, row in records if row)  # read_text refuses an empty file
    check_names(name, [clean_name(column) for column in header])
    cells: list[list[str]] = [[] for _ in header]
    lines, ragged = array("L"), array("L")
    blank = pending = count = 0
    for line, row in records:
        if not row:
            pending += 1
            continue
        if len(row) == len(header):
            for column, cell in zip(cells, row, strict=True):
                column.append(cell)
        else:
            count = count or len(row)
            ragged.append(line)
        lines.append(line)
        blank, pending = blank + pending, 0
    if not lines:
        raise DataError(f"{name}: a header and no rows; add rows below {', '.join(map(repr, map(clean_name, header)))}")
    if ragged:
        raise DataError(_ragged(name, header, count, ragged))
    return header, cells, lines, blank


def _records(text: str, name: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Each record with the number of its first line."""
    limit = csv.field_size_limit(MAX_CELL)
    lines = TextIOWrapper(BytesIO(text.encode()), "utf-8", newline="")  # StringIO takes four bytes a character
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    line = 1
    try:
        for row in reader:
            yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{name}:{line}: {_quote_trouble(error)}") from error
    finally:
        csv.field_size_limit(limit)


def _quote_trouble(error: csv.Error) -> str:
    if "end of data" in str(error):
        return 'the quote opened in this row is never closed; close it, or write a quote inside a text as ""'
    return f'the quotes in this row do not pair ({error}); write a quote inside a quoted text as ""'


def _ragged(name: str, header: list[str], count: int, lines: Sequence[int]) -> str:
    """The line about rows with more or fewer cells than the header, of which the first has `count`."""
    cure = "put the text that holds the separator in quotes" if count > len(header) else "add the missing cells"
    more = f" ({len(lines) - 1} more rows like it)" if len(lines) > 1 else ""
    shown = ", ".join(repr(clean_name(column)) for column in header)
    cells = "1 cell" if count == 1 else f"{count} cells"
    return f"{name}:{lines[0]}: {cells} where the header has {len(header)} ({shown}); {cure}{more}"
