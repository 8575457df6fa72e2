"""What `predict` answers: texts, image files, standard input, whole files of rows, folders of images."""

import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tunedeploy.data.readers.folders import IMAGES, images_below
from tunedeploy.data.readers.open import READERS, suffix_of
from tunedeploy.device.bundle import Bundle
from tunedeploy.device.encoders import Row
from tunedeploy.device.files import is_file, is_folder, read_json
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
        if isinstance(value, str) and is_file(dist / FOLDER / value):
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
        if suffix_of(Path(value)) in READERS and is_file(value):
            read = read_rows(value, model, labelled=False)
            rows += read
            names += [label_of(row) for row in read]
            continue
        values = lines_of_stdin() if value == STDIN else images_in(value) if is_images(value, model) else [value]
        if value != STDIN:
            check_path(value, model)
        check(values, model)
        rows += [{model.key: content, "origin": content} for content in values]
        names += values
    return rows, names


def is_images(value: str, model: "Model") -> bool:
    """Whether an input is a folder of images, of a model that reads images."""
    return model.key == "image" and is_folder(value)


def check_path(value: str, model: "Model") -> None:
    """Refuse what was meant as a file, before its name is answered as a text.

    Raises:
        UsageError: a model of texts is given a folder, another kind of file, or a table that is not there.
    """
    looks_like_path = bool(Path(value).suffix) or "/" in value or os.sep in value
    if model.key == "image" or not looks_like_path:  # a word is a text, whatever is called so here
        return
    if is_folder(value):
        raise UsageError(f"predict: {value} is a folder, and this model reads texts; name a file of rows")
    if is_file(value):
        cure = f"pipe its lines in: predict DIST - < {shlex.quote(value)}"
        raise UsageError(f"predict: {value} is not a file of rows; {cure}")
    if suffix_of(Path(value)) in READERS and not any(sign.isspace() for sign in value):
        raise UsageError(f"predict: no such file {value}; a text that is called so goes through standard input ('-')")


def lines_of_stdin() -> list[str]:
    """Standard input, an input a line; empty lines are inputs too.

    Raises:
        DataError: there is none, or it is not UTF-8.
    """
    try:
        text = sys.stdin.buffer.read().decode("utf-8-sig") if sys.stdin is not None else ""
    except UnicodeDecodeError as error:
        raise DataError(f"predict: standard input is not UTF-8 (byte {error.start}); convert it first") from error
    if not text:
        raise DataError("predict: nothing on standard input; give one input a line")
    # Only where a line ends: str.splitlines would also cut a text at a separator inside it, such as U+2028.
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n")


def images_in(folder: str) -> list[str]:
    """The image files in a folder and below it, in natural order, without hidden ones.

    Raises:
        DataError: there is none.
    """
    images = [str(path) for path in images_below(Path(folder))[0]]
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
