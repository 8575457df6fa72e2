"""The words of a text, one by one, as they are to be tagged."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunedeploy.data.kinds import Kind
from tunedeploy.data.kinds._items import items, share_of_lists
from tunedeploy.data.kinds.text import STRING
from tunedeploy.data.kinds.text import content as text_content
from tunedeploy.data.split import digest
from tunedeploy.data.table import shown


def parse(cell: Any, folder: Path) -> list[str]:
    """A list of texts, each unchanged; a csv cell is a JSON list, or is split at blanks."""
    del folder
    words = items(cell, "words")
    for number, word in enumerate(words, start=1):
        if not isinstance(word, str):
            raise ValueError(f"word {number} is {shown(word)}, which is no text; write it in quotes")
        if not word.strip():
            raise ValueError(f"word {number} is blank; remove it, and its tag")
    return words


def content(value: Sequence[str]) -> bytes:
    """A digest of the words.

    Raises:
        ValueError: a word holds half a character.
    """
    return digest(map(text_content, value))


def likely(cells: Sequence[Any]) -> float:
    """A list is a list of words; a text with blanks in it is rather a text."""
    return 0.3 + 0.7 * share_of_lists(cells)


WORDS = Kind(
    name="words",
    feature={"_type": "List", "feature": STRING},
    parse=parse,
    content=content,
    text=" ".join,
    likely=likely,
)
