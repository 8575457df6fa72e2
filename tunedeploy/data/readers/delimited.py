"""Read csv and tsv: every cell stays the text it is, and every row keeps its line number.

Not pandas or Arrow, whose readers guess types ("NA" and "null" vanish, "007" becomes 7) and lose the line of a bad row.
"""

import csv
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

from tunedeploy.data.table import Table, check_names, clean_name
from tunedeploy.errors import DataError

MAX_CELL = 2**31 - 1  # characters; the csv module's own limit of 131,072 refuses long documents
SAVE_AS_UTF8 = "save it as UTF-8"


def read_delimited(path: Path, name: str, delimiter: str) -> Table:
    """A csv or tsv file with a header as a table of texts.

    Raises:
        DataError: not UTF-8, no header, no rows, ragged rows, an open quote, duplicate columns, another delimiter.
    """
    text, notes = read_text(path, name)
    header, rows, lines, blank = _rows(text, name, delimiter)
    _check_delimiter(name, header, delimiter)
    clean = [clean_name(column) for column in header]
    check_names(name, clean)
    if not rows:
        raise DataError(f"{name}: a header and no rows; add rows below {', '.join(map(repr, clean))}")
    _check_ragged(name, clean, rows, lines)
    repaired = [before for before, after in zip(header, clean, strict=True) if before != after]
    if repaired:
        notes.append(f"{name}: blanks removed around the column names {', '.join(map(repr, repaired))}")
    if blank:
        notes.append(f"{name}: {blank} blank lines between the rows left out")

    def cells(column: str) -> list[str]:
        at = clean.index(column)
        return [row[at] for row in rows]

    return Table(
        name=name,
        header=tuple(clean),
        column=cells,
        places=[f"{name}:{line}" for line in lines],
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


def _rows(text: str, name: str, delimiter: str) -> tuple[list[str], list[list[str]], list[int], int]:
    """Header, rows, line number of each row, and how many blank lines lie between rows."""
    header: list[str] | None = None
    rows: list[list[str]] = []
    lines: list[int] = []
    blank = pending = 0
    for line, row in _records(text, name, delimiter):
        if not row:
            pending += header is not None
        elif header is None:
            header = row
        else:
            rows.append(row)
            lines.append(line)
            blank, pending = blank + pending, 0
    assert header is not None, "read_text refuses an empty file"
    return header, rows, lines, blank


def _records(text: str, name: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Each record with the number of its first line."""
    limit = csv.field_size_limit(MAX_CELL)
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
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


def _check_delimiter(name: str, header: list[str], delimiter: str) -> None:
    if len(header) > 1:
        return
    for other, called in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars"), (",", "commas")):
        if other == delimiter or other not in header[0]:
            continue
        cure = {"\t": "rename it to .tsv", ",": "rename it to .csv"}.get(other, "save it with commas")
        raise DataError(f"{name}:1: the header {header[0]!r} is one column, separated by {called}; {cure}")


def _check_ragged(name: str, header: list[str], rows: list[list[str]], lines: list[int]) -> None:
    width = len(header)
    bad = [number for number, row in enumerate(rows) if len(row) != width]
    if not bad:
        return
    count = len(rows[bad[0]])
    cure = "put the text that holds the separator in quotes" if count > width else "add the missing cells"
    more = f" ({len(bad) - 1} more rows like it)" if len(bad) > 1 else ""
    shown = ", ".join(map(repr, header))
    cells = "1 cell" if count == 1 else f"{count} cells"
    raise DataError(f"{name}:{lines[bad[0]]}: {cells} where the header has {width} ({shown}); {cure}{more}")


def _line(data: bytes, at: int) -> int:
    return data.count(b"\n", 0, at) + 1


def _iconv(encoding: str, name: str) -> str:
    return f"iconv -f {encoding} -t utf-8 {name} > fixed-{name}"
