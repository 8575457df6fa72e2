"""Rows as CSV that a spreadsheet opens without evaluating it."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # first characters of cells that a spreadsheet evaluates


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Rows as CSV; text that a spreadsheet would take for a formula gets an apostrophe, which it does not show."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        cells = [f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell for cell in row]
        writer.writerow(cells)
    return text.getvalue()
