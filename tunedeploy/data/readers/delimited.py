"""Read csv and tsv: every cell stays the text it is, and every row keeps its line number.

Not pandas or Arrow, whose readers guess types ("NA" and "null" vanish, "007" becomes 7) and lose the line of a bad row.
"""

import csv
from array import array
from collections.abc import Iterator, Sequence
from io import BytesIO, TextIOWrapper
from pathlib import Path

from tunedeploy.data.table import Places, Table, check_names, clean_name
from tunedeploy.errors import DataError

MAX_CELL = 2**31 - 1  # characters; the csv module's own limit of 131,072 refuses long documents
SAVE_AS_UTF8 = "save it as UTF-8"


def read_delimited(path: Path, name: str, delimiter: str) -> Table:
    """A csv or tsv file with a header as a table of texts.

    Raises:
        DataError: not UTF-8, no header, no rows, ragged rows, an open quote, duplicate columns, another delimiter.
    """
    text, notes = read_text(path, name)
    header, cells, lines, blank = _columns(text, name, delimiter)
    clean = [clean_name(column) for column in header]
    repaired = [before for before, after in zip(header, clean, strict=True) if before != after]
    if repaired:
        notes.append(f"{name}: blanks removed around the column names {', '.join(map(repr, repaired))}")
    if blank:
        notes.append(f"{name}: {blank} blank lines between the rows left out")
    return Table(
        name=name,
        header=tuple(clean),
        column=lambda column: cells[clean.index(column)],
        places=Places(f"{name}:", lines),
        folder=path.parent,
        notes=tuple(notes),
    )


def read_text(path: Path, name: str) -> tuple[str, list[str]]:
    """The file's text and notes on what was repaired in it.

    Raises:
        DataError: empty, cannot be read, UTF-16 or another encoding; the line has the byte, the row and the cure.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror})") from error
    if not data.strip(b"\xef\xbb\xbf\r\n\t "):
        raise DataError(f"{name}: the file is empty")
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        raise DataError(f"{name}:1: UTF-16 text (byte 0 is 0x{data[0]:02x}); {SAVE_AS_UTF8}: {_iconv('utf-16', name)}")
    zero = data.find(b"\0")
    if zero >= 0:
        raise DataError(f"{name}:{_line(data, zero)}: byte {zero} is zero: not UTF-8 text; {SAVE_AS_UTF8}")
    notes = [f"{name}: byte order mark removed"] if data.startswith(b"\xef\xbb\xbf") else []
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = error.start + (3 if notes else 0)  # the decoder counts from behind the mark
        place = f"{name}:{_line(data, at)}: byte {at} (0x{data[at]:02x}) is not UTF-8"
        raise DataError(
            f"{place}, perhaps Windows-1252 or Latin-1; {SAVE_AS_UTF8}: {_iconv('windows-1252', name)}"
        ) from error
    if "\r" in text.replace("\r\n", ""):
        notes.append(f"{name}: line ends or cells with a lone '\\r' read as line breaks")
    return text, notes


def _columns(text: str, name: str, delimiter: str) -> tuple[list[str], list[list[str]], "array[int]", int]:
    """Header, the cells of each column, line number of each row, and how many blank lines lie between rows.

    Column by column, since a list for every row would take as much memory as a short text.
    """
    records = _records(text, name, delimiter)
    header: list[str] = next(row for _, row in records if row)  # read_text refuses an empty file
    _check_header(name, header, delimiter)
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


def _check_header(name: str, header: list[str], delimiter: str) -> None:
    check_names(name, [clean_name(column) for column in header])
    if len(header) > 1:
        return
    for other, called in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars"), (",", "commas")):
        if other == delimiter or other not in header[0]:
            continue
        cure = {"\t": "rename it to .tsv", ",": "rename it to .csv"}.get(other, "save it with commas")
        raise DataError(f"{name}:1: the header {header[0]!r} is one column, separated by {called}; {cure}")


def _ragged(name: str, header: list[str], count: int, lines: Sequence[int]) -> str:
    """The line about rows with more or fewer cells than the header, of which the first has `count`."""
    cure = "put the text that holds the separator in quotes" if count > len(header) else "add the missing cells"
    more = f" ({len(lines) - 1} more rows like it)" if len(lines) > 1 else ""
    shown = ", ".join(repr(clean_name(column)) for column in header)
    cells = "1 cell" if count == 1 else f"{count} cells"
    return f"{name}:{lines[0]}: {cells} where the header has {len(header)} ({shown}); {cure}{more}"


def _line(data: bytes, at: int) -> int:
    return data.count(b"\n", 0, at) + 1


def _iconv(encoding: str, name: str) -> str:
    return f"iconv -f {encoding} -t utf-8 {name} > fixed-{name}"
