"""Rows as CSV that a spreadsheet opens without evaluating it."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # first characters of cells that a spreadsheet evaluates


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Rows as CSV; text that a spreadsheet would take for a formula gets an apostrophe in front, numbers do not."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow([f"'{cell}" if is_formula(cell) else cell for cell in row])
    return text.getvalue()


def is_formula(cell: Any) -> bool:
    """Whether a spreadsheet would evaluate a cell: text that begins as formulas do and is no number."""
    return isinstance(cell, str) and cell.startswith(FORMULA) and not re.fullmatch(r"[+-][\d.,]+", cell)
