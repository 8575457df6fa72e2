"""Answers of `predict` as a file: a table for a spreadsheet, or a JSON record a line."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunedeploy.device.files import is_file
from tunedeploy.errors import UsageError
from tunedeploy.run.atomic import write_text
from tunedeploy.run.csv_text import csv_text

SUFFIXES = (".csv", ".jsonl")


def check_output(path: Path, read: Sequence[str]) -> None:
    """Refuse a file that cannot be written before anything is computed.

    Args:
        path: where the answers are to go.
        read: what the answers are for.

    Raises:
        UsageError: its suffix says no known format, its folder is not there, or it is one of the inputs.
    """
    if path.suffix.casefold() not in SUFFIXES:
        raise UsageError(f"-o {path}: unknown format {path.suffix!r}; known: {', '.join(SUFFIXES)}")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"-o {path}: folder {path.parent} does not exist; create it")
    if any(is_file(name) and path.is_file() and path.samefile(name) for name in read):
        raise UsageError(f"-o {path}: this file is one of the inputs; choose another name")


def write(path: Path, predictions: Sequence[Mapping[str, Any]]) -> None:
    """Write answers, the input first; a file of this name is replaced whole."""
    if path.suffix.casefold() == ".jsonl":
        lines = [json.dumps(prediction, ensure_ascii=False) for prediction in predictions]
        write_text(path, "".join(f"{line}\n" for line in lines))
        return
    records = [flat(prediction) for prediction in predictions]
    columns = list(dict.fromkeys(key for record in records for key in record))
    write_text(path, csv_text([columns, *([record.get(key, "") for key in columns] for record in records)]))


def flat(prediction: Mapping[str, Any]) -> dict[str, Any]:
    """A record with a column for each entry of a mapping, and lists as JSON."""
    record: dict[str, Any] = {}
    for key, value in prediction.items():
        if isinstance(value, Mapping):
            record |= {f"{key}.{name}": entry for name, entry in value.items()}
        else:
            record[key] = json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value
    return record
