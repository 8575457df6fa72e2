"""Answers to the evaluation split, as a stage stores them: evidence (units, k) in a .npy file.

Where rows do not have exactly one unit each, `NAME.units.npy` beside it has the row and the place of each unit; texts
that were generated for the rows are in `NAME.texts.json`.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tunedeploy.device import typed
from tunedeploy.device.decisions import Answers, one_a_row
from tunedeploy.device.encoders import Array
from tunedeploy.errors import RunError
from tunedeploy.run.atomic import write_array, write_json


def write_answers(path: Path, answers: Answers) -> None:
    """Write answers to `path` and the files beside it."""
    write_array(path, answers.evidence)
    units = np.stack([answers.row, answers.place], axis=1).astype(np.int64)
    if np.array_equal(units, _one_a_row(len(answers))):
        _beside(path).unlink(missing_ok=True)
    else:
        write_array(_beside(path), units)
    if answers.texts is None:
        _texts(path).unlink(missing_ok=True)
    else:
        write_json(_texts(path), list(answers.texts))


def read_answers(path: Path, *, rows: int, width: int) -> Answers:
    """Read back what `write_answers` wrote.

    Args:
        path: the .npy file.
        rows: of the evaluation split.
        width: of the evidence.

    Raises:
        RunError: a file is missing, or holds something else.
    """
    texts = None
    if _texts(path).is_file():
        texts = tuple(typed.read(_texts(path), list[str]))
        if len(texts) != rows:
            raise RunError(f"{_texts(path)}: expected {rows} texts, got {len(texts)}")
    return replace(_read_evidence(path, rows=rows, width=width), texts=texts)


def _read_evidence(path: Path, *, rows: int, width: int) -> Answers:
    if not _beside(path).is_file():
        return one_a_row(_read(path, np.float32, (rows, width)))
    units = _read(_beside(path), np.int64, (None, 2))
    row, place = units[:, 0], units[:, 1]
    if len(row) and (row.min() < 0 or row.max() >= rows or place.min() < 0 or (np.diff(row) < 0).any()):
        raise RunError(f"{_beside(path)}: is not of {rows} rows")
    return Answers(evidence=_read(path, np.float32, (len(units), width)), row=row, place=place)


def files_of(path: Path) -> list[Path]:
    """The files that hold answers."""
    return [file for file in (path, _beside(path), _texts(path)) if file.is_file()]


def _beside(path: Path) -> Path:
    return path.with_suffix(".units.npy")


def _texts(path: Path) -> Path:
    return path.with_suffix(".texts.json")


def _one_a_row(rows: int) -> Array:
    return np.stack([np.arange(rows), np.zeros(rows, np.int64)], axis=1)


def _read(path: Path, dtype: Any, shape: tuple[int | None, int]) -> Array:
    try:
        array = np.load(path, mmap_mode="r")  # a header that promises more than the file holds takes no memory
    except Exception as error:
        # numpy parses the header as Python and raises whatever that does.
        raise RunError(f"{path}: cannot be read: {' '.join(str(error).split())[:120]}") from error
    fits = isinstance(array, np.ndarray) and array.dtype == dtype and array.ndim == 2 and array.shape[1] == shape[1]
    if not fits or shape[0] not in (None, len(array)):
        actual = f"{getattr(array, 'dtype', 'other')} {getattr(array, 'shape', '')}".strip()
        wanted = f"({'units' if shape[0] is None else shape[0]}, {shape[1]})"
        raise RunError(f"{path}: expected {np.dtype(dtype)} {wanted}, got {actual}")
    return np.array(array)
