"""Init: look at the data and write the five-line recipe for it."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tunedeploy import plugins
from tunedeploy.commands.proposal import Given, ModelChoice, check_names, choose, choose_model
from tunedeploy.data.overview import Overview, overview
from tunedeploy.data.readers.open import open_source
from tunedeploy.data.table import Table
from tunedeploy.errors import RunError
from tunedeploy.recipe.schema import schema
from tunedeploy.run.atomic import write_text

SCHEMA = "recipe.schema.json"  # beside the recipe, where an editor looks for it


class WrittenRecipe(Overview):
    """What `init` wrote where and why, and what it saw of the data."""

    file: str
    recipe: str
    task: str
    why: str  # the columns that decided, and how well the next task would have fitted
    columns: dict[str, str]
    model_installed: bool
    install: str | None  # the command that installs the model; None where nothing is missing
    schema_file: str | None  # the JSON Schema that the recipe's first line names; None where there is no such line


def write_recipe(
    data: str, output: Path, given: Given | None = None, *, force: bool = False, with_schema: bool = False
) -> WrittenRecipe:
    """Choose what is not given by what the data holds, and write a recipe.

    Args:
        data: a file, a folder of class folders, or a hub id.
        output: where the recipe goes.
        given: what the user has decided.
        force: replace a recipe that is there.
        with_schema: write `recipe.schema.json` beside it too. One that is there is named in any case.

    Raises:
        RunError: the file exists already, or its folder does not.
        DataError: the data cannot be read, no task fits its columns, or columns fit equally well.
        UsageError: a given task or method is not known.
    """
    check_names(given := given or Given())
    _check_output(output, force=force)
    table = _table(data)
    task, chosen, why = choose(table, given)
    model = choose_model(task, given)
    in_folder = Path(data).is_dir()  # class folders name their own columns
    columns = {key: name for key, name in chosen.columns.items() if not in_folder or name != key}
    seen = overview(table, plugins.load("tasks", task).COLUMNS, chosen.columns)
    schema_file = _schema_beside(output, wanted=with_schema)
    text = recipe_text(task, model, {"train": _relative(data, output), **columns}, has_schema=schema_file is not None)
    write_text(output, text)
    return {
        "file": str(output),
        "recipe": text,
        "task": task,
        "why": why,
        "columns": columns,
        "model_installed": model.is_there,
        "install": model.install,
        "schema_file": schema_file,
        **seen,
        "notes": [*seen["notes"], *model.notes],
    }


def _check_output(output: Path, *, force: bool) -> None:
    if output.exists() and not force:
        raise RunError(f"{output}: already exists; name another file with -o, or replace it with --force")
    if output.is_dir():
        raise RunError(f"{output}: is a folder; name a file with -o")
    if not output.absolute().parent.is_dir():
        raise RunError(f"{output}: folder {output.parent} does not exist; create it, or name another file with -o")


def _schema_beside(output: Path, *, wanted: bool) -> str | None:
    """The schema beside a recipe, written where it is wanted; None where there is none."""
    file = output.parent / SCHEMA
    if wanted:
        write_text(file, json.dumps(schema(), indent=2) + "\n")
    return str(file) if file.is_file() else None


def _relative(data: str, output: Path) -> str:
    return os.path.relpath(data, output.absolute().parent) if Path(data).exists() else data


def _table(data: str) -> Table:
    splits = open_source(data).splits
    return splits["train" if "train" in splits else next(iter(splits))]()


def recipe_text(task: str, model: ModelChoice, data: Mapping[str, str], *, has_schema: bool) -> str:
    """The five lines; before them the one by which an editor finds the schema, where there is one."""
    parts = {"task": task, "model": model.name, "data": dict(data), "tune": {"method": model.method}}
    parts["export"] = {"quantize": "int8"}
    first = f"# yaml-language-server: $schema={SCHEMA}\n" if has_schema else ""
    return first + "".join(one_line(key, value) for key, value in parts.items())


def one_line(key: str, value: Any) -> str:
    """A key of the recipe on one line, quoted where YAML needs it."""
    inline = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000)
    return f"{key}: {inline.removesuffix('...' + chr(10)).strip()}\n"
