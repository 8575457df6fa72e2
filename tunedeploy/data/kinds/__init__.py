"""What a column of the user's data may hold, and how one cell becomes a value; a file here is a kind of column.

Light on purpose: a device reads labelled rows by these files, so none of them loads datasets, numpy, pydantic or torch.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunedeploy.data.doctor.report import Finding, Values


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How the cells of a column are read. A task that needs another kind makes its own record."""

    name: str  # of the file here that defines it, as a bundle's manifest writes it
    feature: Mapping[str, Any]  # the datasets feature in dict form, e.g. {"_type": "Value", "dtype": "string"}
    parse: Callable[[Any, Path], Any]  # (cell, folder of relative paths) -> value; ValueError("why") on a bad cell
    decimal_comma: Callable[[Any, Path], Any] | None = None  # as parse, in a column whose numbers have decimal commas
    unclear: Callable[[Sequence[Any]], tuple[int, str] | None] | None = None  # cells -> row, two readings
    content: Callable[[Any], bytes]  # value -> the bytes that tell rows apart; ValueError("why") if unreadable
    skippable: bool = False  # rows whose cell cannot be read are left out where they are few
    opens_files: bool = False  # `content` opens what a cell names: on several threads, and it may change unseen
    target: bool = False  # to be learned, not an input: decides neither the split nor what is a duplicate
    labels: Callable[[Any], Sequence[str]] | None = None  # of a target: value -> names of classes in it
    encode: Callable[[Any, Mapping[str, int]], Any] | None = None  # (value, name -> index) -> what is stored
    absent: Any = None  # stored when an optional column is not in a file; None: the column is left out
    text: Callable[[Any], str] | None = None  # value -> what the search for nearly equal rows reads of it
    picture: Callable[[Any], Mapping[str, Any]] | None = None  # value -> {"path", "bytes"} that the search looks at
    constant: Callable[[Sequence[Any]], str | None] | None = None  # of a target: values -> why nothing is to be learned
    findings: Callable[["Values"], "list[Finding]"] | None = None  # of a target: what the doctor says of its values
    counted: tuple[str, str] = ("classes", "rows")  # what `labels` names, and what has one each
    repairs: Callable[[str, Sequence[Any]], list[str]] | None = None  # (column, cells) -> what reading them changed
    likely: Callable[[Sequence[Any]], float] = lambda cells: 0.5  # how much cells that it parses look like it, 0 to 1

    def __post_init__(self) -> None:
        assert self.target or self.labels is None, f"kind {self.name!r} has labels and is no target"


def names() -> tuple[str, ...]:
    """The kinds that have a file here."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py")))


def kind(name: str) -> Kind:
    """The kind called `name`.

    Raises:
        ValueError: there is no such kind.
    """
    if name not in names():
        raise ValueError(f"unknown kind of column {name!r}; known: {', '.join(names())}")
    defined: Kind = getattr(importlib.import_module(f"{__name__}.{name}"), name.upper())
    return defined
