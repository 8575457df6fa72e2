"""A label: one class of several."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunedeploy.data.doctor.classes import classes
from tunedeploy.data.kinds import Kind
from tunedeploy.data.kinds.number import has_fraction
from tunedeploy.data.kinds.text import content, nested
from tunedeploy.data.table import shown


def parse(cell: Any, folder: Path) -> str:
    """A label as text: spaces around it removed, 1 and 1.0 both "1", true and false as JSON writes them."""
    del folder
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, int):
        return str(cell)
    if isinstance(cell, float) and math.isfinite(cell):
        return str(int(cell)) if cell.is_integer() else repr(cell)
    if cell is None or (isinstance(cell, float) and math.isnan(cell)) or (isinstance(cell, str) and not cell.strip()):
        raise ValueError("the label is empty; fill it or remove the row")
    if isinstance(cell, str):
        content(cell)
        return cell.strip()
    if isinstance(cell, Mapping):
        raise ValueError(f"the label is {nested(cell)}")
    if isinstance(cell, list | tuple):
        raise ValueError(f"the label is a list ({shown(cell)}); a row has one label: keep one, or make a row of each")
    raise ValueError(f"the label {shown(cell)} is of type {type(cell).__name__}; a text or a number is needed")


def repairs(name: str, cells: Sequence[Any]) -> list[str]:
    """Notes on what reading labels as texts changed."""
    notes = []
    padded = sum(isinstance(cell, str) and cell != cell.strip() for cell in cells)
    if padded:
        notes.append(f"spaces around {padded} labels in {name!r} removed")
    if any(isinstance(cell, str) for cell in cells) and not all(isinstance(cell, str) for cell in cells):
        notes.append(f"labels in {name!r} are texts in some rows and numbers in others; all read as texts")
    return notes


def constant(values: Sequence[str]) -> str | None:
    """What is wrong with labels of one class."""
    if len(set(values)) != 1:
        return None
    return f"every row has the label {values[0]!r}; at least two classes are needed"


def likely(cells: Sequence[Any]) -> float:
    """Classes recur; numbers with fractions are measurements, unless there are very few different ones."""
    distinct = len(set(cells))
    if distinct == 1:
        return 0.3
    if sum(map(has_fraction, cells)) * 10 > len(cells):
        return 0.6 if distinct <= 5 else 0.1
    return max(0.1, 1.0 - 1.5 * max(distinct - 2, 0) / max(len(cells), 1))


CATEGORY = Kind(
    name="category",
    feature={"_type": "Value", "dtype": "int64"},
    parse=parse,
    content=content,
    target=True,
    labels=lambda value: (value,),
    encode=lambda value, index: index[value],
    absent=-1,
    constant=constant,
    findings=classes,
    repairs=repairs,
    likely=likely,
)
