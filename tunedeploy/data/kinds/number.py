"""A number to be predicted: a score, a rating, an amount."""

import math
import re
import struct
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from tunedeploy.data.doctor.numbers import CLASSES, numbers
from tunedeploy.data.kinds import Kind
from tunedeploy.data.table import shown

WRITTEN = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
WITH_COMMA = re.compile(r"[+-]?([0-9]*|[0-9]{1,3}(\.[0-9]{3})+),[0-9]+([eE][+-]?[0-9]+)?")  # 4,5 and 1.234,5
WITH_THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}(\.[0-9]{3}){2,}")  # 1.234.567
WITH_THOUSAND = re.compile(r"[+-]?[0-9]{1,3}\.[0-9]{3}")  # 1.234, which may be either
THOUSANDS = {mark: re.compile(rf"[+-]?[1-9][0-9]{{0,2}}([{mark}][0-9]{{3}})+") for mark in ",."}  # 0.125 is none
LARGEST = 3.4e38  # of 32-bit floats, in which it is learned


def parse(cell: Any, folder: Path) -> float:
    """A finite number, or one written with a point for its decimals."""
    del folder
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        raise ValueError("the number is missing; fill it or remove the row")
    if isinstance(cell, bool) or not isinstance(cell, int | float | Decimal | str):
        raise ValueError(f"{shown(cell)} is of type {type(cell).__name__}; a number is needed")
    if isinstance(cell, str) and not WRITTEN.fullmatch(cell.strip()):
        raise ValueError(f"{shown(cell)} is not a number{_cure(cell)}")
    try:
        value = float(cell)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise ValueError(f"{shown(cell)} is not a finite number; correct it or remove the row")
    if abs(value) > LARGEST:
        raise ValueError(f"{shown(cell)} is too large for a 32-bit float; divide the column by a fixed number")
    return value


def parse_comma(cell: Any, folder: Path) -> float:
    """A number of a column with decimal commas, in which points part thousands."""
    text = cell.strip() if isinstance(cell, str) else ""
    if WITH_COMMA.fullmatch(text) or WITH_THOUSANDS.fullmatch(text):
        return parse(text.replace(".", "").replace(",", "."), folder)
    if WITH_THOUSAND.fullmatch(text):
        bare, comma = text.replace(".", ""), text.replace(".", ",")
        raise ValueError(
            f"{cell!r} beside numbers with decimal commas could be {bare} or {text}; write {bare} or {comma}"
        )
    return parse(cell, folder)


def unclear(cells: Sequence[Any]) -> tuple[int, str] | None:
    """The first number whose separator could be one of thousands or of decimals, as all of the column could.

    Returns:
        Its index, and both readings with the cure; None where a number of the column can only have decimals.
    """
    texts = [cell.strip() if isinstance(cell, str) else "" for cell in cells]
    mark = "," if any("," in text for text in texts) else "."
    if not all(THOUSANDS[mark].fullmatch(text) for text in texts if mark in text):
        return None
    row = next((row for row, text in enumerate(texts) if text.count(mark) == 1), None)
    if row is None:
        return None
    bare, decimal = texts[row].replace(mark, ""), texts[row].replace(mark, ".")
    return row, (
        f"{texts[row]!r} could be {bare} or {float(decimal):g}, since every number with a "
        f"{'comma' if mark == ',' else 'point'} in the column has three digits after it; "
        f"write it without a thousands separator ({bare}), or "
        f"with a decimal point and another number of decimals ({decimal}0)"
    )


def _cure(cell: str) -> str:
    if re.fullmatch(r"\s*[+-]?[0-9]+,[0-9]+\s*", cell):
        return f"; write a point for its decimals ({cell.strip().replace(',', '.')})"
    return "; write digits, with a point for decimals, or remove the row"


def content(value: float) -> bytes:
    """Its eight bytes; zero has one sign."""
    return struct.pack(">d", value + 0.0)


def has_fraction(cell: Any) -> bool:
    """Whether a cell is a number that is not whole, or a whole one written with decimals."""
    if isinstance(cell, str):
        return bool(WRITTEN.fullmatch(cell.strip().replace(",", ".", 1))) and ("." in cell or "," in cell)
    return isinstance(cell, float | Decimal) and cell % 1 != 0


def constant(values: Sequence[float]) -> str | None:
    """What is wrong with numbers that are all equal."""
    if not values or min(values) < max(values):
        return None
    return f"every training row has the number {values[0]:g}, so there is nothing to learn; check the column"


def likely(cells: Sequence[Any]) -> float:
    """Measurements have decimals or many values; a few whole numbers are more likely classes."""
    distinct = len(set(cells))
    if distinct <= 5:
        return 0.2
    if sum(map(has_fraction, cells)) * 10 > len(cells):
        return 1.0
    is_count = distinct == len(cells)  # a number of its own for every row is most often the row's number
    return 0.3 if is_count else 1.0 if distinct > CLASSES else 0.4


NUMBER = Kind(
    name="number",
    feature={"_type": "Value", "dtype": "float64"},
    parse=parse,
    decimal_comma=parse_comma,
    unclear=unclear,
    content=content,
    target=True,
    absent=math.nan,
    constant=constant,
    findings=numbers,
    likely=likely,
)
