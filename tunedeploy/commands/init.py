"""Init: look at the data and write the five-line recipe for it."""

import importlib.util
import os
from pathlib import Path
from typing import Any, TypedDict

import yaml

from tunedeploy import plugins
from tunedeploy.data.fitting import Fit, Sample, fit
from tunedeploy.data.readers.open import open_source
from tunedeploy.data.table import Table
from tunedeploy.errors import DataError, RunError, UserError
from tunedeploy.run.atomic import write_text

NO_MODEL = ("MODEL FOLDER", "lora")  # where a task has no models of its own


class WrittenRecipe(TypedDict):
    """What `init` wrote where, and why."""

    file: str
    recipe: str
    task: str
    why: str  # the columns that decided, and how well the next task would have fitted
    columns: dict[str, str]
    model_installed: bool


def write_recipe(data: str, output: Path) -> WrittenRecipe:
    """Choose the task and the columns by what the data holds, and write a recipe.

    Raises:
        RunError: the file exists already, or its folder does not.
        DataError: the data cannot be read, or no task fits its columns.
    """
    if output.exists():
        raise RunError(f"{output}: is there already; name another file with -o")
    if not output.absolute().parent.is_dir():
        raise RunError(f"{output}: folder {output.parent} does not exist; create it, or name another file with -o")
    source = open_source(data)
    table = source.splits["train" if "train" in source.splits else next(iter(source.splits))]()
    task, chosen, why = choose(table, data)
    in_folder = Path(data).is_dir()  # class folders name their own columns
    columns = {key: name for key, name in chosen.columns.items() if not in_folder or name != key}
    models = plugins.load("tasks", task).MODELS or (NO_MODEL,)
    model, method = next((pair for pair in models if installed(pair[0])), models[-1])
    path = os.path.relpath(data, output.absolute().parent) if Path(data).exists() else data
    parts = {"task": task, "model": model, "data": {"train": path, **columns}, "tune": {"method": method}}
    parts["export"] = {"quantize": "int8"}
    text = "".join(one_line(key, value) for key, value in parts.items())
    write_text(output, text)
    return {
        "file": str(output),
        "recipe": text,
        "task": task,
        "why": why,
        "columns": columns,
        "model_installed": installed(model) and models != (NO_MODEL,),
    }


def one_line(key: str, value: Any) -> str:
    """A key of the recipe on one line, quoted where YAML needs it."""
    inline = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000)
    return f"{key}: {inline.removesuffix('...' + chr(10)).strip()}\n"


def installed(model: Any) -> bool:
    """Whether the package that holds a model is installed."""
    name = model["weights"] if isinstance(model, dict) else model
    package = name.removeprefix("pkg://").partition("/")[0]
    return not name.startswith("pkg://") or importlib.util.find_spec(package) is not None


def choose(table: Table, data: str) -> tuple[str, Fit, str]:
    """The task whose columns the table fits best, those columns, and the reason for the choice.

    Raises:
        DataError: the table fits none.
    """
    sample = Sample(table)
    fits: list[tuple[float, str, Fit]] = []
    for task in plugins.names("tasks"):
        try:
            columns = plugins.load("tasks", task).COLUMNS
        except UserError:  # its package needs another one that is not installed
            continue
        fitting = fit(sample, columns)
        if fitting is not None:
            fits.append((-fitting.score, task, fitting))
    if not fits:
        header = ", ".join(map(repr, table.header[:20]))
        raise DataError(f"{data}: no task fits the columns {header}; write the recipe by hand, see README")
    (_, task, best), *others = sorted(fits, key=lambda entry: entry[:2])
    beside = "".join(f"; {name} fits less ({other.score:.2f})" for _, name, other in others[:1])
    return task, best, f"{task} fits the columns best ({best.score:.2f}): {best.why}{beside}"
