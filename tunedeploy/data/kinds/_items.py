"""What words and tags share: the list in a cell, as a list, as JSON, or with blanks between its items."""

import json
import math
import re
from collections.abc import Sequence
from typing import Any

from tunedeploy.data.table import shown

BLANKS = re.compile(r"[ \t\r\n]+")  # no others: a no-break space is a part of its word
_PRINTED = re.compile(r"\[[\"'].*[\"']\]", re.DOTALL)  # as Python and numpy print a list of texts


def items(cell: Any, what: str) -> list[Any]:
    """The items of a cell, at least one; `what` names them in messages, in the plural.

    Raises:
        ValueError: no list and no text, or an empty one.
    """
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        raise ValueError(f"the {what} are missing; fill them in or remove the row")
    if isinstance(cell, str):
        cell = _from_text(cell.strip(" \t\r\n"), what)
    if not isinstance(cell, list | tuple):
        raise ValueError(f"{shown(cell)} is of type {type(cell).__name__}; a list of {what} is needed")
    if not cell:
        raise ValueError(f"there are no {what}; fill them in or remove the row")
    return list(cell)


def _from_text(text: str, what: str) -> list[Any]:
    if text.startswith("["):
        try:
            listed = json.loads(text)
        except (ValueError, RecursionError):
            listed = None
        if isinstance(listed, list):
            return listed
        if _PRINTED.fullmatch(text):
            raise ValueError(
                f'{shown(text)} is not a JSON list of {what}; write ["like", "this"], or put spaces between them'
            )
    return BLANKS.split(text) if text else []


def is_list(cell: Any) -> bool:
    """Whether a cell that has items is a list, and not a text with blanks in it."""
    return not isinstance(cell, str) or cell.lstrip().startswith("[")


def share_of_lists(cells: Sequence[Any]) -> float:
    """How many of the cells are lists, 0 to 1."""
    return sum(map(is_list, cells)) / max(len(cells), 1)
