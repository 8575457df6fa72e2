"""The columns that a task asks for, and how a bundle's manifest names them.

Light on purpose: task modules import this at their top, so neither datasets nor torch is loaded here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tunedeploy.data.kinds import Kind, kind
from tunedeploy.data.kinds.category import CATEGORY
from tunedeploy.data.kinds.image import IMAGE
from tunedeploy.data.kinds.text import TEXT


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column that a task asks for."""

    key: str  # recipe key under `data` (its value is the user's column name), and the canonical column name
    kind: Kind
    required: bool = True
    guesses: tuple[str, ...] = ()  # user's column names tried when the recipe says nothing; case is ignored
    offered: tuple[str, ...] = field(default=(), compare=False)  # further names that `init` tries, to write them down
    parallel: str | None = None  # key of the column that has as many items as this one, in every row

    def candidates(self) -> tuple[str, ...]:
        """Names tried when the recipe leaves the column out; an optional column with no guesses is not looked for."""
        return (self.key, *self.guesses) if self.required or self.guesses else ()

    def to_json(self) -> dict[str, object]:
        """The column as a bundle's manifest has it; `column_from` reads it back."""
        parallel = {} if self.parallel is None else {"parallel": self.parallel}
        plain = {"key": self.key, "kind": self.kind.name, "required": self.required, "guesses": list(self.guesses)}
        return {**plain, **parallel}


def column_from(record: Mapping[str, Any]) -> Column:
    """The column that `Column.to_json` wrote.

    Raises:
        ValueError: a value is missing, is of another type, or is unknown here.
    """
    key, required, guesses = record.get("key"), record.get("required"), record.get("guesses")
    name, parallel = record.get("kind"), record.get("parallel")
    unknown = set(record) - {"key", "kind", "required", "guesses", "parallel"}
    if unknown or not isinstance(key, str) or not isinstance(name, str) or not isinstance(required, bool):
        raise ValueError(f"{dict(record)} does not describe a column")
    if not isinstance(guesses, list) or not all(isinstance(guess, str) for guess in guesses):
        raise ValueError(f"column {key!r}: its guesses are not a list of names")
    if parallel is not None and not isinstance(parallel, str):
        raise ValueError(f"column {key!r}: 'parallel' is not the key of a column")
    return Column(key=key, kind=kind(name), required=required, guesses=tuple(guesses), parallel=parallel)


# The columns for texts and for images, here rather than in their tasks: bundles of schema 1 do not name their columns.
TEXT_ROWS = (
    Column(
        key="text",
        kind=TEXT,
        guesses=("text", "sentence", "review", "content", "tweet", "utterance", "query", "sentence1", "premise"),
        offered=("question1", "text1", "text_a"),
    ),
    Column(
        key="text_pair",
        kind=TEXT,
        required=False,  # and without guesses: a recipe that names one text is of single texts
        offered=("sentence2", "hypothesis", "question2", "text2", "text_b"),
    ),
    Column(
        key="label", kind=CATEGORY, guesses=("label", "labels", "category", "class", "intent", "target", "sentiment")
    ),
)
IMAGE_ROWS = (
    Column(key="image", kind=IMAGE, guesses=("image", "img", "file", "path", "filename", "file_name")),
    Column(key="label", kind=CATEGORY, guesses=("label", "labels", "category", "class", "fine_label")),
)
