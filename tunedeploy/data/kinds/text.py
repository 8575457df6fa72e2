"""A text, unchanged."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunedeploy.data.kinds import Kind
from tunedeploy.data.table import shown

STRING = {"_type": "Value", "dtype": "string"}


def parse(cell: Any, folder: Path) -> str:
    """A text, unchanged. Numbers, lists and null are errors: a text column that holds them is the wrong column."""
    del folder
    if isinstance(cell, str):
        return cell
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        raise ValueError("the text is null; fill it or remove the row")
    if isinstance(cell, Mapping):
        raise ValueError(f"{shown(cell)} is {nested(cell)}")
    raise ValueError(f"{shown(cell)} is of type {type(cell).__name__}, a text is needed; write it in quotes")


def nested(cell: Mapping[str, Any]) -> str:
    """What a cell that is a record of its own holds, and how a recipe names one of its keys."""
    keys = ", ".join(map(repr, list(cell)[:5]))
    return f"a record with the keys {keys}; name one by its path, such as COLUMN.{next(iter(cell), 'KEY')}"


def content(value: str) -> bytes:
    """The text in UTF-8.

    Raises:
        ValueError: half of a surrogate pair, which JSON can write and no tokenizer or Arrow file can hold.
    """
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"it holds half a character ({value[error.start]!r}); remove it") from error


def likely(cells: Sequence[str]) -> float:
    """Texts of several words are meant to be read; single words, numbers and lists in brackets seldom are."""
    sentences = sum(" " in cell.strip() and not cell.lstrip().startswith("[") for cell in cells)
    return 0.2 + 0.8 * sentences / max(len(cells), 1)


TEXT = Kind(name="text", feature=STRING, parse=parse, content=content, text=lambda value: value, likely=likely)
