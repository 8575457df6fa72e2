"""What `predict` answers: texts, image files, standard input, whole files of rows, folders of images."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tunedeploy.data.labels import natural_key
from tunedeploy.data.readers.folders import IMAGES
from tunedeploy.data.readers.open import READERS
from tunedeploy.device.bundle import Bundle
from tunedeploy.device.encoders import Row
from tunedeploy.device.files import read_json
from tunedeploy.device.goldens import FOLDER
from tunedeploy.errors import DataError, UsageError

if TYPE_CHECKING:
    from tunedeploy.commands.use import Model

SAMPLE_LETTERS = 40  # of an example, at most: a command that is read at a glance
STDIN = "-"


def example_input(dist: Path) -> str | None:
    """An input that a bundle's model answers, from its goldens; None where an input is more than one value."""
    bundle = Bundle(dist)
    if bundle.manifest["recipe"]["data"].get("text_pair"):
        return None
    for row in read_json(dist / FOLDER / "golden.json")["rows"]:
        value = row.get(bundle.encoder.key)
        if isinstance(value, str) and (dist / FOLDER / value).is_file():
            return str(dist / FOLDER / value)
        if isinstance(value, str) and re.fullmatch(r"[^-\s].*", value):
            return value if len(value) <= SAMPLE_LETTERS else value[:SAMPLE_LETTERS].rpartition(" ")[0] or None
    return None


def rows_of(inputs: Sequence[str], model: "Model") -> tuple[list[Row], list[str]]:
    """Rows of what was typed, and what each is called beside its answer.

    Args:
        inputs: values, files of rows, folders of images, or STDIN.
        model: which of them it reads.

    Raises:
        UsageError: the model reads more than one value a row.
        DataError: an input cannot be read.
    """
    from tunedeploy.commands.score import label_of
    from tunedeploy.commands.use import read_rows

    rows: list[Row] = []
    names: list[str] = []
    for value in inputs:
        if Path(value).suffix.casefold() in READERS and Path(value).is_file():
            read = read_rows(value, model, labelled=False)
            rows += read
            names += [label_of(row) for row in read]
            continue
        values = lines_of_stdin() if value == STDIN else images_below(value) if is_folder(value, model) else [value]
        check(values, model)
        rows += [{model.key: one, "origin": one} for one in values]
        names += values
    return rows, names


def is_folder(value: str, model: "Model") -> bool:
    """Whether an input is a folder of images; a model of texts answers the folder's name."""
    return model.key == "image" and Path(value).is_dir()


def lines_of_stdin() -> list[str]:
    """Standard input, an input a line; empty lines are inputs too.

    Raises:
        DataError: there is none, or it is not UTF-8.
    """
    try:
        lines = sys.stdin.buffer.read().decode("utf-8-sig").splitlines() if sys.stdin is not None else []
    except UnicodeDecodeError as error:
        raise DataError(f"predict: standard input is not UTF-8 (byte {error.start}); convert it first") from error
    if not lines:
        raise DataError("predict: nothing on standard input; give one input a line")
    return lines


def images_below(folder: str) -> list[str]:
    """The image files in a folder and below it, in natural order.

    Raises:
        DataError: there is none.
    """
    paths = (path for path in Path(folder).rglob("*") if path.suffix.casefold() in IMAGES and path.is_file())
    images = sorted(map(str, paths), key=natural_key)
    if not images:
        raise DataError(f"{folder}: no image in this folder; known: {', '.join(sorted(IMAGES))}")
    return images


def check(values: Sequence[str], model: "Model") -> None:
    """Refuse values that a model cannot read by themselves; see `rows_of`."""
    if model.names.get("text_pair"):
        raise UsageError("predict: this model reads pairs of texts; give them as rows of a file with --data FILE")
    missing = [path for path in values if model.key == "image" and not Path(path).is_file()]
    if missing:
        raise DataError(f"predict: no such image file {missing[0]}")
    if any("\ud800" <= sign <= "\udfff" for text in values for sign in text):
        raise DataError("predict: an input is not UTF-8; pass UTF-8, or the rows in a file with --data")
