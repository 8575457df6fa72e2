"""Tags of words: one class for each word of a row."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunedeploy.data.doctor.tags import tags as findings
from tunedeploy.data.kinds import Kind
from tunedeploy.data.kinds._items import items
from tunedeploy.data.kinds.text import content as text_content
from tunedeploy.data.split import digest
from tunedeploy.data.table import shown


def parse(cell: Any, folder: Path) -> list[str]:
    """A list of names; a csv cell is a JSON list, or is split at blanks. Blanks around a name are removed."""
    del folder
    names = []
    for number, tag in enumerate(items(cell, "tags"), start=1):
        if isinstance(tag, int | float) and not isinstance(tag, bool):
            raise ValueError(f'the tags are numbers ({shown(tag)}) without names; write their names ("O", "B-PER")')
        if not isinstance(tag, str):
            raise ValueError(f"tag {number} is {shown(tag)}, which is no text; write its name in quotes")
        if not tag.strip():
            raise ValueError(f"tag {number} is blank; write O for a word without one")
        text_content(tag)
        names.append(sys.intern(tag.strip()))  # a handful of names for all the words of a file
    return names


def content(value: Sequence[str]) -> bytes:
    """A digest of the names."""
    return digest(map(str.encode, value))


def encode(value: Sequence[str], index: Mapping[str, int]) -> list[int]:
    """The names' indices."""
    return [index[name] for name in value]


def constant(values: Sequence[Sequence[str]]) -> str | None:
    """What is wrong with tags that are all the same."""
    names = {name for tags in values for name in tags}
    return f"every word has the tag {next(iter(names))!r}; at least two tags are needed" if len(names) == 1 else None


def likely(cells: Sequence[Any]) -> float:
    """Tags are mostly few names that recur."""
    names = [str(name) for cell in cells for name in items(cell, "tags")]
    return max(0.1, 1.0 - 2.0 * max(len(set(names)) - 2, 0) / max(len(names), 1))


TAGS = Kind(
    name="tags",
    feature={"_type": "List", "feature": {"_type": "Value", "dtype": "int64"}},
    parse=parse,
    content=content,
    target=True,
    labels=tuple,
    encode=encode,
    absent=[],
    constant=constant,
    findings=findings,
    counted=("tags", "words"),
    likely=likely,
)
