"""The data of a recipe, read once for all stages of one command."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from tunedeploy import plugins
from tunedeploy.data.read import Data, read
from tunedeploy.device.files import read_json
from tunedeploy.errors import RunError

if TYPE_CHECKING:
    from tunedeploy.recipe.read import Recipe

_read: dict[str, Data] = {}


def data_of(recipe: "Recipe") -> Data:
    """The two data sets; a second call with the same section gives the same object until `forget`."""
    key = json.dumps([recipe.task, recipe.resolved()["data"]], sort_keys=True, default=str)
    if key not in _read:
        _read.clear()
        _read[key] = read(recipe.data, plugins.load("tasks", recipe.task).COLUMNS)
    return _read[key]


def forget() -> None:
    """Drop what was read: files may have changed since the last command."""
    _read.clear()


def data_of_run(recipe: "Recipe", run: Path) -> Data:
    """The data that a run was trained on; comparisons and scores on other rows would mean nothing.

    Raises:
        RunError: what the recipe names has changed since.
    """
    data, path = data_of(recipe), run / "data" / "fingerprint.json"
    recorded = read_json(path) if path.is_file() else None
    if recorded is not None and not (isinstance(recorded, dict) and recorded.get("fingerprint") == data.fingerprint):
        raise RunError(
            f"{run}: the data of {recipe.data.train} has changed since training; put the old rows back, or train again"
        )
    return data
