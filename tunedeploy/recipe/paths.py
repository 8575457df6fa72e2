"""Which values of a recipe are files, and where they are: relative to the recipe, or to the working directory."""

import os
from pathlib import Path

from tunedeploy.recipe.sections import OnDisk, Section


def marks(record: type[Section]) -> dict[str, OnDisk]:
    """The keys of a record that may name a file."""
    notes = [(key, note) for key, info in record.model_fields.items() for note in info.metadata]
    return {key: note for key, note in notes if isinstance(note, OnDisk)}


def resolved(text: str, mark: OnDisk, base: Path) -> str:
    """The absolute path if it exists below `base`; else the text as written, a hub id for one.

    Raises:
        FileNotFoundError: it can only be a path, and nothing exists there; holds the absolute path.
    """
    if "://" in text:
        return text
    path = os.path.abspath(base / os.path.expanduser(text))
    if os.path.exists(path):
        return path
    if text.startswith(("./", "../", "/", "~")) or text.lower().endswith(mark.suffixes):
        raise FileNotFoundError(path)
    return text
