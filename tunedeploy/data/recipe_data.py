"""The data of a recipe, read once for all stages of one command."""

import json
from typing import TYPE_CHECKING

from tunedeploy import plugins
from tunedeploy.data.read import Data, read

if TYPE_CHECKING:
    from tunedeploy.recipe import Recipe

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
