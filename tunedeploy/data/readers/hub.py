"""Read a data set of the Hugging Face hub, by its id, through `datasets`."""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import datasets
from datasets.packaged_modules.cache.cache import Cache
from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from huggingface_hub import constants

from tunedeploy.data.table import Places, Table, rename, shown
from tunedeploy.errors import DataError

LISTS = {"List", "LargeList", "Sequence"}  # as `datasets` has called them over time
LOGGERS = ("datasets", "huggingface_hub")  # they log each retry; we report once, at the end


def open_hub(name: str) -> dict[str, Callable[[], Table]]:
    """Split name -> reader of the set `owner/name`, or `owner/name:configuration`.

    The hub's cache is keyed by the set's commit, so a changed set is never read from an old copy. If the hub can't be
    reached, the newest copy in the cache is read, with a note.

    Raises:
        DataError: no such set, no network and no copy, several configurations, or a set that is a program.
    """
    repository, _, configuration = name.partition(":")
    try:
        with _quiet():
            builder = datasets.load_dataset_builder(repository, configuration or None)
            builder.download_and_prepare()
            loaded = builder.as_dataset()
    except (OSError, ValueError, RuntimeError, ImportError, datasets.exceptions.DatasetsError) as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(
            f"{name}: no such file or folder, and the hub gave nothing ({reason}); {_cure(error, reason)}"
        ) from error
    notes = (f"{name}: the hub was not reached; its copy in the cache is read",) if isinstance(builder, Cache) else ()
    return {str(split): partial(_table, rows, f"{name} {split}", notes) for split, rows in loaded.items()}


def class_names(schema: Any, column: str) -> tuple[str, ...] | None:
    """The names of the `ClassLabel` that `datasets` wrote for one column into an Arrow schema, or None.

    The column may hold lists of classes. Other columns are ignored, so that a malformed, unused one does no harm.

    Raises:
        ValueError: the schema has something other than names there.
    """
    try:
        feature = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][column]
    except (KeyError, TypeError, ValueError, IndexError, RecursionError):  # not written by datasets
        return None
    if isinstance(feature, dict) and feature.get("_type") in LISTS:
        feature = feature.get("feature")
    if not isinstance(feature, dict) or feature.get("_type") != "ClassLabel" or feature.get("names") is None:
        return None
    names = feature["names"]
    if not isinstance(names, list) or not all(isinstance(name, str | int) for name in names):
        raise ValueError("the class names in its metadata are not a list of texts")
    return tuple(str(name) for name in names)


def decoded(names: Sequence[str] | None, cells: list[Any]) -> list[Any]:
    """Class numbers, or lists of them, as the class names; -1, the hub's mark of a hidden label, as None.

    Without names they stay as they are.

    Raises:
        ValueError: a cell is not the number of a class.
    """
    if names is None:
        return cells
    return [[_named(names, part) for part in cell] if isinstance(cell, list) else _named(names, cell) for cell in cells]


def _named(names: Sequence[str], cell: Any) -> str | None:
    if cell is None:
        return None
    if not isinstance(cell, int) or isinstance(cell, bool) or not -1 <= cell < len(names):
        raise ValueError(f"{shown(cell)} is not the number of one of the {len(names)} classes in its metadata")
    return None if cell < 0 else names[cell]


def _table(rows: datasets.Dataset, name: str, notes: tuple[str, ...]) -> Table:
    def cells(column: str) -> list[Any]:
        feature = rows.features[column]
        if isinstance(feature, datasets.Image):
            return list(rows.cast_column(column, datasets.Image(decode=False))[column])
        values = list(rows[column])
        try:
            inner = getattr(feature, "feature", feature)  # of a list, what it holds
            return decoded(inner.names if isinstance(inner, datasets.ClassLabel) else None, values)
        except ValueError as error:
            raise DataError(f"{name}: column {column!r}: {error}; mend the set") from error

    if not len(rows):
        raise DataError(f"{name}: no rows in it")
    places = Places(f"{name} row ", range(1, len(rows) + 1))
    header = tuple(rows.column_names)
    return rename(Table(name=name, header=header, column=cells, places=places, folder=Path(), notes=notes))


def _cure(error: Exception, reason: str) -> str:
    if "config" in reason.casefold():
        return "name the configuration behind a colon, as in owner/name:configuration"
    if isinstance(error, ConnectionError) and constants.HF_HUB_OFFLINE:
        return "check the path, or unset HF_HUB_OFFLINE and connect once"
    return "check the path and the network" if isinstance(error, ConnectionError) else "check the path or the id"


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no log lines below an error inside the block; the settings are put back."""
    bars = not are_progress_bars_disabled()
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    disable_progress_bars()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if bars:
            enable_progress_bars()
